"""How much of each brick goes into a merge: numbers, or a rule that needs no data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from medlego.errors import MergeError
from medlego.merge.method import Merged, TaskVector

Coefficients = str | float | Sequence[float]
"""A name of `RULES` or `auto`, one number for all bricks, or one number per brick."""

Unscaled = Callable[[], Merged]
"""Makes the merge with the coefficient 1 for every task."""


def mean(task_vectors: Sequence[TaskVector], _unscaled: Unscaled) -> float:
    """1/K: the average. Shrinks near-orthogonal deltas to 1/√K of one delta's norm."""
    return 1 / len(task_vectors)


def root(task_vectors: Sequence[TaskVector], _unscaled: Unscaled) -> float:
    """1/√K: near-orthogonal deltas of similar norm add up to the norm of one."""
    return 1 / math.sqrt(len(task_vectors))


def one(_task_vectors: Sequence[TaskVector], _unscaled: Unscaled) -> float:
    """1: every brick at the strength it was trained at."""
    return 1.0


def norm(task_vectors: Sequence[TaskVector], unscaled: Unscaled) -> float:
    """As much as makes the merge as strong as its bricks: Frobenius norm equal to their RMS.

    Unlike 1/√K it looks at how bricks overlap and at what the method makes of them: one that
    averages what agrees, as ties does, is scaled up. Costs one more merge.
    """
    target = math.sqrt(sum(_energy(vector) for vector in task_vectors) / len(task_vectors))
    reached = math.sqrt(_energy(unscaled().deltas))
    return target / reached if reached > 0 else 1.0


Rule = Callable[[Sequence[TaskVector], Unscaled], float]
"""One task vector per task to the coefficient of every task."""

RULES: Mapping[str, Rule] = MappingProxyType({"mean": mean, "root": root, "one": one, "norm": norm})
"""Rules by name; they need no data."""

AUTO = "auto"
"""The word for the method's own rule; docs/decisions/004-coefficients.md has what each one gave."""


def find_rule(name: str, auto: str) -> Rule:
    """The rule of that name; `auto` names the one that the word `auto` stands for.

    Raises:
        MergeError: there is none.
    """
    try:
        return RULES[auto if name == AUTO else name]
    except KeyError:
        raise MergeError(
            f"coefficients: expected auto, {', '.join(RULES)} or numbers, got {name!r}"
        ) from None


def check_kind(coefficients: Coefficients, count: int) -> None:
    """Refuse what cannot become coefficients of `count` bricks.

    Raises:
        MergeError: an unknown rule, a count that does not match, or a number that is not finite.
    """
    if isinstance(coefficients, str):
        find_rule(coefficients, "root")
    else:
        check_coefficients(coefficients, count)


def check_coefficients(coefficients: float | Sequence[float], count: int) -> tuple[float, ...]:
    """Numbers as one finite float per brick.

    Raises:
        MergeError: a count that does not match, or a number that is not finite.
    """
    if isinstance(coefficients, int | float):
        coefficients = (float(coefficients),) * count
    numbers = tuple(float(c) for c in coefficients)
    if len(numbers) != count:
        raise MergeError(
            f"coefficients: expected one per brick ({count}) or a single number, got {len(numbers)}"
        )
    if not all(map(math.isfinite, numbers)):
        raise MergeError(f"coefficients: expected finite numbers, got {numbers}")
    return numbers


def _energy(deltas: TaskVector) -> float:
    return sum(delta.norm() ** 2 for delta in deltas.values())
