"""A brick: low-rank deltas on one base, the head that reads them, its task and its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from medlego.base import BaseRef, Target
from medlego.bricks.content import HasTensors, TensorGroup, content_digest, group_tensors
from medlego.bricks.gram import Gram
from medlego.bricks.lowrank import LowRank
from medlego.bricks.profile import Profile, profile_document
from medlego.data import Plain, Task
from medlego.errors import BrickError
from medlego.metrics import Calibration
from medlego.support import FrozenModel, ShortRepr, spell

FORMAT_VERSION = 1

REFIT_WITH = "refit_company"
"""Setting of a brick with a refitted head: digests of the other deltas in the merges."""

TRAINED_WITH = "company_bricks"
"""Setting of a brick trained merge-aware: digests of the other bricks in the merges."""

IN_MERGE = "_in_company"
"""End of a card's score that was measured in a merge; without it the brick was alone."""

ShortText = Annotated[Plain, Field(max_length=500)]


class Card(FrozenModel):
    """Where a brick comes from; aggregate numbers only, nothing about a single patient."""

    images: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Images per label in each split that training saw (train and val)."""
    data: ShortText | None = None
    """Free text about the data's origin, by whoever trains."""
    licence: ShortText | None = None
    """Licence of the brick, by whoever trains."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Validation scores of the saved epoch."""
    made_with: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages and the number of threads that made it."""


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
        return content_digest(document_bytes(self), brick_tensors(self))

    @property
    def is_merge_aware(self) -> bool:
        """Whether it was prepared for merges: trained merge-aware, or its head refitted for them.

        Both take place in merges that weigh all blocks alike.
        """
        return bool(self.settings.get("merge_aware")) or REFIT_WITH in self.settings

    @cached_property
    def deltas_digest(self) -> str:
        """SHA-256 of base and deltas alone: what others meet in a merge, whatever the head."""
        tensors = {n: t for n, t in brick_tensors(self).items() if n.startswith("delta.")}
        return content_digest(self.base.fingerprint.encode(), tensors)

    def renamed(self, name: str) -> Brick:
        """The same brick for a task of another name."""
        return replace(self, task=Task.model_validate(self.task.model_dump() | {"name": name}))


def brick_tensors(brick: Brick) -> dict[str, Tensor]:
    """Every tensor of a brick under its name in the file."""
    groups: dict[str, HasTensors] = {"head": brick.head}
    groups |= {f"delta.{name}": delta for name, delta in brick.deltas.items()}
    groups |= {f"gram.{module}": gram for module, gram in brick.grams.items()}
    if brick.profile is not None:
        groups["profile"] = brick.profile
    return group_tensors(groups)


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


def document_bytes(brick: Brick, *, digest: str | None = None) -> bytes:
    """The brick's JSON document, spelled: as it is hashed, or with the `digest` that a file states.

    Raises:
        BrickError: settings or card hold what JSON cannot say, for example a NaN score.
    """
    document: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "base": brick.base.model_dump(mode="json"),
        "task": brick.task.model_dump(mode="json"),
        "targets": [
            {
                "name": target.name,
                "module": target.module,
                "rows": [target.start, target.stop],
                "in_features": target.in_features,
                "rank": brick.deltas[target.name].rank,
            }
            for target in brick.targets
        ],
        "settings": dict(brick.settings),
        "card": brick.card.model_dump(mode="json"),
    }
    if brick.grams:
        document["grams"] = {
            module: {"directions": gram.directions, "images": gram.images}
            for module, gram in brick.grams.items()
        }
    if brick.profile is not None:
        document["profile"] = profile_document(brick.profile)
    if brick.calibration is not None:
        document["calibration"] = brick.calibration.model_dump(mode="json")
    if digest is not None:
        document["digest"] = digest
    try:
        return spell(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise BrickError(
            f"brick {brick.task.name!r}: settings and card: expected plain values, "
            f"got another ({error}); leave it out"
        ) from error


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
