"""Scores of parts of the images: by sex, age band, site, scanner, or whatever is stated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medlego.metrics.bootstrap import RESAMPLES, Interval, interval
from medlego.metrics.sample import Sample
from medlego.metrics.scores import MAIN_SCORES, score_replicates
from medlego.support import ShortRepr

MIN_IMAGES = 20
"""Groups with fewer are shown as too small to judge."""


@dataclass(frozen=True, repr=False)
class GroupRow(ShortRepr):
    """One group's scores; `patients` is None where no ids are known.

    `small` marks fewer than `MIN_IMAGES`.
    """

    group: str
    value: str
    images: int
    patients: int | None
    small: bool
    scores: Mapping[str, Interval]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        facts = {k: v for k, v in vars(self).items() if k != "scores"}
        return {**facts, **{name: own.as_dict() for name, own in self.scores.items()}}


def group_rows(groups: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Every stated value of every group with the indices of its images; unknown is left out.

    Args:
        groups: by name (N,) of text, empty where unknown, as in `Samples.groups`.
    """
    for name, values in groups.items():
        for value in np.unique(values[values != ""]):
            yield name, str(value), np.flatnonzero(values == value)


def subgroups(
    sample: Sample,
    groups: Mapping[str, np.ndarray],
    *,
    names: Sequence[str] = MAIN_SCORES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[GroupRow, ...]:
    """A row per value of each group.

    Args:
        sample: a model's answers to N images.
        groups: see `group_rows`.
        names: scores to report.
        resamples, seed: of the intervals; patients are drawn whole where ids are known.
    """
    rows = []
    for group, value, indices in group_rows(groups):
        part = sample.take(indices)
        patients = None if part.patients is None else len(np.unique(part.patients))
        drawn = score_replicates(part, names, resamples=resamples, seed=seed)
        intervals = {name: interval(replicates) for name, replicates in drawn.items()}
        small = len(part) < MIN_IMAGES
        rows.append(GroupRow(group, value, len(part), patients, small, intervals))
    return tuple(rows)
