"""A generalist at work: images are routed at the stem and go on through their tasks' deltas.

The frozen base's first blocks run once. There the profiles decide. Where no brick changes these
blocks (a *stem*), each image goes on from there; else they were a *scout*, and the image starts
again with its bricks in every block. Images of all tasks share one batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medlego.base import Base, embed, pool, stem_features, through
from medlego.bricks import Brick, Mixed, fold, on_device
from medlego.errors import GeneralistError
from medlego.generalist import Generalist
from medlego.merge import Capability, Mode
from medlego.prediction.modes import ModelPart, parts
from medlego.prediction.routing import Route, Router
from medlego.support import NoPickle


@dataclass(frozen=True, eq=False)
class Answered:
    """One task's probabilities (n, labels) for the images of a batch at `rows` (n,)."""

    reader: Capability
    rows: Tensor
    probs: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """What a batch came to: routes, one an image, or none where nothing can route; and answers."""

    routes: tuple[Route, ...]
    answers: tuple[Answered, ...]


class Running(NoPickle, instead="make it from its generalist and base there"):
    """A generalist on its base, ready for batches; not to be used from two threads at once."""

    def __init__(
        self,
        generalist: Generalist,
        base: Base,
        *,
        mode: Mode | None = None,
        device: str = "cpu",
    ) -> None:
        """In the recipe's mode, or another.

        Raises:
            GeneralistError: another base than the bricks'.
            BrickError: profiles of stems of different depth.
        """
        generalist.check_base(base)
        self.base, self._device = base, device
        self.parts: tuple[ModelPart, ...] = parts(generalist, mode or generalist.recipe.mode)
        self.router = Router(generalist.capabilities)
        self.readers = {r.task.name: r for part in self.parts for r in part.readers}
        self._part = {name: n for n, part in enumerate(self.parts) for name in part.tasks}
        self._frozen = on_device(base.module, device)
        self._walk = _walk(self._frozen, self.parts, device)

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

    @torch.inference_mode()
    def run(
        self, pixels: Tensor, tasks: Sequence[str] | None = None, *, look: bool = False
    ) -> Batch:
        """Answer a batch.

        Args:
            pixels: (N, 3, size, size) in [0, 1].
            tasks: ask these of every image; left out, each image is asked what it is routed to.
            look: route the images of given tasks too, which costs the stem's blocks.

        Returns:
            Routes, if there was a look, and the answers.

        Raises:
            GeneralistError: a task that is not there, or no routing and no task given.
        """
        tokens = embed(self._frozen, self.base.normalise(pixels.to(self._device)))
        stem = tokens
        routes: list[Route] = []
        if self.router.tasks and (tasks is None or look):
            stem = through(self._frozen, tokens, 0, self.router.blocks)
            scores = self.router.ood_scores(stem_features(self._frozen, stem).cpu())
            routes = self.router.routes(scores)
        asked = self._asked(len(pixels), tasks, routes)
        start = 0
        if routes and self._walk.stem >= self.router.blocks:
            start = self.router.blocks
        return Batch(tuple(routes), self._answers(stem if start else tokens, start, asked))

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
        sent = {
            name: [row for row, route in enumerate(routes) if name in route.tasks]
            for name in self.router.tasks
        }
        return {name: torch.tensor(rows) for name, rows in sent.items() if rows}

    def _answers(
        self, tokens: Tensor, start: int, asked: Mapping[str, Tensor]
    ) -> tuple[Answered, ...]:
        """Each image passes once through every part that one of its tasks belongs to."""
        wanted: dict[int, Tensor] = {}
        for name, rows in asked.items():
            mask = wanted.setdefault(self._part[name], torch.zeros(len(tokens), dtype=torch.bool))
            mask[rows] = True
        if not wanted:
            return ()
        pairs = [(part, mask.nonzero()[:, 0]) for part, mask in wanted.items()]
        rows = torch.cat([rows for _, rows in pairs])
        part = torch.cat([torch.full((len(rows),), number) for number, rows in pairs])
        whole = len(rows) == len(tokens) and bool((rows == torch.arange(len(rows))).all())
        taken = tokens if whole else tokens[rows.to(self._device)]
        pooled = self._walk.features(taken, part.to(self._device), start).float().cpu()
        found = []
        for name, wanted_rows in asked.items():
            here = (part == self._part[name]) & torch.isin(rows, wanted_rows)
            reader = self.readers[name]
            probs = reader.probabilities(reader.head.logits(pooled[here]))
            found.append(Answered(reader, rows[here], probs))
        return tuple(found)


class _Folded:
    """One part alone: its deltas in the weights."""

    def __init__(self, module: nn.Module, part: ModelPart) -> None:
        targets = part.adapter.targets
        self.module = fold(module, targets, part.adapter.deltas)
        self.stem = min((target.block for target in targets), default=0)

    def features(self, tokens: Tensor, _part: Tensor, start: int) -> Tensor:
        """As `Mixed.features`; there is only one part."""
        return pool(self.module, through(self.module, tokens, start))


def _walk(module: nn.Module, held: Sequence[ModelPart], device: str) -> Mixed | _Folded:
    if len(held) == 1:
        return _Folded(module, held[0])
    return Mixed(module, [part.adapter for part in held], device)
