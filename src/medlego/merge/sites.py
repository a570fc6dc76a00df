"""Several bricks of one task, one per site: how they weigh, and the one head they have together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from medlego.bricks import Brick, Head, brick_names
from medlego.data import Task, match_labels
from medlego.errors import MergeError, raise_all
from medlego.merge.coefficients import Coefficients, check_coefficients, find_rule
from medlego.merge.method import Merged, TaskVector, numerical_rank
from medlego.merge.methods.linear import merge_linear
from medlego.metrics import Calibration, State
from medlego.support import ShortRepr, one_thread

Sites = Literal["auto", "counts", "equal"]
"""How the sites of one task weigh: by training images stated in the cards, equally, or `auto`: by
counts where every site of the task states them, equally where one does not."""
SITES: tuple[Sites, ...] = get_args(Sites)


@dataclass(frozen=True, eq=False, repr=False)
class Capability(ShortRepr):
    """What the bricks of one task answer together: one site's, or several merged.

    `weights` has one number per brick, above zero, together one.
    """

    task: Task
    head: Head
    bricks: tuple[Brick, ...]
    weights: tuple[float, ...]
    notes: tuple[str, ...] = ()
    calibration: Calibration | None = None
    """Of the head on the deltas that it is read with; a calibration of other logits is left out."""
    stale: bool = False
    """Whether one was left out."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """The head's logits (N, outputs) to one probability per label, calibrated where it can."""
        calibrated = logits if self.calibration is None else self.calibration(logits)
        return self.task.rules.probabilities(calibrated)

    @property
    def thresholds(self) -> np.ndarray | None:
        """What probabilities must exceed, see `Kind.decide`; None without a calibration."""
        if self.calibration is None or not self.task.rules.thresholds:
            return None
        return np.array(self.calibration.thresholds)

    @property
    def state(self) -> State:
        """What its probabilities are worth."""
        if self.calibration is not None:
            return "calibrated"
        return "stale" if self.stale else "none"

    def uncalibrated(self) -> Capability:
        """The same for deltas that its calibration was not fitted to."""
        return replace(self, calibration=None, stale=self.state != "none")


def by_task(bricks: Sequence[Brick]) -> dict[str, tuple[int, ...]]:
    """Per task name where its bricks stand, in order of appearance."""
    places: dict[str, tuple[int, ...]] = {}
    for number, brick in enumerate(bricks):
        places[brick.task.name] = (*places.get(brick.task.name, ()), number)
    return places


def stated_images(brick: Brick) -> int | None:
    """Training images in the card, all labels together; None where it states none.

    A multilabel card counts findings: an image with two counts twice, one without not at all.
    """
    counts = brick.card.images.get("train", {}).values()
    total = sum(counts)
    return total if total > 0 and min(counts) >= 0 else None


def as_sites(text: str) -> Sites:
    """The word as one of `Sites`.

    Raises:
        MergeError: another word.
    """
    for word in SITES:
        if word == text:
            return word
    raise MergeError(f"sites: expected one of {', '.join(SITES)}, got {text!r}")


def site_weights(bricks: Sequence[Brick], sites: str = "auto") -> tuple[float, ...]:
    """Each brick's share in its task, above zero; a task's shares sum to one.

    Raises:
        MergeError: `sites` is another word, or `counts` and a site states none.
    """
    sites = as_sites(sites)
    stated, names = [stated_images(brick) for brick in bricks], brick_names(bricks)
    weights, problems = [1.0] * len(bricks), []
    for name, places in by_task(bricks).items():
        uncounted = [names[i] for i in places if stated[i] is None]
        counts = [stated[i] or 0 for i in places]
        if sites == "counts" and uncounted and len(places) > 1:
            problems.append(
                f"task {name!r}: expected training counts in every card, got none from "
                f"{', '.join(uncounted)}; choose sites=equal"
            )
        elif sites == "equal" or uncounted:
            counts = [1] * len(places)
        for i, count in zip(places, counts, strict=True):
            weights[i] = count / (sum(counts) or 1)
    raise_all(MergeError, "sites", problems)
    return tuple(weights)


