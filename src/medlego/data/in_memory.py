"""Data sets out of memory: what the reader of tables reads, from arrays and data frames."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from torch.utils.data import ConcatDataset, Subset

from medlego.data.kinds import find_kind
from medlego.data.label_text import plain_label
from medlego.data.load import checked
from medlego.data.polarity import with_positive
from medlego.data.readers.columns import GROUP_PREFIX, LABEL_PREFIX, Columns
from medlego.data.readers.labels import BETWEEN, Uncertain
from medlego.data.readers.manifest import as_dataset, labelled_rows, read_rows
from medlego.data.readers.table import MISSING, TextTable, checked_table, frame_rows
from medlego.data.samples import SPLITS, ArrayImages, Dataset, ImageSource, TaskHints
from medlego.data.task import MAX_LABELS
from medlego.errors import DatasetError
from medlego.images import Image, as_image
from medlego.support import ShortRepr

ARRAYS, TORCH, FRAME = Path("arrays"), Path("torch data set"), Path("data frame")
"""What messages call the sources."""


@dataclass(frozen=True, eq=False, repr=False)
class MemoryImages(ShortRepr):
    """Images as `as_image` takes them, by position."""

    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Image:
        return as_image(self.values[index], f"images[{index}]")


class _Firsts(Sequence[Any]):
    """The images of data sets that give pairs of image and label."""

    def __init__(self, pairs: Any) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> Any:
        return self._pairs[int(index)][0]


def read_arrays(
    images: Any,
    labels: Any,
    hints: TaskHints,
    *,
    patients: Any = None,
    groups: Mapping[str, Any] | None = None,
    split: Any = None,
    seed: int = 0,
    needs: Collection[str] = SPLITS,
    source: Path = ARRAYS,
    seen: Sequence[str] | None = None,
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """See `Dataset.from_arrays`.

    `source` is what messages call it, `seen` are notes on images that were looked at before,
    `classes` name labels in an order that nobody chose.
    """
    labels = np.atleast_1d(_as_array(source, labels))
    if labels.ndim == 1 and labels.dtype.kind != "U" and not _exclusive(source, hints):
        labels = labels[:, None]
    if not isinstance(groups, Mapping | None):
        raise DatasetError(
            f"{source}: groups: expected values by name, got {type(groups).__name__}"
        )
    given = _pixels(source, images)
    if len(labels) != len(given):
        raise DatasetError(
            f"{source}: labels: expected one per image ({len(given)}), got {len(labels)}"
        )
    names = _label_names(source, labels, hints.labels or classes)
    columns = _label_columns(source, labels, names)
    extra = {"patient_id": patients, "split": split}
    extra |= {f"{GROUP_PREFIX}{name}": values for name, values in (groups or {}).items()}
    for name, values in extra.items():
        if values is not None:
            columns[name] = _cells(source, name, values, len(given))
    table = TextTable(source, columns, tuple(range(len(given))))
    table = checked_table(table, words=names or ())
    rows, notes = labelled_rows(table)
    if isinstance(given, np.ndarray):
        found: ImageSource = ArrayImages(given if len(rows) == len(given) else given[rows])
    else:
        found = cast(ImageSource, Subset(cast(Any, MemoryImages(given)), rows))
        notes += _look((row, given[row]) for row in rows) if seen is None else seen
    named = replace(hints, labels=names)
    dataset = as_dataset(table.take(rows), found, named, seed, [*notes, *_one_hot(labels)])
    numbers = labels.dtype.kind != "U"
    numbered = (hints.labels or classes) is None and numbers
    dataset = with_positive(replace(dataset, numbered=numbered), hints)
    if numbers and dataset.task.labels != names:
        first, second = dataset.task.labels
        note = f"labels are turned: number 0 is {second} and 1 is {first}; name other data's, too"
        dataset = replace(dataset, notes=(*dataset.notes, note))
    return checked(str(source), dataset, needs)


def read_torch(data: Any, hints: TaskHints, *, split: Any = None, **settings: Any) -> Dataset:
    """See `Dataset.from_torch`."""
    parts = data if isinstance(data, Mapping) else {"": data}
    if wrong := [name for name in parts if isinstance(data, Mapping) and name not in SPLITS]:
        raise DatasetError(f"{TORCH}: split: expected {', '.join(SPLITS)}, got {wrong[0]!r:.60}")
    for part in parts.values():
        if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
            raise DatasetError(
                f"{TORCH}: expected a data set with a length and positions, got "
                f"{type(part).__name__}; from_arrays takes lists"
            )
    if not sum(map(len, parts.values())):
        raise DatasetError(f"{TORCH}: expected images with labels, got none")
    named = [getattr(part, "classes", None) for part in parts.values()]
    orders = {tuple(map(str, own)) for own in named if isinstance(own, list | tuple)}
    if len(orders) > 1:
        raise DatasetError(
            f"{TORCH}: classes: expected the same in every split, got {len(orders)} lists; "
            "number labels alike in all"
        )
    classes = next(iter(orders), None)
    if isinstance(data, Mapping):
        split = [name for name, part in parts.items() for _ in range(len(part))]
    pairs: Any = ConcatDataset(list(parts.values()))
    labels = []

    def images() -> Iterator[tuple[int, Any]]:
        for number in range(len(pairs)):
            pair = pairs[number]
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise DatasetError(
                    f"{TORCH}: expected pairs of image and label, got {type(pair).__name__} at "
                    f"{number}"
                )
            labels.append(_as_array(TORCH, pair[1]))
            yield number, pair[0]

    settings["seen"] = _look(images())
    if len({label.shape for label in labels}) > 1:
        raise DatasetError(f"{TORCH}: labels: expected one shape, got several")
    if labels[0].size == 1:
        settings["classes"] = classes
    return read_arrays(
        _Firsts(pairs), np.stack(labels), hints, split=split, source=TORCH, **settings
    )


def read_frame(
    frame: Any,
    hints: TaskHints,
    *,
    folder: str | Path,
    columns: Columns | None = None,
    uncertain: Uncertain = "unknown",
    seed: int = 0,
    needs: Collection[str] = SPLITS,
) -> Dataset:
    """See `Dataset.from_frame`."""
    is_polars = isinstance(frame, pl.DataFrame)
    if not is_polars and not (hasattr(frame, "iloc") and hasattr(frame, "columns")):
        raise DatasetError(
            f"{FRAME}: expected a data frame of pandas or polars, got {type(frame).__name__}"
        )
    header = [str(name) for name in frame.columns]
    try:
        names = (columns or Columns()).rename(header)
    except ValueError as problem:
        raise DatasetError(f"{FRAME}: {problem}") from None
    if twice := [name for name in names if header.count(name) > 1]:
        raise DatasetError(f"{FRAME}: column {twice[0][:60]!r}: expected it once")
    if not is_polars:
        frame = pl.DataFrame([_series(frame.iloc[:, header.index(n)], n) for n in names])
    table = checked_table(frame_rows(FRAME, frame, names, header, 0), words=hints.labels or ())
    dataset = read_rows(table, hints, seed, folder=Path(folder), uncertain=uncertain)
    return checked(str(FRAME), with_positive(dataset, hints), needs)


def as_hints(
    task: str | TaskHints, label_names: Sequence[str] | None, positive: str | None
) -> TaskHints:
    """What a caller says of a task; the names and the positive label go before those of hints.

    Raises:
        DatasetError: a task that is no name, or label names that are one text.
    """
    hints = TaskHints(name=task) if isinstance(task, str) else task
    if not isinstance(hints, TaskHints):
        raise DatasetError(f"task: expected a name or TaskHints, got {type(task).__name__}")
    if isinstance(label_names, str) or not isinstance(label_names, Sequence | np.ndarray | None):
        raise DatasetError(f"label_names: expected texts in order, got {label_names!r:.60}")
    labels = hints.labels if label_names is None else tuple(map(str, label_names))
    return replace(hints, labels=labels, positive=positive or hints.positive)


def _exclusive(source: Path, hints: TaskHints) -> bool:
    try:
        return hints.kind is None or find_kind(hints.kind).exclusive
    except ValueError as error:
        raise DatasetError(f"{source}: kind: {error}") from None


def _pixels(source: Path, images: Any) -> Any:
    """One array of uint8 as it is; everything else image by image."""
    if isinstance(images, torch.Tensor) and images.dtype == torch.uint8:
        images = images.detach().cpu().numpy()
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        grey = images.ndim == 3
        rgb = images.ndim == 4 and images.shape[3] == 3 and images.shape[1] not in (1, 3)
        if (grey or rgb) and images.size:
            return images
    if isinstance(images, str | bytes | Mapping) or not hasattr(images, "__len__"):
        raise DatasetError(
            f"{source}: images: expected an array or a list, got {type(images).__name__}; "
            "load_dataset and from_frame read files"
        )
    if not len(images):
        raise DatasetError(f"{source}: images: expected at least one, got none")
    return images if isinstance(images, _Firsts) else list(images)


_NUMBER = int | float | np.number | np.bool_
_DARK = 4095 / 65535


def _look(images: Iterable[tuple[int, Any]]) -> list[str]:
    """See that all can be read, by their numbers; a note where 16 bits may be fewer."""
    brightest = -1.0
    for number, value in images:
        pixels = as_image(value, f"images[{number}]").pixels
        kind = str(getattr(value, "dtype", getattr(value, "mode", "")))
        if kind.endswith("uint16") or kind.startswith("I"):  # Pillow's modes of integers
            brightest = max(brightest, float(pixels.max()))
    if not 0 <= brightest <= _DARK:
        return []
    return [
        f"greys of 16 bits reach {round(brightest * 65535):,} of 65,535 and stay dark; where they "
        "have fewer bits, divide by their range and pass floats in [0, 1]"
    ]


def _as_array(source: Path, labels: Any) -> np.ndarray:
    """Labels as numbers, (N,) or (N, labels), or as text (N,)."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu()
    try:
        array = np.asarray(labels)
    except ValueError:
        raise DatasetError(f"{source}: labels: expected rows of one length, got several") from None
    if array.dtype.kind in "OT":
        cells = [None if v is None or str(v) in MISSING else v for v in array.flat]
        if wrong := [v for v in cells if not isinstance(v, str | _NUMBER | None)]:
            raise DatasetError(
                f"{source}: labels: expected numbers or text, got {type(wrong[0]).__name__}"
            )
        numbers = all(isinstance(v, _NUMBER | None) for v in cells)
        flat = pl.Series(cells, dtype=pl.Float64 if numbers else pl.String, strict=False)
        array = flat.fill_null(np.nan if numbers else "").to_numpy().reshape(array.shape)
        array = array if numbers else array.astype(str)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    kinds = {0: "biufU", 1: "biufU", 2: "biuf"}
    if array.dtype.kind not in kinds.get(array.ndim, ""):
        raise DatasetError(
            f"{source}: labels: expected numbers or text (N,), or numbers (N, labels), got "
            f"{array.dtype} {array.shape}"
        )
    return array


