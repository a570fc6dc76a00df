"""What every merge method takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from medlego.bricks import Gram, LowRank, canonical_problems
from medlego.errors import MergeError
from medlego.support import FrozenModel, ShortRepr, read_fields

TaskVector = Mapping[str, LowRank]
"""One brick's deltas by target name."""

Grams = Mapping[str, Gram]
"""One brick's Grams by target name; also of targets that another brick adapts."""

NEGLIGIBLE = 1e-6
"""A singular value below this share of its delta's largest is rounding, and its vectors noise."""

SLOPE = 0.75
"""How much later blocks weigh more where nothing else is said; see `merge.depth`."""


@dataclass(frozen=True, eq=False, repr=False)
class Merged(ShortRepr):
    """Merged deltas by target name, and what a cut lost of each (Frobenius norm, absolute)."""

    deltas: Mapping[str, LowRank]
    losses: Mapping[str, float]

    @property
    def relative_loss(self) -> float:
        """Frobenius norm lost over the norm before the cut, all targets together."""
        lost = sum(loss**2 for loss in self.losses.values())
        left = sum(float(torch.sum(delta.S.double() ** 2)) for delta in self.deltas.values())
        return (lost / (lost + left)) ** 0.5 if lost else 0.0


class Provider(FrozenModel):
    """The package that a method from outside comes from; none if a session registered it."""

    distribution: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    version: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class MethodSettings(FrozenModel):
    """What a method can be told besides coefficients and rank; by default nothing."""


@dataclass(frozen=True, repr=False)
class Method(ShortRepr):
    """One entry of `METHODS`.

    `merge(task_vectors, coefficients, rank, **settings)` takes one task vector and one
    coefficient per brick, none of them zero, where the sites of one task count as one; a target
    that a brick lacks counts as zero. `settings` names what else it takes, with defaults and
    ranges; `draws` says that it also takes a `seed`, `needs_grams` that it also takes `grams`, one
    mapping per brick, and tells sites apart.
    `order_matters` says whether bricks may be permuted without changing the result beyond
    rounding. `auto` names the rule of `merge.coefficients.RULES` that `auto` stands for: `norm`
    where the method averages, and so shrinks, what 1/√K expects to be added up. `slope` is how
    much later blocks weigh more with `auto`, see `merge.depth`.
    """

    name: str
    summary: str
    source: str
    merge: Callable[..., Merged]
    settings: type[MethodSettings] = MethodSettings
    draws: bool = False
    needs_grams: bool = False
    order_matters: bool = False
    auto: Literal["root", "norm"] = "root"
    slope: float = SLOPE

    def check_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, defaults filled in.

        Raises:
            MergeError: an unknown name or a value out of range, all together.
        """
        name = f"method {self.name!r}"
        return read_fields(self.settings, settings, name=name, error=MergeError).model_dump()

    def __call__(
        self,
        task_vectors: Sequence[TaskVector],
        coefficients: Sequence[float],
        rank: int | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        grams: Sequence[Grams] | None = None,
    ) -> Merged:
        """Merge; see the method's own function for what it does.

        A brick whose coefficient is zero is not there: the result has the bytes of the merge
        without it, and none of the targets that it alone has.

        Raises:
            MergeError: settings or a rank out of range, a result too large for float32, or no
                Grams where the method needs them.
        """
        if rank is not None and rank < 1:
            raise MergeError(f"rank: expected at least 1, got {rank}")
        arguments = self.check_settings(settings or {})
        if self.draws:
            arguments["seed"] = seed
        if self.needs_grams:
            if grams is None:
                raise MergeError(
                    f"method {self.name!r}: expected Grams of every brick, got none; "
                    "choose another method"
                )
            arguments["grams"] = present(grams, coefficients)
        vectors = present(task_vectors, coefficients)
        if not vectors:
            return Merged({}, {})
        return self.merge(vectors, [c for c in coefficients if c], rank, **arguments)


_T = TypeVar("_T")


def present(items: Sequence[_T], coefficients: Sequence[float]) -> list[_T]:
    """The items, one per brick, of the bricks whose coefficient is not zero."""
    return [item for item, c in zip(items, coefficients, strict=True) if c]


def merged_problems(merged: Merged, task_vectors: Sequence[TaskVector]) -> list[str]:
    """What a method from outside gave that no file could hold, one `<target>: <rule>` each."""
    shapes = {name: delta.shape for vector in task_vectors for name, delta in vector.items()}
    problems = [f"{name}: expected a delta, got none" for name in shapes.keys() - merged.deltas]
    for name, delta in merged.deltas.items():
        if name not in shapes:
            problems.append(f"{name}: expected a target of a brick")
        elif delta.shape != shapes[name]:
            problems.append(f"{name}: expected shape {shapes[name]}, got {delta.shape}")
        else:
            problems += [f"{name}.{problem}" for problem in canonical_problems(delta)]
    if merged.losses.keys() != merged.deltas.keys():
        problems.append("losses: expected one for each delta")
    return problems


Share = tuple[LowRank, float]
"""One brick's delta of a target, and its coefficient."""


def by_target(
    task_vectors: Sequence[TaskVector], coefficients: Sequence[float]
) -> dict[str, list[Share]]:
    """The deltas of every target that any brick has, in the bricks' order."""
    shares: dict[str, list[Share]] = {}
    for vector, coefficient in zip(task_vectors, coefficients, strict=True):
        for name, delta in vector.items():
            shares.setdefault(name, []).append((delta, coefficient))
    return shares


def cut(whole: Mapping[str, LowRank], rank: int | None) -> Merged:
    """Keep the `rank` largest singular values of every delta, or all."""
    if rank is None:
        return Merged(whole, dict.fromkeys(whole, 0.0))
    pairs = {name: delta.truncate(rank) for name, delta in whole.items()}
    return Merged(
        {n: d for n, (d, _) in pairs.items()}, {n: loss for n, (_, loss) in pairs.items()}
    )


def numerical_rank(S: Tensor) -> int:
    """How many of the sorted singular values S (rank,) are more than rounding; 0 if none is."""
    values: list[float] = S.tolist()
    return sum(value > NEGLIGIBLE * values[0] for value in values)


def effective(shares: Sequence[Share]) -> list[Share]:
    """What of a target's deltas counts: no negligible direction.

    Methods that look at directions whatever their size would take rounding for a message.
    """
    counted = []
    for delta, coefficient in shares:
        rank = numerical_rank(delta.S)
        if rank:
            counted.append((delta if rank == delta.rank else delta.truncate(rank)[0], coefficient))
    return counted


def not_zero(shares: Sequence[Share]) -> list[Share]:
    """The deltas that change anything."""
    return [(delta, coefficient) for delta, coefficient in shares if float(delta.S[0]) > 0]


def merge_targets(
    task_vectors: Sequence[TaskVector],
    coefficients: Sequence[float],
    rank: int | None,
    merge_one: Callable[[str, list[Share]], LowRank],
    counted: Callable[[Sequence[Share]], list[Share]] = effective,
) -> Merged:
    """Merge every target by itself, and cut the results to a rank.

    Args:
        task_vectors: one per brick.
        coefficients: one per brick.
        rank: cut each merged delta to this rank, or keep all (None).
        merge_one: a target's name and its shares, one or more, to the merged delta.
        counted: chooses a target's shares; where none is left, the merge is zero.
    """
    whole = {}
    for name, shares in by_target(task_vectors, coefficients).items():
        left = counted(shares)
        whole[name] = merge_one(name, left) if left else LowRank.zero(shares[0][0].shape)
    return cut(whole, rank)
