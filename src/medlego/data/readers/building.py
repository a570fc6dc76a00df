"""From what a reader found to a task and its splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import ValidationError

from medlego.data.samples import SPLITS, Samples, TaskHints, split_by_patient
from medlego.data.task import Kind, Task, as_task_name
from medlego.errors import DatasetError, raise_all


def make_task(
    path: Path, stem: str, labels: tuple[str, ...], hints: TaskHints, guess: Kind | None
) -> Task:
    """The task of labels found in a file, as hints have it.

    Args:
        path: what messages are about.
        stem: the task's name where hints give none.
        labels: in order.
        hints: what the caller says.
        guess: the kind that the file's shape suggests; None is one label out of several.

    Raises:
        DatasetError: a kind that contradicts the shape, or labels that are no task's.
    """
    if hints.kind is not None and (hints.kind is Kind.MULTILABEL) != (guess is Kind.MULTILABEL):
        many, one = "multilabel for a column per label", "another kind for one label per image"
        raise DatasetError(
            f"{path}: kind: expected {many if guess is Kind.MULTILABEL else one}, "
            f"got {hints.kind}; leave the kind out"
        )
    try:
        return Task(
            name=hints.name or as_task_name(stem),
            kind=hints.kind or guess or Kind.MULTICLASS,
            labels=labels,
            modality=hints.modality,
            body_part=hints.body_part,
        )
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'task'}: {e['msg']}" for e in error.errors()]
        raise_all(DatasetError, str(path), problems)
        raise


def guess_kind(labels: tuple[str, ...]) -> Kind:
    """The kind of a task with one label per image, by how many labels there are."""
    return Kind.BINARY if len(labels) == 2 else Kind.MULTICLASS


def split_samples(samples: Samples, splits: np.ndarray | None, seed: int) -> dict[str, Samples]:
    """Samples by split: as `splits` says, (N,) of text, or by patient where it is None."""
    if splits is None:
        parts = split_by_patient(samples.labels, samples.patients, seed)
    else:
        parts = {name: np.flatnonzero(splits == name) for name in SPLITS}
    return {name: samples.take(indices) for name, indices in parts.items()}
