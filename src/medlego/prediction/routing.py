"""Which tasks an image belongs to, by the bricks' profiles; none of them → abstain.

Every task measures an image by itself: its out-of-distribution (OOD) score z is about standard
normal for images like those it was trained on (`Profile.ood_score`). Tasks whose bricks look at
the same kind of image form a group and do not compete; groups compete with each other and with
"none of mine", which stands at z = `OOD_LIMIT`:

    e(z) = exp(−max(z, 0)² / 2)
    P(task) = e(z) / (e(z) + e(OOD_LIMIT) + Σ of the other groups' largest e)

So a task alone has one half at the limit. No other image than the bricks' own is needed, and a
task's limit never depends on the other bricks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from medlego.bricks import Brick, Profile
from medlego.errors import BrickError, raise_all
from medlego.merge import Capability
from medlego.support import ShortRepr

OOD_LIMIT = 3.0
"""OOD score above which an image is none of a task's."""
ATYPICAL_LIMIT = 2.0
"""OOD score above which an image is atypical: from another site or device?"""

Group = tuple[str, ...]
"""Names of tasks that look at the same kind of image."""


@dataclass(frozen=True, repr=False)
class Route(ShortRepr):
    """Where one image belongs.

    `probs` and `ood_scores` have every task that has a profile; `none` is the probability that the
    image belongs to none of them. `tasks` are those that apply, likeliest first, and `atypical`
    those among them for whose training images it is atypical.
    """

    tasks: tuple[str, ...]
    atypical: tuple[str, ...]
    probs: Mapping[str, float]
    none: float
    ood_scores: Mapping[str, float]

    @property
    def reason(self) -> str:
        """One sentence: why no task applies, or what makes the image special; else empty."""
        nearest = min(self.ood_scores, key=self.ood_scores.__getitem__)
        score = f"OOD score {self.ood_scores[nearest]:.1f}, training images lie below"
        if not self.tasks:
            return f"like no task's training images; nearest {nearest} ({score} {OOD_LIMIT:g})"
        if self.atypical:
            return (
                f"atypical of the training images of {', '.join(self.atypical)}; from another site "
                f"or device? ({score} {ATYPICAL_LIMIT:g})"
            )
        return ""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "tasks": list(self.tasks),
            "atypical": list(self.atypical),
            "probabilities": dict(self.probs),
            "none": self.none,
            "ood_scores": dict(self.ood_scores),
            "reason": self.reason,
        }


