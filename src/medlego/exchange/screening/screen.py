"""Screening a brick from outside before it enters a store or a generalist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from medlego.base import Base
from medlego.bricks import Brick, brick_bytes, brick_names
from medlego.errors import BaseError, BrickError, MergeError
from medlego.exchange.screening.behaviour import Ordinary
from medlego.exchange.screening.cache import measure
from medlego.exchange.screening.findings import (
    Finding,
    Screening,
    ScreeningLimits,
    beside_median,
    judged,
    not_judged,
)
from medlego.exchange.screening.merge_effect import harm, one_a_task
from medlego.exchange.screening.weights import HEAD, SIZES, traits
from medlego.generalist import specialist
from medlego.merge import Capability, cosine
from medlego.prediction import OOD_LIMIT, expected_ood_score, groups
from medlego.support import Progress, silent

STRUCTURE, OVERLAP, EFFECT, PUSH = "structure", "overlap", "effect", "push by a patch"
PROFILE, CLAIM = "profile", "claim on other tasks' images"
HARM, HARM_BY_PATCH = "change of other tasks", "push of other tasks by a patch"


def screen(
    brick: Brick,
    others: Sequence[Brick],
    base: Base,
    *,
    ordinary: Ordinary | None = None,
    limits: ScreeningLimits = ScreeningLimits(),
    show: Progress = silent,
) -> Screening:
    """Look for what a sound specialist does not show; needs no patient's image.

    Structure and finite numbers; sizes beside the other bricks'; overlap with bricks of other
    tasks; a profile that fits its own images and claims nobody else's; the effect on ordinary
    images, which a brick that is nothing but a backdoor hardly has; how far a small patch can push
    an answer; and what the brick changes for other tasks in a merge, leaving one out, with and
    without patches.

    Args:
        brick: the one in question.
        others: trusted bricks; each counts once, and not on another base or at another input size.
        base: the brick's base.
        ordinary: images without a trigger; procedural ones when left out.
        limits: from where on a check flags.
        show: called with what is under way.

    Returns:
        One finding per check. What could not be judged is said, never passed over.

    Raises:
        BaseError: another base or input size than the brick's.

    Cost: about 4,000 forward passes: 16 images under 85 patches, for the brick and for two
        merges. The others are measured as the brick is, once: results stay in the local cache.
    """
    expected, got = brick.base, base.ref
    if got != expected:
        raise BaseError(
            f"base: expected that of the brick, {expected.name} {expected.fingerprint[:12]}… at "
            f"{expected.image_size} px, got {got.name} {got.fingerprint[:12]}… at "
            f"{got.image_size} px; use Base.find(brick.base)"
        )
    structure = _structure(brick, base)
    if not structure.sound:
        return Screening(brick.digest, brick.task.name, (structure,))
    known = {other.digest: other for other in others if other.base == brick.base}
    peers = [peer for digest, peer in known.items() if digest != brick.digest]
    checks = _Checks(brick, peers, ordinary or Ordinary.drawn(base), limits, show)
    findings = [structure, *checks.sizes(), *checks.overlap(), *checks.profile()]
    findings += [*checks.alone(), *checks.in_a_merge()]
    return Screening(brick.digest, brick.task.name, tuple(findings))


def _structure(brick: Brick, base: Base) -> Finding:
    try:
        brick_bytes(brick)
        specialist(brick).fold(base)
    except (BrickError, MergeError, BaseError) as error:
        return judged(STRUCTURE, 0.0, str(error), least=1.0)
    return judged(STRUCTURE, 1.0, "follows docs/FORMAT.md, all numbers finite, fits its base")


@dataclass(frozen=True, eq=False)
class _Checks:
    """Everything that is looked for in a brick of sound structure."""

    brick: Brick
    peers: Sequence[Brick]
    ordinary: Ordinary
    limits: ScreeningLimits
    show: Progress

    @property
    def _lacking(self) -> str:
        """Why nothing can be compared with the others; empty where they are enough."""
        needed, count = self.limits.peers, len(self.peers)
        return "" if count >= needed else f"needs {needed} other bricks, got {count}"

    def sizes(self) -> list[Finding]:
        """Beside the other bricks'."""
        if why := self._lacking:
            return not_judged(why, *SIZES, HEAD)
        own, theirs = traits(self.brick), [traits(peer) for peer in self.peers]
        factors = dict.fromkeys(SIZES, self.limits.size) | {HEAD: self.limits.head}
        return [
            beside_median(name, [sizes[name] for sizes in theirs], own[name], factor)
            for name, factor in factors.items()
        ]

    def overlap(self) -> list[Finding]:
        """With bricks of other tasks."""
        unrelated = [peer for peer in self.peers if peer.task.name != self.brick.task.name]
        if not unrelated:
            return not_judged("needs a brick of another task, got none", OVERLAP)
        cosines = [abs(cosine(self.brick, peer)) for peer in unrelated]
        largest, name = max(zip(cosines, brick_names(unrelated), strict=True))
        says = f"cosine of {largest:.3f} with {name}, the nearest of {len(unrelated)}"
        return [judged(OVERLAP, largest, says, most=self.limits.overlap)]

    def profile(self) -> Iterator[Finding]:
        """One that calls everything its own would draw other tasks' images to the brick."""
        if (profile := self.brick.profile) is None:
            yield from not_judged("needs a profile, got none", PROFILE, CLAIM)
            return
        own, limit = expected_ood_score(profile, profile), self.limits.profile
        says = f"gives images as it describes them an OOD score of {own:.1f}"
        yield judged(PROFILE, own, says, least=-limit, most=limit)
        others = [
            (peer, expected_ood_score(profile, peer.profile))
            for peer in self.peers
            if peer.profile is not None
            and peer.profile.blocks == profile.blocks
            and len(groups([_capability(self.brick), _capability(peer)])) == 2
        ]
        if not others:
            yield from not_judged("needs a profile of other images, got none", CLAIM)
            return
        names = brick_names([peer for peer, _ in others])
        nearest, name = min(zip([score for _, score in others], names, strict=True))
        says = f"gives images of {name} an OOD score of {nearest:.1f}; {OOD_LIMIT:g} is the limit"
        yield judged(CLAIM, nearest, says, least=OOD_LIMIT)

    def alone(self) -> list[Finding]:
        """What the brick does by itself, beside what the others do."""
        if why := self._lacking:
            return not_judged(why, EFFECT, PUSH)
        count, limits = len(self.peers), self.limits
        own, *others = (
            measure(brick, self.ordinary, self.show, f"brick {number} of {count + 1} alone")
            for number, brick in enumerate([self.brick, *self.peers], 1)
        )
        middle, furthest = median(o.effect for o in others), max(o.push for o in others)
        effect = (
            f"moves features of ordinary images by {own.effect:.2f} of their spread; "
            f"the median of {count} others is {middle:.2f}"
        )
        push = (
            f"a small patch ({own.patch}) pushes images {own.push:.0%} of the way to "
            f"{own.label!r}; {furthest:.0%} is the furthest among {count} others"
        )
        return [
            judged(EFFECT, own.effect, effect, least=limits.effect * middle),
            judged(PUSH, own.push, push, most=max(limits.slight, limits.push * furthest)),
        ]

    def in_a_merge(self) -> list[Finding]:
        """What the brick does to other tasks."""
        others = one_a_task(self.brick, self.peers)
        if len(others) < 2:
            why = f"needs bricks of two other tasks, got {len(others)}"
            return not_judged(why, HARM, HARM_BY_PATCH)
        try:
            done = harm(self.brick, others, self.ordinary, self.show)
        except MergeError as error:
            return not_judged(str(error), HARM, HARM_BY_PATCH)
        change = (
            f"changes other tasks' answers by {done.change:.3f}; leaving one of the others out "
            f"changes them by {done.largest:.3f} at most"
        )
        by_patch = f"a patch pushes another task {done.by_patch:.0%} further ({done.worst})"
        return [
            judged(HARM, done.change, change, most=self.limits.harm * done.largest),
            judged(HARM_BY_PATCH, done.by_patch, by_patch, most=self.limits.harm_by_patch),
        ]


def _capability(brick: Brick) -> Capability:
    return Capability(brick.task, brick.head, (brick,), (1.0,))
