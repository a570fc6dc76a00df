"""DATA on the command line, whichever verb takes it, as data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medlego.data import Dataset, Task, TaskHints
    from medlego.support import Progress

DATA_HELP = (
    "Folder per class; CSV or Parquet table of labels (TABLE, or TABLE@FOLDER where its images "
    "lie elsewhere; DICOM by path, SOP, series or study UID); MedMNIST .npz; or "
    "medmnist:NAME[:SIZE]."
)


def read_data(
    data: str,
    hints: TaskHints,
    *,
    seed: int,
    labels_map: Path | None,
    show: Progress,
    keep_torn: bool = False,
) -> Dataset:
    """One data set from DATA, its labels renamed where there is a table for that."""
    from medlego.data import LabelMap, load_dataset

    label_map = None if labels_map is None else LabelMap.load(labels_map)
    show("reading data", 0, 0)
    return load_dataset(data, hints, label_map=label_map, seed=seed, keep_torn=keep_torn, show=show)


def read_data_of(
    task: Task, data: str, *, seed: int, labels_map: Path | None, show: Progress
) -> Dataset:
    """One data set of a task that is known: its kind, and with a table of labels its labels."""
    from medlego.data import TaskHints

    hints = TaskHints(kind=task.kind)
    if labels_map is not None:
        hints = TaskHints(task.name, task.kind, task.labels, codes=task.codes)
    return read_data(data, hints, seed=seed, labels_map=labels_map, show=show)


def read_task_data(
    tasks: Iterable[Task], data: list[str], *, seed: int, labels_map: Path | None, show: Progress
) -> dict[str, Dataset]:
    """The data sets of `TASK=DATA` texts by task.

    Raises:
        DatasetError: a text of another form, a task twice or one that is not among `tasks`.
    """
    from medlego.errors import DatasetError

    known = {task.name: task for task in tasks}
    pairs = read_pairs(data)
    if unknown := [name for name in pairs if name not in known]:
        raise DatasetError(
            f"--data: expected tasks out of {', '.join(known)}, got {', '.join(unknown)}"
        )
    return {
        name: read_data_of(known[name], source, seed=seed, labels_map=labels_map, show=show)
        for name, source in pairs.items()
    }


def read_pairs(texts: list[str]) -> dict[str, str]:
    """`TASK=DATA` texts as a mapping."""
    from medlego.errors import DatasetError

    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, data = text.partition("=")
        if not (equals and name and data):
            raise DatasetError(f"--data: expected TASK=DATA, got {text!r}")
        if name in pairs:
            raise DatasetError(f"--data: expected each task once, got {name!r} twice")
        pairs[name] = data
    return pairs


def default_name(data: str) -> str | None:
    """A task's name from DATA: the path's stem; a MedMNIST name is left to its reader."""
    from medlego.data import as_task_name, task_stem

    return None if data.startswith("medmnist:") else as_task_name(task_stem(data))