class Router:
    """Decides by the profiles of a generalist's capabilities.

    `tasks` are those that have a profile; one that has none is never chosen.
    """

    def __init__(self, capabilities: Sequence[Capability]) -> None:
        self.groups = groups(capabilities)
        by_task = {capability.task.name: profiles(capability) for capability in capabilities}
        self.tasks = tuple(name for name, own in by_task.items() if own)
        self._profiles = [by_task[name] for name in self.tasks]
        _check_depth([brick for capability in capabilities for brick in capability.bricks])
        self.blocks = self._profiles[0][0].blocks if self._profiles else 0
        place = {name: number for number, group in enumerate(self.groups) for name in group}
        self._group = torch.tensor([place[name] for name in self.tasks], dtype=torch.long)

    def ood_scores(self, features: Tensor) -> Tensor:
        """Stem features (N, d) → (N, tasks), float64; of a task's sites the one that knows best."""
        columns = [
            torch.stack([profile.ood_score(features) for profile in own]).amin(dim=0)
            for own in self._profiles
        ]
        return torch.stack(columns, dim=1)

    def probabilities(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(N, tasks) → each task's probability (N, tasks), and that of none (N,)."""
        evidence = (-scores.clamp(min=0).square() / 2).exp()
        outside = torch.exp(torch.tensor(-(OOD_LIMIT**2) / 2, dtype=evidence.dtype))
        by_group = torch.zeros(len(evidence), len(self.groups), dtype=evidence.dtype)
        by_group.scatter_reduce_(1, self._group.expand_as(evidence), evidence, "amax")
        whole = by_group.sum(dim=1, keepdim=True)
        others = whole - by_group[:, self._group]
        return evidence / (evidence + outside + others), (outside / (outside + whole))[:, 0]

    def applies(self, scores: Tensor) -> Tensor:
        """(N, tasks), true where a task applies: within its limit, in the nearest task's group."""
        nearest = self._group[scores.argmin(dim=1)]
        return (scores <= OOD_LIMIT) & (self._group == nearest[:, None])

    def routes(self, scores: Tensor) -> list[Route]:
        """One route per image, from `ood_scores`."""
        columns = (scores, *self.probabilities(scores), self.applies(scores))
        rows = [column.tolist() for column in columns]
        return [self._route(*row) for row in zip(*rows, strict=True)]

    def _route(
        self, scores: list[float], probs: list[float], none: float, applies: list[bool]
    ) -> Route:
        order = sorted((i for i, own in enumerate(applies) if own), key=scores.__getitem__)
        return Route(
            tasks=tuple(self.tasks[i] for i in order),
            atypical=tuple(self.tasks[i] for i in order if scores[i] > ATYPICAL_LIMIT),
            probs=dict(zip(self.tasks, probs, strict=True)),
            none=none,
            ood_scores=dict(zip(self.tasks, scores, strict=True)),
        )


def profiles(capability: Capability) -> tuple[Profile, ...]:
    """Those of its bricks that have one."""
    return tuple(brick.profile for brick in capability.bricks if brick.profile is not None)


def groups(capabilities: Sequence[Capability]) -> tuple[Group, ...]:
    """Tasks that look at the same kind of image, each task once, in order of appearance.

    Where two tasks state modality and body part, these decide; where one does not, their profiles
    do, if each finds the other's training images within its limit.
    """
    count = len(capabilities)
    linked = torch.zeros(count, count)
    for i, first in enumerate(capabilities):
        for j, second in enumerate(capabilities[:i]):
            linked[i, j] = float(_share_images(first, second))
    _, number = connected_components(linked.numpy(), directed=False)
    names: dict[int, list[str]] = {}
    for capability, group in zip(capabilities, number.tolist(), strict=True):
        names.setdefault(group, []).append(capability.task.name)
    return tuple(map(tuple, names.values()))


def _share_images(first: Capability, second: Capability) -> bool:
    stated = [(c.task.modality, c.task.body_part) for c in (first, second)]
    if None not in (*stated[0], *stated[1]):
        return stated[0] == stated[1]
    modalities = {modality for modality, _ in stated if modality is not None}
    if len(modalities) < 2:
        return any(
            expected_ood_score(a, b) <= OOD_LIMIT and expected_ood_score(b, a) <= OOD_LIMIT
            for a in profiles(first)
            for b in profiles(second)
            if a.blocks == b.blocks
        )
    return False


def expected_ood_score(own: Profile, other: Profile) -> float:
    """The OOD score of another profile's images under this one, by their mean d².

    E d² = tr(Σ⁻¹ Σ') + (μ' − μ)ᵀ Σ⁻¹ (μ' − μ), on factors: O(d · directions²).
    """
    apart = float(own.squared_distance(other.mean[None]))
    gram, scale = other.correlation, other.scale.double()
    roots = (gram.values.double() - gram.rest).clamp(min=0).sqrt()
    along = own.mean + (gram.vectors.double() * roots).T * scale
    mine, even = own.correlation, 1 / own.correlation.rest.double()
    diagonal = even + mine.vectors.double().square() @ (1 / mine.values.double() - even)
    rest = float(gram.rest) * float(((scale / own.scale).square() * diagonal).sum())
    spread = float(own.squared_distance(along).sum()) + rest
    middle, deviation = own.distance.tolist()
    score: float = (math.log(max(apart + spread, 1e-30)) - middle) / deviation
    return score


def _check_depth(bricks: Sequence[Brick]) -> None:
    depths = {brick.profile.blocks for brick in bricks if brick.profile is not None}
    problems = [
        f"brick {brick.task.name!r}: expected a profile of a stem of {min(depths)} blocks, as "
        f"others have, got one of {brick.profile.blocks}; retrain it"
        for brick in bricks
        if brick.profile is not None and brick.profile.blocks != min(depths)
    ]
    raise_all(BrickError, "profiles", problems)
