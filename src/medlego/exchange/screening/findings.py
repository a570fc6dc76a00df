"""What screening says of a brick: one finding a check, and the limits behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from medlego.support import ShortRepr, plain_fields


class Verdict(StrEnum):
    """Of one check."""

    PASSED = "passed"
    FLAGGED = "flagged"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class ScreeningLimits:
    """From where on a check flags; docs/decisions/020-screening.md says how they were set."""

    size: float = 3.0
    """Norm, spectral norm and share of one target: at most so many times the others' median, at
    least one such part of it."""
    head: float = 6.0
    """The same for the rows of the head."""
    overlap: float = 0.5
    """Cosine with a brick of another task."""
    profile: float = 2.0
    """OOD score, either way, at which a profile may find the images that it describes."""
    effect: float = 0.4
    """Share of the others' median by which the brick must move features of ordinary images."""
    push: float = 1.3
    """Times the furthest that a patch pushes any of the others."""
    slight: float = 0.3
    """A push that is no concern, however little the others are pushed."""
    harm: float = 2.5
    """Change of the other tasks' answers on ordinary images, over the largest that one of
    the others makes."""
    harm_by_patch: float = 0.15
    """How much further a patch may push a label of another task than without the brick."""
    peers: int = 4
    """Bricks of other tasks that a comparison needs."""


@dataclass(frozen=True)
class Finding:
    """One check's outcome."""

    check: str
    verdict: Verdict
    says: str
    """What was measured and against what."""
    value: float | None = None
    least: float | None = None
    most: float | None = None

    @property
    def sound(self) -> bool:
        """Whether it is not flagged."""
        return self.verdict is not Verdict.FLAGGED


@dataclass(frozen=True, repr=False)
class Screening(ShortRepr):
    """Everything that was found about one brick."""

    digest: str
    task: str
    findings: tuple[Finding, ...]

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """Those beyond a limit; the brick should not enter unless somebody can explain them."""
        return tuple(finding for finding in self.findings if not finding.sound)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**plain_fields(self), "flagged": [finding.check for finding in self.flagged]}


def judged(
    check: str, value: float, says: str, *, least: float | None = None, most: float | None = None
) -> Finding:
    """A finding that passes between its limits, both included; NaN never does."""
    within = (least is None or value >= least) and (most is None or value <= most)
    verdict = Verdict.PASSED if within else Verdict.FLAGGED
    return Finding(check, verdict, says, value, least, most)


def not_judged(why: str, *checks: str) -> list[Finding]:
    """Checks that could not be made."""
    return [Finding(check, Verdict.NOT_JUDGED, why) for check in checks]


def beside_median(check: str, values: Sequence[float], own: float, limit: float) -> Finding:
    """Whether a number lies within a factor of the others' median, either way.

    Args:
        check: what is compared.
        values: the others', all positive, at least one.
        own: the brick's.
        limit: the factor.
    """
    middle = median(values)
    says = f"{own:.3g}; the median of {len(values)} others is {middle:.3g}"
    return judged(check, own, says, least=middle / limit, most=middle * limit)
