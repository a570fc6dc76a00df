"""Labels of a data set renamed by a small table, by name or code and never by index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medlego.data.align import relabelled
from medlego.data.kinds import find_kind, guess_kind
from medlego.data.readers.table import read_table
from medlego.data.samples import SPLITS, Dataset, Samples, TaskHints
from medlego.data.task import Code
from medlego.errors import DatasetError, raise_all
from medlego.support import ShortRepr

_COLUMNS = ("from", "to", "task")


@dataclass(frozen=True, repr=False)
class LabelMap(ShortRepr):
    """Which label of the data is which label of the task.

    `rows` are (task, from, to) with their number in the file: an empty task is any task, an empty
    `to` a label that is not to be used.
    """

    path: Path
    rows: Mapping[tuple[str, str], tuple[str, int]]

    @classmethod
    def load(cls, path: str | Path) -> LabelMap:
        """Read a CSV or Parquet table with columns `from`, `to` and, where it matters, `task`.

        A label is written as its name, or as the code that its task states, `SCHEME:VALUE`
        (`SCT:233604007`).

        Raises:
            DatasetError: not readable, other columns, or one label mapped twice.
        """
        path = Path(path)
        if not path.is_file():
            raise DatasetError(f"{path}: expected a table of labels, found nothing there")
        table = read_table(path)
        if not {"from", "to"} <= set(table.columns) <= set(_COLUMNS):
            raise DatasetError(
                f"{path}: expected columns 'from', 'to' and perhaps 'task', "
                f"got {', '.join(sorted(table.columns))}"
            )
        rows: dict[tuple[str, str], tuple[str, int]] = {}
        problems = []
        tasks = table.columns.get("task", ("",) * len(table))
        names, targets = table.columns["from"], table.columns["to"]
        for task, name, to, number in zip(tasks, names, targets, table.numbers, strict=True):
            if not name:
                problems.append(f"row {number}: from: expected a label, got none")
            elif (task, name) in rows:
                problems.append(f"row {number}: from: expected each label once, got {name!r} again")
            rows[task, name] = (to, number)
        raise_all(DatasetError, str(path), problems)
        return cls(path, rows)

    def target(self, task: str, names: Sequence[str]) -> tuple[str, int] | None:
        """Where a label goes that is known by these names: the task's own row wins."""
        keys = [(owner, name) for owner in (task, "") for name in names]
        return next((self.rows[key] for key in keys if key in self.rows), None)

    def unused(self, task: str, names: Sequence[str]) -> list[str]:
        """Labels that the table maps for this task and that are not among `names`."""
        return [n for owner, n in self.rows if owner in ("", task) and n not in names]


def map_labels(dataset: Dataset, label_map: LabelMap, hints: TaskHints) -> Dataset:
    """The data set with its labels renamed.

    A label without a row keeps its name. What the task does not know, or what is mapped to
    nothing, is unknown: NaN in a multilabel task, else its images are left out; it never becomes
    "negative". Several labels may become one; in a multilabel task that is present where one
    of them is, and absent only where all are.

    Args:
        dataset: as its files have it.
        label_map: the table.
        hints: `labels` (and `codes`) are the task's, where they are known; `kind` is its kind.

    Raises:
        DatasetError: a row leads to a label that the task lacks, or hardly any label is left.
    """
    task = dataset.task
    goal, problems = _goals(dataset, label_map, hints)
    raise_all(DatasetError, str(label_map.path), problems)
    labels = hints.labels or tuple(dict.fromkeys(name for name in goal if name is not None))
    kind = hints.kind or guess_kind(len(labels), exclusive=task.rules.exclusive)
    rules = find_kind(kind)(len(labels))
    if not rules.fits:
        raise DatasetError(
            f"{label_map.path}: labels: expected {rules.size} for a {kind} task after the mapping, "
            f"got {', '.join(labels) or 'none'}"
        )
    place = {name: i for i, name in enumerate(labels)}
    to = np.array([-1 if name is None else place[name] for name in goal])
    renamed = task.model_copy(update={"kind": kind, "labels": labels, "codes": hints.codes})
    parts = relabelled(dataset, renamed, to)
    notes = _notes(dataset, parts, label_map, goal)
    return Dataset.of(renamed, parts, (*dataset.notes, *notes))


def _goals(
    dataset: Dataset, label_map: LabelMap, hints: TaskHints
) -> tuple[list[str | None], list[str]]:
    """Per label of the data the task's label, or None where it is unknown; and problems."""
    codes = dataset.task.codes or (None,) * len(dataset.task.labels)
    known = _by_text(hints) if hints.labels else None
    goal: list[str | None] = []
    problems = []
    for label, code in zip(dataset.task.labels, codes, strict=True):
        row = label_map.target(dataset.task.name, [label] if code is None else [label, spell(code)])
        to = label if row is None else row[0]
        target = to or None if known is None else known.get(to)
        if row is not None and to and target is None:
            problems.append(
                f"row {row[1]}: to: expected one of {', '.join(hints.labels or ())} or a code of "
                f"theirs for task {dataset.task.name!r}, got {to!r}"
            )
        goal.append(target)
    return goal, problems


def spell(code: Code) -> str:
    """A code as tables of labels write it."""
    return f"{code.scheme}:{code.value}"


def _by_text(hints: TaskHints) -> dict[str, str]:
    labels = hints.labels or ()
    codes = hints.codes or (None,) * len(labels)
    coded = {spell(c): label for label, c in zip(labels, codes, strict=True) if c is not None}
    return coded | {label: label for label in labels}


def _notes(
    dataset: Dataset,
    parts: Mapping[str, Samples],
    label_map: LabelMap,
    goal: Sequence[str | None],
) -> list[str]:
    notes = []
    dropped = [n for n, target in zip(dataset.task.labels, goal, strict=True) if target is None]
    lost = sum(len(dataset.split(name)) - len(parts[name]) for name in SPLITS)
    if dropped and not dataset.task.rules.exclusive:
        notes.append(f"labels that the task does not know: {', '.join(dropped)}")
    elif lost:
        notes.append(f"left out: {lost} images of {', '.join(dropped)}, unknown to the task")
    codes = [spell(code) for code in dataset.task.codes or () if code is not None]
    if unused := label_map.unused(dataset.task.name, [*dataset.task.labels, *codes]):
        notes.append(f"in the table of labels and not in the data: {', '.join(unused)}")
    return notes
