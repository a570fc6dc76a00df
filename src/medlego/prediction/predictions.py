"""The answers to several images as a list that becomes a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex, overload

from medlego.prediction.answers import Answer, Prediction
from medlego.prediction.batch.rows import as_table, flat, rows_of, unreadable_row
from medlego.support import data_frame, html_table

MOST_SHOWN = 20
"""Images that a notebook shows."""


class Predictions(list[Prediction]):
    """One prediction per image, in order; a list in every way.

    `bricks` has per task the digests of the bricks whose deltas answer for it.
    """

    def __init__(
        self,
        predictions: Iterable[Prediction] = (),
        bricks: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__(predictions)
        self.bricks = dict(bricks or {})

    @overload
    def __getitem__(self, index: SupportsIndex) -> Prediction: ...

    @overload
    def __getitem__(self, index: slice) -> Predictions: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Prediction | Predictions:
        if isinstance(index, slice):
            return Predictions(super().__getitem__(index), self.bricks)
        return super().__getitem__(index)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<{len(self)} item{'s' * (len(self) != 1)}>)"

    def to_frame(self) -> Any:
        """A data frame of pandas where it is installed, else of polars.

        A row is one label of one task for one image, with its `probability`, its `threshold` and
        whether it is `answered`; an image without an answer, or that was not read, has one row
        that says so: the columns of `predict_many` as CSV (docs/many-images.md).
        """
        rows = []
        for position, one in enumerate(self):
            if one.problem is None:
                rows += rows_of(position, one, self.bricks)
            else:
                rows.append(unreadable_row(position, one.image, one.problem))
        return data_frame(flat(as_table(rows).lazy()).collect())

    def _repr_html_(self) -> str:
        """The answers by the images' places; names of images, which may be patients', stay out."""
        rows: list[tuple[int, str, str]] = []
        for number, one in enumerate(self[:MOST_SHOWN]):
            rows += [(number, answer.task.name, _likeliest(answer)) for answer in one.answers] or [
                (number, "", "not read" if one.problem else "no answer")
            ]
        count = f"{len(self)} image{'s' * (len(self) != 1)}"
        shown = f"{count}, the first {MOST_SHOWN} shown" if len(self) > MOST_SHOWN else count
        return html_table(shown, rows, ("image", "task", "answer"))


def _likeliest(answer: Answer) -> str:
    own = dict(zip(answer.task.labels, answer.probs, strict=True))
    return ", ".join(f"{name} ({own[name]:.3f})" for name in answer.labels) or "none of its labels"
