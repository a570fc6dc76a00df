"""Cells of labels to label arrays: one label an image, several in a cell, or a column each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, cast

import numpy as np

from medlego.data.kinds import find_kind
from medlego.data.label_text import plain_label
from medlego.data.readers.columns import LABEL_PREFIX
from medlego.data.readers.table import TextTable, whole_number
from medlego.errors import DatasetError, SettingsError, raise_all

BETWEEN = "|"
"""Between several labels in a cell, as in the NIH's tables of chest X-rays."""

NO_FINDING = frozenset({"no finding", "no findings", "normal", "none"})
"""What such a cell says where no label applies."""

Uncertain = Literal["unknown", "positive", "negative"]
"""What −1 means in a column of a label, as in CheXpert's tables."""

_KNOWN = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "": np.nan}
_UNCERTAIN = {"unknown": np.nan, "positive": 1.0, "negative": 0.0}
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")

Read = tuple[np.ndarray, tuple[str, ...], list[str]]
"""Labels as `Samples` hold them, the labels' names, and notes."""


def as_uncertain(text: str) -> Uncertain:
    """What -1 means, from text.

    Raises:
        SettingsError: none of the three.
    """
    if text not in _UNCERTAIN:
        raise SettingsError(f"uncertain: expected {', '.join(_UNCERTAIN)}, got {text!r}")
    return cast(Uncertain, text)


def in_order(labels: Iterable[str], kind: str | None) -> tuple[str, ...]:
    """Labels by their text; those of a scale by the numbers in it, grade 2 before grade 10."""
    names = tuple(sorted(labels))
    if kind is None or not find_kind(kind).scale:
        return names
    if all(map(_NUMBER.fullmatch, names)):
        return tuple(sorted(names, key=float))
    parts = {name: re.split(r"(\d+)", name) for name in names}
    return tuple(sorted(names, key=lambda n: [int(p) if p.isdecimal() else p for p in parts[n]]))


def single_labels(table: TextTable, chosen: Sequence[str] | None, kind: str | None = None) -> Read:
    """The column `label`: one label in each cell, or several of a multilabel task.

    Args:
        table: with a label in every row.
        chosen: the labels in order, where somebody says.
        kind: of the task, where somebody says; see `in_order`.

    Raises:
        DatasetError: labels other than those chosen, or with invisible characters.
    """
    cells = _plain_cells(table, "label")
    if any(BETWEEN in cell for cell in cells):
        return _listed_labels(table, cells, chosen)
    values = cells if chosen and set(cells) <= set(chosen) else [whole_number(c) for c in cells]
    names = tuple(chosen or in_order(set(values), kind))
    if unknown := sorted(set(values) - set(names)):
        first = next(i for i, v in zip(table.numbers, values, strict=True) if v == unknown[0])
        raise DatasetError(
            f"{table.path}: label: expected one of {', '.join(names)}, got also "
            f"{', '.join(map(repr, unknown[:5]))} (first in row {first}); see --labels"
        )
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[v] for v in values], dtype=np.int64), names, _spellings(cells, values)


def many_labels(table: TextTable, chosen: Sequence[str] | None, uncertain: Uncertain) -> Read:
    """The columns `label_NAME`, with 1, 0, nothing (unknown) or −1 (uncertain).

    Raises:
        DatasetError: anything else in a cell, or columns other than the labels chosen.
    """
    values = _KNOWN | {"-1": _UNCERTAIN[uncertain]}
    columns = [name for name in table.columns if name.startswith(LABEL_PREFIX)]
    cells = {name: [whole_number(c.casefold()) for c in table.columns[name]] for name in columns}
    problems = [
        f"row {number}, {name}: expected 1, 0, -1 or nothing, got {cell[:40]!r}"
        for name in columns
        for number, cell in zip(table.numbers, cells[name], strict=True)
        if cell not in values
    ]
    raise_all(DatasetError, str(table.path), problems[:20])
    in_columns = tuple(name.removeprefix(LABEL_PREFIX) for name in columns)
    names = tuple(chosen or in_columns)
    if set(names) != set(in_columns):
        raise DatasetError(
            f"{table.path}: labels: expected those of the columns, {', '.join(in_columns)}, "
            f"got {', '.join(names)}"
        )
    counts = Counter(cell for column in cells.values() for cell in column)
    notes = [f"{counts['-1']} uncertain cells (-1) count as {uncertain}"] if counts["-1"] else []
    rows = [[values[cell] for cell in cells[f"{LABEL_PREFIX}{name}"]] for name in names]
    return np.array(rows, dtype=np.float32).T.copy(), names, notes


def _listed_labels(table: TextTable, cells: Sequence[str], chosen: Sequence[str] | None) -> Read:
    parts = [{part.strip() for part in cell.split(BETWEEN) if part.strip()} for cell in cells]
    present = sorted({p for own in parts for p in own if p.casefold() not in NO_FINDING})
    names = tuple(chosen or present)
    if unknown := sorted(set(present) - set(names)):
        raise DatasetError(
            f"{table.path}: label: expected parts out of {', '.join(names)}, got also "
            f"{', '.join(unknown[:5])}; see --labels"
        )
    labels = np.array([[float(name in own) for name in names] for own in parts], dtype=np.float32)
    none = int((labels.sum(1) == 0).sum())
    return labels, names, [f"several labels in a cell: multilabel, {none} images with none of them"]


def _plain_cells(table: TextTable, name: str) -> list[str]:
    plain, problems = {}, {}
    for number, cell in zip(table.numbers, table.columns[name], strict=True):
        if cell not in plain and cell not in problems:
            try:
                plain[cell] = plain_label(cell)
            except ValueError as error:
                problems[cell] = f"row {number}: {name}: {error}"
    raise_all(DatasetError, str(table.path), list(problems.values())[:20])
    return [plain[cell] for cell in table.columns[name]]


def _spellings(cells: Iterable[str], values: Iterable[str]) -> list[str]:
    spelled: dict[str, set[str]] = {}
    for cell, value in zip(cells, values, strict=True):
        spelled.setdefault(value, set()).add(cell)
    return [
        f"label {value}: written {' and '.join(sorted(own))}"
        for value, own in spelled.items()
        if len(own) > 1
    ]
