"""From what a reader found to a task and its splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medlego.data.kinds import KINDS, find_kind, guess_kind
from medlego.data.samples import SPLITS, Samples, TaskHints, split_by_patient
from medlego.data.task import Task, as_task_name
from medlego.errors import DatasetError
from medlego.support import read_fields


def make_task(
    path: Path, stem: str, labels: tuple[str, ...], hints: TaskHints, *, exclusive: bool = True
) -> Task:
    """The task of labels found in a file, as hints have it.

    Args:
        path: what messages are about.
        stem: the task's name where hints give none.
        labels: in order.
        hints: what the caller says.
        exclusive: whether the file has one label per image, not a column per label.

    Raises:
        DatasetError: a kind that contradicts the shape, or labels that are no task's.
    """
    kind = hints.kind or guess_kind(len(labels), exclusive=exclusive)
    if find_kind(kind).exclusive != exclusive:
        fitting = ", ".join(name for name, own in KINDS.items() if own.exclusive == exclusive)
        shape = "one label per image" if exclusive else "a column per label"
        raise DatasetError(
            f"{path}: kind: expected {fitting} for {shape}, got {kind}; leave the kind out"
        )
    fields = {
        "name": hints.name or as_task_name(stem),
        "kind": kind,
        "labels": labels,
        "modality": hints.modality,
        "body_part": hints.body_part,
    }
    return read_fields(Task, fields, name=str(path), error=DatasetError)


def split_samples(
    samples: Samples,
    splits: np.ndarray | None,
    seed: int,
    *,
    together: np.ndarray | None = None,
) -> dict[str, Samples]:
    """Samples by split: as `splits` says, (N,) of text, or by patient where it is None.

    Where patients are not known, samples of the same number in `together`, (N,), stay together.
    """
    if splits is None:
        patients = together if samples.patients is None else samples.patients
        parts = split_by_patient(samples.labels, patients, seed)
    else:
        parts = {name: np.flatnonzero(splits == name) for name in SPLITS}
    return {name: samples.take(indices) for name, indices in parts.items()}
