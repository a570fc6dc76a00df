"""A generalist at work: images are routed at the stem and go on through their tasks' deltas.

The frozen base's first blocks run once. There the profiles decide. Where no brick changes these
blocks (a *stem*), each image goes on from there; else they were a *scout*, and the image starts
again with its bricks in every block. Images of all tasks share one batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medlego.base import Base, stem_features, through
from medlego.bricks import Brick, Mixed
from medlego.errors import GeneralistError
from medlego.generalist import Generalist
from medlego.merge import Capability
from medlego.prediction.answers import Answer, Prediction
from medlego.prediction.backbone import Backbone
from medlego.prediction.modes import ModelPart, parts
from medlego.prediction.routing import Route, Router
from medlego.support import NoPickle


@dataclass(frozen=True, eq=False)
class TaskProbs:
    """One task's probabilities (n, labels) for the images of a batch at `rows` (n,)."""

    reader: Capability
    rows: Tensor
    probs: Tensor


@dataclass(frozen=True, eq=False)
class BatchAnswers:
    """A batch's routes, one an image, or none where nothing routes; and its answers by task."""

    routes: tuple[Route, ...]
    answers: tuple[TaskProbs, ...]


class Engine(NoPickle, instead="make it from its generalist and base there"):
    """A generalist on its base, ready for batches; not to be used from two threads at once.

    `readers` has by task the head that answers, `router` decides which tasks an image belongs to.
    """

    def __init__(
        self,
        generalist: Generalist,
        base: Base,
        *,
        mode: str | None = None,
        device: str = "cpu",
    ) -> None:
        """In the recipe's mode, or another.

        Raises:
            GeneralistError: another base than the bricks'.
            MergeError: an unknown mode, or bricks of a group that cannot be merged.
            BrickError: profiles of stems of different depth.
        """
        generalist.check_base(base)
        self.base = base
        self.parts: tuple[ModelPart, ...] = parts(generalist, mode)
        self.router = Router(generalist.capabilities)
        self.readers = {r.task.name: r for part in self.parts for r in part.readers}
        self._part = {name: n for n, part in enumerate(self.parts) for name in part.tasks}
        self._bare = Backbone(base, device=device)
        self._mixed = Mixed(self._bare.module, [part.adapter for part in self.parts], device)

    def reader(self, task: str) -> Capability:
        """What answers for a task.

        Raises:
            GeneralistError: no such task.
        """
        if task not in self.readers:
            raise GeneralistError(f"task: expected one of {', '.join(self.readers)}, got {task!r}")
        return self.readers[task]

    def bricks(self, task: str) -> tuple[Brick, ...]:
        """Those whose deltas answer for a task: of all tasks that share its merge."""
        part = self.parts[self._part[task]]
        return tuple(brick for reader in part.readers for brick in reader.bricks)

    def digests(self) -> dict[str, tuple[str, ...]]:
        """By task the digests of `bricks`."""
        return {name: tuple(b.digest for b in self.bricks(name)) for name in self.readers}

    def tasks_to_ask(
        self, task: str | None = None, *, every_task: bool = False
    ) -> tuple[str, ...] | None:
        """The tasks that every image is asked; None where each image is routed to its own.

        Raises:
            GeneralistError: no such task.
        """
        if task is not None:
            return (self.reader(task).task.name,)
        if every_task or not self.router.tasks:
            return tuple(self.readers)
        return None

    @torch.inference_mode()
    def run(
        self, pixels: Tensor, tasks: Sequence[str] | None = None, *, route: bool = True
    ) -> BatchAnswers:
        """Answer a batch.

        Args:
            pixels: (N, 3, size, size) in [0, 1].
            tasks: ask these of every image; left out, each image is asked what it is routed to.
            route: route the images of given tasks too, which costs the stem's blocks.

        Raises:
            GeneralistError: a task that is not there, or no routing and no task given.
        """
        tokens = self._bare.embed(pixels)
        routes: list[Route] = []
        start = 0
        if self.router.tasks and (tasks is None or route):
            module, blocks = self._bare.module, self.router.blocks
            stem = through(module, tokens, 0, blocks)
            routes = self.router.routes(self.router.ood_scores(stem_features(module, stem).cpu()))
            if self._mixed.stem >= blocks:
                tokens, start = stem, blocks
        rows_of = self._asked(len(pixels), tasks, routes)
        return BatchAnswers(tuple(routes), self._answers(tokens, start, rows_of))

    def predict(self, pixels: Tensor, tasks: Sequence[str] | None = None) -> list[Prediction]:
        """Answer a batch (N, 3, size, size) in [0, 1], per image; names are left to the caller.

        The likeliest task comes first, else answers stand in the order in which tasks were asked.

        Raises:
            GeneralistError: as `run`.
        """
        batch = self.run(pixels, tasks)
        answers: list[list[Answer]] = [[] for _ in pixels]
        for task in batch.answers:
            reader = task.reader
            limits = () if reader.thresholds is None else tuple(reader.thresholds.tolist())
            for row, probs in zip(task.rows.tolist(), task.probs.tolist(), strict=True):
                answers[row].append(Answer(reader.task, tuple(probs), reader.state, limits))
        for own, route in zip(answers, batch.routes, strict=False):
            own.sort(key=lambda answer: -route.probs.get(answer.task.name, 0.0))
        routes = batch.routes or (None,) * len(pixels)
        return [
            Prediction("", (), tuple(own), route)
            for own, route in zip(answers, routes, strict=True)
        ]

    def _asked(
        self, count: int, tasks: Sequence[str] | None, routes: Sequence[Route]
    ) -> dict[str, Tensor]:
        """Per task that is asked anything the rows of its images."""
        if tasks is not None:
            return {self.reader(name).task.name: torch.arange(count) for name in tasks}
        if not self.router.tasks:
            raise GeneralistError(
                "routing: expected bricks with profiles, got none; name the tasks to ask"
            )
        rows = {
            name: [row for row, route in enumerate(routes) if name in route.tasks]
            for name in self.router.tasks
        }
        return {name: torch.tensor(own) for name, own in rows.items() if own}

    def _answers(
        self, tokens: Tensor, start: int, rows_of: Mapping[str, Tensor]
    ) -> tuple[TaskProbs, ...]:
        """Each image passes once through every part that one of its tasks belongs to."""
        if not rows_of:
            return ()
        reached: dict[int, Tensor] = {}
        for name, rows in rows_of.items():
            mask = reached.setdefault(self._part[name], torch.zeros(len(tokens), dtype=torch.bool))
            mask[rows] = True
        passes = [(number, mask.nonzero()[:, 0]) for number, mask in reached.items()]
        rows = torch.cat([own for _, own in passes])
        part = torch.cat([torch.full((len(own),), number) for number, own in passes])
        if not torch.equal(rows, torch.arange(len(tokens))):
            tokens = tokens[rows.to(tokens.device)]
        pooled = self._mixed.features(tokens, part.to(tokens.device), start).float().cpu()
        answers = []
        for name, own in rows_of.items():
            here = (part == self._part[name]) & torch.isin(rows, own)
            reader = self.readers[name]
            probs = reader.probabilities(reader.head.logits(pooled[here]))
            answers.append(TaskProbs(reader, rows[here], probs))
        return tuple(answers)
