"""Which of two labels is the positive one, of which sensitivity and specificity speak."""

from __future__ import annotations

import re

import numpy as np

from medlego.data.align import relabelled
from medlego.data.samples import Dataset, TaskHints
from medlego.data.task import Task
from medlego.errors import DatasetError

_NEGATIVE = re.compile(
    "absent|benign|controls?|false|healthy|negative|none|no|normal|unaffected|unremarkable"
    r"|(no|non|not|without)[\s_-]+.+"
)
_POSITIVE = re.compile(
    "abnormal|affected|cancer|cases?|diseased|malignant|pathological|positive|present|sick|true|yes"
)


def guess_positive(labels: tuple[str, ...]) -> str | None:
    """The positive one of a well-known pair, such as `malignant`, `benign`; None of any other.

    A word for the negative side (`normal`, `benign`, `no …`) makes the other label the positive
    one; else a word for the positive side does.
    """
    words = [label.strip().casefold() for label in labels]
    for pattern, found in ((_NEGATIVE, False), (_POSITIVE, True)):
        signs = [pattern.fullmatch(word) is not None for word in words]
        if sum(signs) == 1:
            return labels[signs.index(found)]
    return None


def with_positive(dataset: Dataset, hints: TaskHints) -> Dataset:
    """The data set with the positive one of two labels as the second.

    It is `hints.positive`; else the second of `hints.labels`, where somebody gave an order; else
    what `guess_positive` says; else the labels stay as they are. So do those of `numbered`
    data: other data of the task are taken in that order.

    Raises:
        DatasetError: a positive label that is none of two, or not the second of numbered ones.
    """
    task, positive = dataset.task, hints.positive
    if positive is not None and (task.positive is None or positive not in task.labels):
        expected = "a task of two labels" if task.positive is None else " or ".join(task.labels)
        raise DatasetError(
            f"{task.name}: positive: expected {expected}, got {positive!r}"
            + (f" for a {task.kind} task" if task.positive is None else "")
        )
    if task.positive is None:
        return dataset
    if dataset.numbered and positive not in (None, task.positive):
        raise DatasetError(
            f"{task.name}: positive: expected {task.positive!r}, the label of number 1, got "
            f"{positive!r}; to choose, name them: class_names in an .npz, label_names of arrays"
        )
    if positive is None and hints.labels is None and not dataset.numbered:
        positive = guess_positive(task.labels)
    if positive in (None, task.positive):
        return dataset
    codes = None if task.codes is None else task.codes[::-1]
    turned = task.model_copy(update={"labels": task.labels[::-1], "codes": codes})
    parts = relabelled(dataset, turned, np.array([1, 0]))
    return Dataset.of(turned, parts, dataset.notes)


def positive_line(task: Task) -> str:
    """How a task's positive label is told to people, and what to do if it is the other one."""
    other, own = task.labels
    why = "" if guess_positive(task.labels) == own else ", the second of the two"
    return f"positive label: {own}{why}; if it is {other}, pass --positive {other!r}"