def capabilities(bricks: Sequence[Brick], sites: str = "auto") -> tuple[Capability, ...]:
    """One capability per task, in order of appearance; one brick alone stays as it is.

    Args:
        bricks: such as `compatibility.conflicts` has nothing against.
        sites: see `Sites`.

    Raises:
        MergeError: as `site_weights`.
    """
    weights = site_weights(bricks, sites)
    return tuple(
        _capability([bricks[i] for i in places], tuple(weights[i] for i in places), sites)
        for places in by_task(bricks).values()
    )


def share_out(
    coefficients: Coefficients,
    bricks: Sequence[Brick],
    weights: Sequence[float],
    merge: Callable[[Sequence[float]], Merged],
    auto: str,
) -> tuple[float, ...]:
    """One coefficient per brick; what is not given per brick goes to tasks, then to their sites.

    Args:
        coefficients: a rule's name, one number for every task, or one number per brick.
        bricks, weights: each with its share in its task.
        merge: one number per brick to the merge with these, for rules that look at it.
        auto: the rule that the word `auto` stands for.

    Raises:
        MergeError: an unknown rule, a count that does not match, or a number that is not finite.
    """
    if isinstance(coefficients, str):
        rule = find_rule(coefficients, auto)
        vectors, _ = task_vectors(bricks, weights)
        coefficients = rule(vectors, lambda: merge(weights))
    elif not isinstance(coefficients, int | float):
        return check_coefficients(coefficients, len(bricks))
    (number,) = check_coefficients(coefficients, 1)
    return tuple(number * weight for weight in weights)


def task_vectors(
    bricks: Sequence[Brick], coefficients: Sequence[float]
) -> tuple[list[TaskVector], list[float]]:
    """One task vector and one coefficient per task, so that a method sees sites as one brick.

    Sites a with coefficients c_a enter as C · Σ (c_a / C) ΔW_a, with C their sum (of magnitudes,
    where signs differ). Directions of the inner sum below rounding are left out, so that copies
    of one brick are that brick to every method.

    Raises:
        MergeError: a sum too large for float32.
    """
    vectors: list[TaskVector] = []
    totals: list[float] = []
    for places in by_task(bricks).values():
        deltas = [bricks[i].deltas for i in places]
        own = [coefficients[i] for i in places]
        if len(places) == 1:
            vectors.append(deltas[0])
            totals.append(own[0])
            continue
        total = sum(map(abs, own)) * (-1 if max(own) <= 0 else 1)
        inner = [c / total for c in own] if total else own
        summed = merge_linear(deltas, inner).deltas
        vectors.append({n: d.truncate(max(1, numerical_rank(d.S)))[0] for n, d in summed.items()})
        totals.append(total)
    return vectors, totals


def _capability(bricks: Sequence[Brick], weights: tuple[float, ...], sites: str) -> Capability:
    if len(bricks) == 1:
        own = bricks[0]
        return Capability(own.task, own.head, (own,), weights, calibration=own.calibration)
    names = brick_names(bricks)
    matched = match_labels([brick.task for brick in bricks], names)
    task, notes = matched.task, []
    silent = ", ".join(n for n, b in zip(names, bricks, strict=True) if stated_images(b) is None)
    if sites == "auto" and silent:
        notes.append(f"the sites of {task.name} weigh the same: no training counts from {silent}")
    with one_thread():
        groups = _linked(matched.places)
        head = _merged_head(task, [b.head for b in bricks], matched.places, weights, groups)
    if task.rules.merging == "softmax" and len(groups) > 1:
        parts = " | ".join(", ".join(task.labels[i] for i in labels) for _, labels in groups)
        notes.append(
            f"{task.name}: no site knows labels on both sides of {parts}; "
            "how its answers compare across that is a guess"
        )
    stale = any(brick.calibration is not None for brick in bricks)
    return Capability(task, head, tuple(bricks), weights, tuple(notes), stale=stale)


