"""A job on a Ray cluster: actors answer parts, and this process alone writes them down."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from medlego.errors import JobError, MedLegoError, SettingsError
from medlego.prediction.batch.answering import Answerer, Work
from medlego.prediction.batch.listing import JobPart, PartRows

ASKED_AHEAD = 2
"""Parts that each actor has at a time, so that none waits for this process."""
RETRIES = 3
"""How often a part is asked again when its actor dies."""
START_S = 600
"""How long a job waits for its first actor; a cluster may have to start a machine for it."""


class Actor:
    """An `Answerer` in a process of Ray's; loaded for its first part, so that errors are told."""

    def __init__(self, work: Work, device: str) -> None:
        self._work, self._device = work, device

    @cached_property
    def _answerer(self) -> Answerer:
        return Answerer(self._work, self._device)

    def ready(self) -> None:
        """Returns once the actor has a process."""

    def answer(self, part: JobPart) -> PartRows:
        """One part's number and rows."""
        (done,) = self._answerer.answer([part])
        return done


def need_ray() -> None:
    """See that Ray is there.

    Raises:
        SettingsError: Ray is not installed.
    """
    try:
        import ray  # noqa: F401
    except ImportError:
        raise SettingsError(
            "engine: expected Ray to be installed, found it is not; pip install 'medlego[ray]'"
        ) from None


def run_on_ray(work: Work, parts: Iterator[JobPart], device: str) -> Iterator[PartRows]:
    """Each part's number and rows, as they get done.

    The cluster is that of $RAY_ADDRESS, one that runs on this machine, or a new one of this
    machine alone. There is an actor for each of its GPUs; with `cpu`, or where it has none, for
    each core.

    Raises:
        MedLegoError: as of `run_local`, from any actor.
        JobError: actors died again and again, or none could be started.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report over the network
    mine = not ray.is_initialized()
    if mine:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield from _results(ray, _actors(ray, work, device), parts)
    except ray.exceptions.RayTaskError as error:
        if isinstance(cause := error.cause, MedLegoError):
            raise cause from None
        raise
    except ray.exceptions.RayActorError as error:
        raise JobError(
            f"ray: expected actors that stay alive, got {type(error).__name__}; what is done is "
            "kept, see Ray's logs and start again"
        ) from error
    finally:
        if mine:
            ray.shutdown()


def _actors(ray: Any, work: Work, device: str) -> list[Any]:
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if device != "cpu" else 0
    count = gpus or int(resources.get("CPU", 1))
    share = _cores_for_each(ray.nodes()) if gpus else 1
    options = {
        "num_cpus": share,
        "num_gpus": 1 if gpus else 0,
        "max_restarts": RETRIES,
        "max_task_retries": RETRIES,
    }
    work = replace(work, workers=work.workers or share)
    remote = ray.remote(Actor).options(**options)
    return [remote.remote(work, "cuda" if gpus else "cpu") for _ in range(count)]


def _cores_for_each(nodes: Sequence[Mapping[str, Any]]) -> int:
    """Cores that every GPU's actor can have on its own node; more would wait for ever."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    shares = [node.get("CPU", 0) // node["GPU"] for node in alive if node.get("GPU", 0) >= 1]
    return max(1, int(min(shares, default=1)))


def _results(ray: Any, actors: list[Any], parts: Iterator[JobPart]) -> Iterator[PartRows]:
    """Parts go to actors that run; one that finds no place yet would keep its parts for ever."""
    starting = {actor.ready.remote(): number for number, actor in enumerate(actors)}
    running: dict[Any, int] = {}
    load: dict[int, int] = {}
    for part in parts:
        while min(load.values(), default=ASKED_AHEAD) == ASKED_AHEAD:
            yield from _next(ray, starting, running, load)
        idlest = min(load, key=load.__getitem__)
        running[actors[idlest].answer.remote(part)] = idlest
        load[idlest] += 1
    while running:
        yield from _next(ray, starting, running, load)


def _next(
    ray: Any, starting: dict[Any, int], running: dict[Any, int], load: dict[int, int]
) -> Iterator[PartRows]:
    """Wait until a part is done, which is yielded, or one more actor runs."""
    done, _ = ray.wait([*running, *starting], timeout=None if running else START_S)
    if not done:
        raise JobError(
            f"ray: expected room for an actor within {START_S} s, got none; wait for other jobs "
            "on the cluster or add to it, and start again, what is done is kept"
        )
    (ready,) = done
    result = ray.get(ready)
    if ready in starting:
        load[starting.pop(ready)] = 0
    else:
        load[running.pop(ready)] -= 1
        yield result
