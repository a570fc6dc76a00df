"""A brick: low-rank deltas on one base, the head that reads them, its task and its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from medlego.base import BaseRef, Target
from medlego.bricks.content import HasTensors, TensorGroup, content_digest, group_tensors
from medlego.bricks.document import BrickDocument, Card, TargetEntry
from medlego.bricks.gram import Gram
from medlego.bricks.lowrank import LowRank
from medlego.bricks.profile import Profile
from medlego.data import Task
from medlego.errors import BrickError
from medlego.metrics import Aim, Calibration, missing_thresholds
from medlego.support import ShortRepr, html_table, read_fields

REFIT_WITH = "refit_company"
"""Setting of a brick with a refitted head: digests of the other deltas in the merges."""

TRAINED_WITH = "company_bricks"
"""Setting of a brick trained merge-aware: digests of the other bricks in the merges."""

IN_MERGE = "_in_merge"
"""End of a card's score that was measured in a merge; without it the brick was alone."""


@dataclass(frozen=True, eq=False, repr=False)
class Head(ShortRepr):
    """A linear head: weight (rows, features), bias (outputs,), float32; see `Task.head_shape`."""

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """(N, features) → (N, outputs)."""
        return features @ self.weight.T.to(features) + self.bias.to(features)

    def tensors(self) -> dict[str, Tensor]:
        """Both by name."""
        return {"weight": self.weight, "bias": self.bias}


@dataclass(frozen=True, eq=False, repr=False)
class Brick(ShortRepr):
    """One specialist's capability, frozen; operations return new bricks.

    `deltas` has one entry per target name, in the targets' order. `settings` are the training
    settings, kept for the record. `grams`, which a brick need not have, has one entry per adapted
    module's path; nor need it have a `profile` or a `calibration`, which is of the brick alone.
    """

    base: BaseRef
    task: Task
    targets: tuple[Target, ...]
    deltas: Mapping[str, LowRank]
    head: Head
    settings: Mapping[str, Any]
    card: Card
    grams: Mapping[str, Gram] = field(default_factory=dict)
    profile: Profile | None = None
    calibration: Calibration | None = None

    @property
    def delta_parameters(self) -> int:
        """Numbers in all deltas, singular values included, head and norms not."""
        return sum(delta.parameters for delta in self.deltas.values())

    @property
    def share(self) -> float:
        """Delta parameters over the base's parameters."""
        return self.delta_parameters / self.base.parameters

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content; independent of how the file lays it out (docs/FORMAT.md)."""
        return content_digest(self.document.spelled("digest"), self.tensors())

    @property
    def is_merge_aware(self) -> bool:
        """Whether it was prepared for merges: trained merge-aware, or its head refitted for them.

        Both take place in merges that weigh all blocks alike.
        """
        return bool(self.settings.get("merge_aware")) or REFIT_WITH in self.settings

    @property
    def missing_thresholds(self) -> str | None:
        """That its training was asked for thresholds and had too few images, in words."""
        return missing_thresholds(Aim.of(self.settings), self.calibration, self.task)

    @cached_property
    def deltas_digest(self) -> str:
        """SHA-256 of base and deltas alone: what others meet in a merge, whatever the head."""
        tensors = {n: t for n, t in self.tensors().items() if n.startswith("delta.")}
        return content_digest(self.base.fingerprint.encode(), tensors)

    @property
    def document(self) -> BrickDocument:
        """What its file says of it, but for the digest.

        Raises:
            BrickError: settings or card that do not belong into a file.
        """
        grams = {m: {"directions": g.directions, "images": g.images} for m, g in self.grams.items()}
        profile = None if self.profile is None else self.profile.entry
        optional = {"grams": grams, "profile": profile, "calibration": self.calibration}
        fields = {
            "format": 1,
            "base": self.base,
            "task": self.task,
            "targets": [TargetEntry.of(t, self.deltas[t.name].rank) for t in self.targets],
            "settings": dict(self.settings),
            "card": self.card,
            **{name: value for name, value in optional.items() if value},
        }
        name = f"brick {self.task.name!r}"
        return read_fields(BrickDocument, fields, name=name, error=BrickError)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under its name in the file."""
        groups: dict[str, HasTensors] = {"head": self.head}
        groups |= {f"delta.{name}": delta for name, delta in self.deltas.items()}
        groups |= {f"gram.{module}": gram for module, gram in self.grams.items()}
        if self.profile is not None:
            groups["profile"] = self.profile
        return group_tensors(groups)

    def _repr_html_(self) -> str:
        task, ranks = self.task, [delta.rank for delta in self.deltas.values()]
        calibrated = "none" if self.calibration is None else f"on {self.calibration.images} images"
        rows = [
            ("kind", task.kind),
            ("labels", ", ".join(task.labels)),
            ("base", self.base),
            ("deltas", f"{len(ranks)}, rank {max(ranks, default=0)}; {self.share:.2%} of the base"),
            ("profile", "none" if self.profile is None else "yes"),
            ("calibration", calibrated),
            ("digest", self.digest),
        ]
        return html_table(f"Brick {task.name}", rows)

    def renamed(self, name: str) -> Brick:
        """The same brick for a task of another name.

        Raises:
            BrickError: no task can have that name.
        """
        fields = self.task.model_dump() | {"name": name}
        return replace(self, task=read_fields(Task, fields, name="task", error=BrickError))


def all_targets(bricks: Sequence[Brick]) -> tuple[Target, ...]:
    """Every target that any of the bricks adapts, each once."""
    return tuple(dict.fromkeys(target for brick in bricks for target in brick.targets))


def brick_names(bricks: Sequence[Brick]) -> tuple[str, ...]:
    """What a message calls each brick: its task, and its digest where several share the task."""
    counts = Counter(brick.task.name for brick in bricks)
    return tuple(
        name if counts[name := brick.task.name] == 1 else f"{name} {brick.digest[:12]}"
        for brick in bricks
    )


def tools_used(device: str) -> dict[str, str]:
    """For a card: what made it, as far as it may decide the last bits."""
    versions = {name: version(name) for name in ("medlego", "torch", "timm")}
    return {**versions, "device": device, "threads": str(torch.get_num_threads())}


def head_group(task: Task, features: int) -> TensorGroup:
    """The tensors in a file of a task's head on so many features."""
    rows, outputs = task.head_shape

    def problems(head: Head) -> list[str]:
        broken = [
            f"{part}: expected finite numbers, got NaN or infinity"
            for part, tensor in head.tensors().items()
            if not torch.isfinite(tensor).all()
        ]
        if task.rules.falling_bias and (head.bias[1:] > head.bias[:-1]).any():
            broken.append(f"bias: expected thresholds from large to small for an {task.kind} task")
        return broken

    return TensorGroup({"weight": (rows, features), "bias": (outputs,)}, Head, problems)
