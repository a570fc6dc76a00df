"""Labels of a data set put in a task's order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medlego.data.label_text import visible_label
from medlego.data.samples import SPLITS, Dataset, Samples
from medlego.data.task import Task
from medlego.errors import DatasetError


def align(dataset: Dataset, task: Task) -> tuple[Dataset, tuple[str, ...]]:
    """The same images with labels numbered as a task's, matched by name, never by index.

    Names that look alike are the same. A set that knows only some of the task's labels is fine. An
    npz without names (`class 0`, `class 1`, …) is taken by index where the counts agree, and a note
    says so.

    Raises:
        DatasetError: a label that the task lacks, or another kind of task.
    """
    names = dataset.task.labels
    notes: tuple[str, ...] = ()
    if len(names) == len(task.labels) and names == tuple(f"class {i}" for i in range(len(names))):
        if names != task.labels:
            notes = ("the data names no classes; its numbers were taken in the task's order",)
        names = task.labels
    known = {visible_label(label): label for label in task.labels}
    names = tuple(known.get(visible_label(name), name) for name in names)
    if unknown := [name for name in names if name not in task.labels]:
        raise DatasetError(
            f"data for {task.name!r}: expected labels out of {', '.join(task.labels)}, got also "
            f"{', '.join(unknown)}; rename them in the data, or with --labels-map"
        )
    to = np.array([task.labels.index(name) for name in names])
    return Dataset.of(task, relabelled(dataset, task, to), dataset.notes), notes


def relabelled(dataset: Dataset, task: Task, to: np.ndarray) -> dict[str, Samples]:
    """Per split the images whose labels have a place in a task, with the labels there.

    Args:
        dataset: whose labels are of the same shape as the task's.
        task: its labels.
        to: see `Kind.relabel`.

    Raises:
        DatasetError: labels of another shape.
    """
    if dataset.task.rules.exclusive != task.rules.exclusive:
        raise DatasetError(
            f"data for {task.name!r}: expected {task.kind} labels, got {dataset.task.kind}"
        )
    parts = {}
    for name in SPLITS:
        samples = dataset.split(name)
        rows, labels = task.rules.relabel(samples.labels, to)
        part = samples if len(rows) == len(samples) else samples.take(rows)
        parts[name] = replace(part, labels=labels)
    return parts