def _label_names(
    source: Path, labels: np.ndarray, names: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """The names, in order; those of numbers are `class 0`, …; None of text that says it itself."""
    is_text = labels.dtype.kind == "U"
    if names is None:
        if is_text:
            return None
        whole = labels if labels.ndim == 1 else np.zeros(0)
        highest = np.nanmax(whole, initial=0)
        count = labels.shape[1] if labels.ndim == 2 else int(min(highest, MAX_LABELS)) + 1
        names = tuple(f"class {number}" for number in range(count))
    try:
        names = tuple(plain_label(name) for name in names)
    except ValueError as error:
        raise DatasetError(f"{source}: label_names: {error}") from None
    if bad := [name for name in names if not name or BETWEEN in name]:
        raise DatasetError(
            f"{source}: label_names: expected text without {BETWEEN!r}, got {bad[0]!r:.60}"
        )
    if len(set(names)) < len(names):
        raise DatasetError(f"{source}: label_names: expected each once, got one twice")
    return names


def _label_columns(
    source: Path, labels: np.ndarray, names: tuple[str, ...] | None
) -> dict[str, tuple[str, ...]]:
    """The columns of a table that would say so."""
    if names is None or labels.dtype.kind == "U":
        return {"label": tuple(map(str.strip, labels.tolist()))}
    if labels.ndim == 2:
        if len(names) != labels.shape[1]:
            raise DatasetError(
                f"{source}: label_names: expected one per column ({labels.shape[1]}), got "
                f"{len(names)}"
            )
        return {
            f"{LABEL_PREFIX}{name}": _cells(source, "labels", labels[:, number], len(labels))
            for number, name in enumerate(names)
        }
    known = labels[~np.isnan(labels)]
    if not np.isin(known, np.arange(len(names))).all():
        wrong = known[~np.isin(known, np.arange(len(names)))][0]
        raise DatasetError(
            f"{source}: labels: expected whole numbers 0 to {len(names) - 1} for {len(names)} "
            f"labels, got {wrong:g}; subtract 1 where they count from 1, NaN is a label not known"
        )
    return {"label": tuple("" if np.isnan(v) else names[int(v)] for v in labels)}


def _one_hot(labels: np.ndarray) -> list[str]:
    if labels.ndim != 2 or labels.shape[1] < 2 or not (labels.sum(axis=1) == 1).all():
        return []
    return ["each image has exactly one label; where labels exclude each other, pass their numbers"]


def _cells(source: Path, name: str, values: Any, count: int) -> tuple[str, ...]:
    """One text per image."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    cells = values.tolist() if hasattr(values, "tolist") else list(values)
    if isinstance(values, str) or len(cells) != count:
        raise DatasetError(f"{source}: {name}: expected one per image ({count}), got {len(cells)}")
    return tuple("" if cell is None else str(cell).strip() for cell in cells)


def _series(column: Any, name: str) -> pl.Series:
    """A column of pandas."""
    values = [
        None if missing else os.fspath(value) if isinstance(value, PurePath) else value
        for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)
    ]
    return pl.Series(name, values, strict=False)
