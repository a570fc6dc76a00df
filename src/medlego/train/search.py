"""Coefficients chosen on labelled validation images, for those who have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medlego.base import Base, Inputs
from medlego.bricks import Brick
from medlego.data import Dataset, align
from medlego.errors import DatasetError, MergeError
from medlego.generalist import Generalist, Stamp, assemble, default_slope, with_first_entry
from medlego.merge import DEFAULT_METHOD, SEARCHED
from medlego.metrics import point_scores
from medlego.prediction import Backbone, TaskAnswers, features_of
from medlego.support import Progress, ShortRepr, silent

VALUES = (0.2, 0.3, 0.45, 0.6, 0.8, 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Search(ShortRepr):
    """What a search found.

    `scores` has per value and task the balanced accuracy on val over the specialist's; `value`
    has the best mean and is what `generalist` was assembled with. `notes` say what reading the
    images had to mend or to leave out.
    """

    generalist: Generalist
    value: float
    scores: Mapping[float, Mapping[str, float]]
    notes: tuple[str, ...] = ()


def search_coefficients(
    bricks: Sequence[Brick],
    datasets: Mapping[str, Dataset],
    method: str = DEFAULT_METHOD,
    *,
    values: Sequence[float] = VALUES,
    base: Base | None = None,
    device: str = "cpu",
    show: Progress = silent,
    **options: Any,
) -> Search:
    """Assemble with the coefficient that keeps most of the specialists on `val`.

    One number for every task: more numbers than that would be fitted to a few hundred images.
    The recipe says `search`, so that nobody takes the result for data-free.

    Args:
        bricks: as for `assemble`.
        datasets: per task name, at least one; only their `val` split is read.
        method: a name of `METHODS`.
        values: coefficients to try, each finite.
        base: the bricks' base; found by fingerprint when left out.
        device: `cpu` or `cuda`.
        show: called with what is under way.
        options: further arguments of `assemble`; the slope left out is `default_slope`.

    Raises:
        MergeError: as `assemble`.
        GeneralistError: data for a task that no brick has.
        DatasetError: no data, or labels that a task does not know.
    """
    if not datasets:
        raise DatasetError("search: expected data for at least one task, got none; pass TASK=DATA")
    if options.setdefault("mode", "merged") not in ("merged", "auto"):
        raise MergeError(
            f"mode: expected merged with searched coefficients, got {options['mode']}; "
            "only one merge of all bricks is searched for"
        )
    options["mode"] = "merged"
    slope_given = options.get("slope") is not None
    if not slope_given:
        options["slope"] = default_slope(method, bricks)
    first = assemble(bricks, method, coefficients=values[0], **options)
    base = base or Base.find(first.base)
    val = {}
    notes: list[str] = []
    for name, dataset in datasets.items():
        aligned, _ = align(dataset, first.capability(name).task)
        samples, inputs = Inputs.of(aligned.val, base)
        val[name] = inputs, samples.labels
        notes += [f"{name}: {note}" for note in inputs.notes()]
    alone = {n: _score(first.alone(n), base, device, n, *part) for n, part in val.items()}
    scores: dict[float, dict[str, float]] = {}
    for number, value in enumerate(values):
        show(f"coefficient {value:g}", number, len(values))
        merged = assemble(bricks, method, coefficients=value, **options)
        scores[value] = {
            n: _score(merged, base, device, n, *part) / max(alone[n], 1e-9)
            for n, part in val.items()
        }
    show("searched", len(values), len(values))
    best = max(values, key=lambda value: float(np.mean(list(scores[value].values()))))
    merged = assemble(bricks, method, coefficients=best, **options)
    words = {"coefficients": SEARCHED, "slope_given": slope_given}
    recipe = merged.recipe.model_copy(update=words)
    generalist = with_first_entry(merged, recipe, options.get("stamp", Stamp()))
    return Search(generalist, best, scores, tuple(notes))


def _score(
    generalist: Generalist, base: Base, device: str, name: str, inputs: Inputs, labels: np.ndarray
) -> float:
    reader = generalist.reader(name).uncalibrated()
    pooled = features_of(Backbone.of(generalist, base, device).features, inputs)
    probs = TaskAnswers.read(reader, pooled).probs
    return point_scores(reader.task, probs, labels)["balanced_accuracy"]
