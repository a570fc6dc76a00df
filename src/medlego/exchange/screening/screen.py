"""Screening a brick from outside before it enters a store or a generalist."""

from __future__ import annotations

from collections.abc import Sequence
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
from medlego.exchange.screening.merge_effect import company_of, harm
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
    wanted, got = brick.base, base.ref
    if got != wanted:
        raise BaseError(
            f"base: expected that of the brick, {wanted.name} {wanted.fingerprint[:12]}… at "
            f"{wanted.image_size} px, got {got.name} {got.fingerprint[:12]}… at "
            f"{got.image_size} px; use Base.find(brick.base)"
        )
    findings = [_structure(brick, base)]
    if not findings[0].sound:
        return Screening(brick.digest, brick.task.name, tuple(findings))
    known = {other.digest: other for other in others if other.base == brick.base}
    peers = [peer for digest, peer in known.items() if digest != brick.digest]
    findings += _sizes(brick, peers, limits)
    findings.append(_overlap(brick, peers, limits))
    findings += _claims(brick, peers, limits)
    ordinary = ordinary or Ordinary.drawn(base)
    findings += _alone(brick, peers, ordinary, limits, show)
    findings += _harm(brick, peers, ordinary, limits, show)
    return Screening(brick.digest, brick.task.name, tuple(findings))


def _structure(brick: Brick, base: Base) -> Finding:
    try:
        brick_bytes(brick)
        specialist(brick).fold(base)
    except (BrickError, MergeError, BaseError) as error:
        return judged(STRUCTURE, 0.0, str(error), least=1.0)
    return judged(STRUCTURE, 1.0, "follows docs/FORMAT.md, all numbers finite, fits its base")


def _sizes(brick: Brick, peers: Sequence[Brick], limits: ScreeningLimits) -> list[Finding]:
    own, theirs = traits(brick), [traits(peer) for peer in peers]
    return [
        beside_median(
            name,
            [found[name] for found in theirs],
            own[name],
            limits.head if name == HEAD else limits.size,
            limits.peers,
        )
        for name in (*SIZES, HEAD)
    ]


def _overlap(brick: Brick, peers: Sequence[Brick], limits: ScreeningLimits) -> Finding:
    unrelated = [peer for peer in peers if peer.task.name != brick.task.name]
    if not unrelated:
        return not_judged(OVERLAP, "needs a brick of another task, got none")
    cosines = [abs(cosine(brick, peer)) for peer in unrelated]
    largest, name = max(zip(cosines, brick_names(unrelated), strict=True))
    says = f"cosine of {largest:.3f} with {name}, the nearest of {len(unrelated)}"
    return judged(OVERLAP, largest, says, most=limits.overlap)


def _claims(brick: Brick, peers: Sequence[Brick], limits: ScreeningLimits) -> list[Finding]:
    """A profile that calls everything its own would draw other tasks' images to the brick."""
    if (profile := brick.profile) is None:
        why = "needs a profile, got none"
        return [not_judged(PROFILE, why), not_judged(CLAIM, why)]
    own = expected_ood_score(profile, profile)
    says = f"gives images as it describes them an OOD score of {own:.1f}"
    found = [judged(PROFILE, own, says, least=-limits.profile, most=limits.profile)]
    held = {peer.digest: Capability(peer.task, peer.head, (peer,), (1.0,)) for peer in peers}
    mine = Capability(brick.task, brick.head, (brick,), (1.0,))
    others = [
        (peer, peer.profile)
        for peer in peers
        if peer.profile is not None
        and peer.profile.blocks == profile.blocks
        and len(groups([mine, held[peer.digest]])) == 2
    ]
    if not others:
        return [*found, not_judged(CLAIM, "needs a profile of other images, got none")]
    distances = [expected_ood_score(profile, theirs) for _, theirs in others]
    names = brick_names([peer for peer, _ in others])
    nearest, name = min(zip(distances, names, strict=True))
    says = f"gives images of {name} an OOD score of {nearest:.1f}; {OOD_LIMIT:g} is the limit"
    return [*found, judged(CLAIM, nearest, says, least=OOD_LIMIT)]


def _alone(
    brick: Brick,
    peers: Sequence[Brick],
    ordinary: Ordinary,
    limits: ScreeningLimits,
    show: Progress,
) -> list[Finding]:
    if len(peers) < limits.peers:
        why = f"needs {limits.peers} other bricks, got {len(peers)}"
        return [not_judged(EFFECT, why), not_judged(PUSH, why)]
    found = []
    for number, held in enumerate([brick, *peers]):
        what = f"brick {number + 1} of {len(peers) + 1} alone"
        found.append(measure(held, ordinary, show, what))
    own, *others = found
    middle, furthest = median(o.effect for o in others), max(o.push for o in others)
    effect = (
        f"moves features of ordinary images by {own.effect:.2f} of their spread; "
        f"the median of {len(peers)} others is {middle:.2f}"
    )
    push = (
        f"a small patch ({own.patch}) pushes images {own.push:.0%} of the way to {own.label!r}; "
        f"{furthest:.0%} is the furthest among {len(peers)} others"
    )
    return [
        judged(EFFECT, own.effect, effect, least=limits.effect * middle),
        judged(PUSH, own.push, push, most=max(limits.slight, limits.push * furthest)),
    ]


def _harm(
    brick: Brick,
    peers: Sequence[Brick],
    ordinary: Ordinary,
    limits: ScreeningLimits,
    show: Progress,
) -> list[Finding]:
    company = company_of(brick, peers)
    if len(company) < 2:
        why = f"needs bricks of two other tasks, got {len(company)}"
        return [not_judged(HARM, why), not_judged(HARM_BY_PATCH, why)]
    try:
        found = harm(brick, company, ordinary, show)
    except MergeError as error:
        return [not_judged(HARM, str(error)), not_judged(HARM_BY_PATCH, str(error))]
    most = limits.harm * max(found.others.values())
    says = (
        f"changes other tasks' answers by {found.change:.3f}; leaving one of the others out "
        f"changes them by {max(found.others.values()):.3f} at most"
    )
    by_patch = f"a patch pushes another task {found.by_patch:.0%} further ({found.worst})"
    return [
        judged(HARM, found.change, says, most=most),
        judged(HARM_BY_PATCH, found.by_patch, by_patch, most=limits.harm_by_patch),
    ]
