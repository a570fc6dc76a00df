"""Labels of a data set put in a task's order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medlego.data.samples import SPLITS, Dataset, Samples
from medlego.data.task import Kind, Task
from medlego.errors import DatasetError


def align(dataset: Dataset, task: Task) -> tuple[Dataset, tuple[str, ...]]:
    """The same images with labels numbered as a task's, matched by name, never by index.

    A set that knows only some of the task's labels is fine. An npz without names (`class 0`,
    `class 1`, …) is taken by index where the counts agree, and a note says so.

    Raises:
        DatasetError: a label that the task lacks, or another kind of task.
    """
    names = dataset.task.labels
    if (dataset.task.kind is Kind.MULTILABEL) != (task.kind is Kind.MULTILABEL):
        raise DatasetError(
            f"data for {task.name!r}: expected {task.kind} labels, got {dataset.task.kind}"
        )
    notes: tuple[str, ...] = ()
    if len(names) == len(task.labels) and names == tuple(f"class {i}" for i in range(len(names))):
        if names != task.labels:
            notes = ("the data names no classes; its numbers were taken in the task's order",)
        names = task.labels
    if unknown := [name for name in names if name not in task.labels]:
        raise DatasetError(
            f"data for {task.name!r}: expected labels out of {', '.join(task.labels)}, got also "
            f"{', '.join(unknown)}; rename them in the data, or with --labels-map"
        )
    to = np.array([task.labels.index(name) for name in names])
    parts = {name: _relabel(dataset.split(name), task, to) for name in SPLITS}
    return Dataset.of(task, parts, dataset.notes), notes


def _relabel(samples: Samples, task: Task, to: np.ndarray) -> Samples:
    if task.kind is not Kind.MULTILABEL:
        return replace(samples, labels=to[samples.labels])
    labels = np.full((len(samples), len(task.labels)), np.nan, dtype=np.float32)
    labels[:, to] = samples.labels
    return replace(samples, labels=labels)
