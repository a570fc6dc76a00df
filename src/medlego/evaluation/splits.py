"""Which labelled images a model is judged on."""

from __future__ import annotations

from collections.abc import Mapping

from medlego.data import SPLITS, Dataset, Samples, join
from medlego.errors import DatasetError


def check_data(verb: str, datasets: Mapping[str, object], split: str) -> None:
    """Refuse to judge on nothing, or on an unknown split.

    Raises:
        DatasetError: no data, or another split than `train`, `val`, `test` or `all`.
    """
    if not datasets:
        raise DatasetError(f"{verb}: expected at least one data set, got none; pass TASK=DATA")
    if split not in (*SPLITS, "all"):
        raise DatasetError(f"split: expected {', '.join(SPLITS)} or all, got {split!r}")


def samples_of(dataset: Dataset, split: str) -> Samples:
    """A data set's images of one split, or of `all`.

    Raises:
        DatasetError: there are none.
    """
    if split == "all":
        parts = [part for name in SPLITS if len(part := dataset.split(name))]
        samples = join(parts) if parts else dataset.test
    else:
        samples = dataset.split(split)
    if not len(samples):
        raise DatasetError(
            f"{dataset.task.name}: expected images in split {split!r}, got none; choose another "
            "split"
        )
    return samples