Group = tuple[list[int], list[int]]
"""Sites that are linked by labels they share, and those labels."""


def _linked(places: Sequence[Sequence[int]]) -> list[Group]:
    knows = _knows(places)
    count, numbers = connected_components((knows @ knows.mT).numpy(), directed=False)
    groups = []
    for group in range(count):
        sites = np.flatnonzero(numbers == group).tolist()
        groups.append((sites, sorted({label for site in sites for label in places[site]})))
    return groups


def _knows(places: Sequence[Sequence[int]]) -> Tensor:
    """(sites, labels), one where a site's head has the label, else zero; float64."""
    knows = torch.zeros(len(places), 1 + max(map(max, places)), dtype=torch.float64)
    for site, where in enumerate(places):
        knows[site, list(where)] = 1
    return knows


def _merged_head(
    task: Task,
    heads: Sequence[Head],
    places: Sequence[Sequence[int]],
    weights: Sequence[float],
    groups: Sequence[Group],
) -> Head:
    """The sites' weighted mean, label by label, over the sites that have the label.

    A softmax head is defined up to one row added to all of its rows, and each site's is
    arbitrary. So the sites' shifts t and the merged rows μ minimise Σ w_s ‖row_s − t_s − μ‖²
    over all sites and their labels, and the rows of each linked group have the mean zero.
    """
    if task.rules.merging == "whole":
        return Head(
            _weighted([head.weight for head in heads], weights),
            _weighted([head.bias for head in heads], weights),
        )
    rows = [torch.cat([h.weight, h.bias[:, None]], dim=1).double() for h in heads]
    if task.rules.merging == "softmax":
        shifts = _shifts(rows, places, weights, groups)
        rows = [row - shift for row, shift in zip(rows, shifts, strict=True)]
    merged = _mean(rows, places, weights)
    if task.rules.merging == "softmax":
        for _, labels in groups:
            merged[labels] -= merged[labels].mean(dim=0)
    return Head(merged[:, :-1].float().contiguous(), merged[:, -1].float().contiguous())


def _weighted(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ w t, entry by entry in one order, so that sorted thresholds stay sorted."""
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor, weight in zip(tensors, weights, strict=True):
        total += weight * tensor.double()
    return total.float()


def _mean(
    rows: Sequence[Tensor], places: Sequence[Sequence[int]], weights: Sequence[float]
) -> Tensor:
    """Per label the weighted mean of its rows, (labels, columns)."""
    share = _shares(places, weights)
    total = torch.zeros(share.shape[1], rows[0].shape[1], dtype=torch.float64)
    for site, where in enumerate(places):
        total[list(where)] += share[site, list(where), None] * rows[site]
    return total


def _shares(places: Sequence[Sequence[int]], weights: Sequence[float]) -> Tensor:
    """(sites, labels), the weights of the sites that have a label, together one per label."""
    weighed = torch.tensor(weights, dtype=torch.float64)[:, None] * _knows(places)
    shares: Tensor = weighed / weighed.sum(dim=0)
    return shares


def _shifts(
    rows: Sequence[Tensor],
    places: Sequence[Sequence[int]],
    weights: Sequence[float],
    groups: Sequence[Group],
) -> Tensor:
    """The t (sites, columns) of `_merged_head`, of weighted mean zero in each group.

    With n_s labels at site s and p_sl its share in label l, the normal equations read
    n_s t_s − Σ_u (Σ_{l at s} p_ul) t_u = Σ_{l at s} (row_sl − mean_l).
    """
    mean = _mean(rows, places, weights)
    gap = torch.stack(
        [(row - mean[list(where)]).sum(dim=0) for row, where in zip(rows, places, strict=True)]
    )
    knows = _knows(places)
    system = knows.sum(dim=1).diag() - knows @ _shares(places, weights).mT
    for sites, _ in groups:
        index = torch.tensor(sites)
        share = torch.tensor([weights[s] for s in sites], dtype=torch.float64)
        system[index[:, None], index] += share / share.sum()
    shifts: Tensor = torch.linalg.solve(system, gap)
    return shifts
