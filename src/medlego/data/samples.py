"""Labelled images of one task, split three ways by patient.

Labels that are not known are NaN (multilabel) or leave the sample out (one label per image);
they never become "negative".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from torch.utils.data import ConcatDataset, Subset

from medlego.data.task import Code, Task
from medlego.errors import DatasetError, ImageError
from medlego.images import Image, from_array, read_image
from medlego.support import ShortRepr

if TYPE_CHECKING:
    from medlego.data.readers.columns import Columns
    from medlego.data.readers.labels import Uncertain

SPLITS = ("train", "val", "test")


class ImageSource(Protocol):
    """Images by position, decoded when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Image: ...


@dataclass(frozen=True, eq=False, repr=False)
class ArrayImages(ShortRepr):
    """Images held in one uint8 array, (N, height, width) or (N, height, width, 3)."""

    array: np.ndarray

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Image:
        return from_array(self.array[index])


@dataclass(frozen=True, repr=False)
class FileImages(ShortRepr):
    """Images in files, read one at a time."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image:
        return read_image(self.paths[index])


@dataclass(frozen=True, eq=False, repr=False)
class Samples(ShortRepr):
    """Images with labels.

    `labels` is (N,) int64, or (N, labels) float32 with NaN for unknown where the task is
    multilabel. `patients` is (N,) of text where ids are known, one id per image. `groups` says by
    name, such as `sex`, to which part each image belongs: (N,) of text, empty where unknown.
    """

    images: ImageSource
    labels: np.ndarray
    patients: np.ndarray | None = None
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> Samples:
        """The samples at `indices`, in that order."""
        if isinstance(self.images, ArrayImages):
            images: ImageSource = ArrayImages(self.images.array[indices])
        elif isinstance(self.images, FileImages):
            images = FileImages(tuple(self.images.paths[i] for i in indices))
        else:
            images = Subset(cast(Any, self.images), indices.tolist())
        patients = None if self.patients is None else self.patients[indices]
        groups = {name: values[indices] for name, values in self.groups.items()}
        return Samples(images, self.labels[indices], patients, groups)


def join(parts: Sequence[Samples]) -> Samples:
    """Several samples in a row; patients and groups are kept where every part has them."""
    patients = [part.patients for part in parts if part.patients is not None]
    return Samples(
        ConcatDataset(cast(Any, [part.images for part in parts])),
        np.concatenate([part.labels for part in parts]),
        np.concatenate(patients) if len(patients) == len(parts) else None,
        {
            name: np.concatenate([part.groups[name] for part in parts])
            for name in parts[0].groups
            if all(name in part.groups for part in parts)
        },
    )


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(ShortRepr):
    """One task's images in three disjoint splits. `notes` say what reading left out.

    `numbered` data give numbers for labels without naming them, so that their order is their own.
    """

    task: Task
    train: Samples
    val: Samples
    test: Samples
    notes: tuple[str, ...] = ()
    numbered: bool = False

    @classmethod
    def of(cls, task: Task, parts: Mapping[str, Samples], notes: tuple[str, ...] = ()) -> Dataset:
        """A data set from its splits by name."""
        return cls(task, parts["train"], parts["val"], parts["test"], notes)

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        *,
        task: str | TaskHints,
        label_names: Sequence[str] | None = None,
        positive: str | None = None,
        patients: Sequence[Any] | np.ndarray | None = None,
        groups: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
        split: Sequence[str] | np.ndarray | None = None,
        seed: int = 0,
        needs: Collection[str] = SPLITS,
    ) -> Dataset:
        """A data set from N images and their labels in memory.

        Args:
            images: one array, such as (N, height, width) or (N, 3, height, width), or a list of
                arrays, tensors or Pillow pictures of any sizes; each as `medlego.images.as_image`
                takes it.
            labels: (N,) numbers from 0 or text; or (N, labels) of 1, 0 and NaN for unknown, where
                several labels may hold at once. Images whose one label is NaN are left out.
            task: the task's name, or `TaskHints` to say its kind, modality or body part too.
            label_names: of the numbers or columns, in order; `class 0`, … by default.
            positive: the one of two labels of which sensitivity speaks; by default the second of
                `label_names`; without them that of a well-known pair (`malignant`, not `benign`),
                else the second.
            patients: an id per image; all images of a patient stay in one split.
            groups: by name, such as `sex`, one value per image, for scores by subgroup.
            split: `train`, `val` or `test` per image; left out, the images are split 70/10/20,
                stratified by label.
            seed: of the split.
            needs: the splits that must have images.

        Raises:
            DatasetError: labels, patients, groups or splits that do not fit, or an empty split.
                Messages count images from 0.
            ImageError: an image that cannot be read.
        """
        from medlego.data.in_memory import as_hints, read_arrays

        return read_arrays(
            images,
            labels,
            as_hints(task, label_names, positive),
            patients=patients,
            groups=groups,
            split=split,
            seed=seed,
            needs=needs,
        )

    @classmethod
    def from_torch(
        cls,
        data: Any,
        *,
        task: str | TaskHints,
        label_names: Sequence[str] | None = None,
        positive: str | None = None,
        patients: Sequence[Any] | np.ndarray | None = None,
        groups: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
        split: Sequence[str] | np.ndarray | None = None,
        seed: int = 0,
        needs: Collection[str] = SPLITS,
    ) -> Dataset:
        """A data set from a torch data set that gives pairs of image and label.

        Each image is read once now, for its label, and again when it is needed. Leave
        augmentation and normalisation out of its transform.

        Args:
            data: a data set with positions, or several by split,
                `{"train": …, "val": …, "test": …}`.
            task, positive, seed, needs: as `from_arrays` takes them.
            label_names: as there; by default the data set's `classes`, if it has any.
            patients, groups, split: as there; of several data sets in their order, and without
                `split`.

        Raises:
            DatasetError, ImageError: as `from_arrays`.
        """
        from medlego.data.in_memory import as_hints, read_torch

        return read_torch(
            data,
            as_hints(task, label_names, positive),
            patients=patients,
            groups=groups,
            split=split,
            seed=seed,
            needs=needs,
        )

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        task: str | TaskHints,
        folder: str | Path = ".",
        label_names: Sequence[str] | None = None,
        positive: str | None = None,
        columns: Columns | None = None,
        uncertain: Uncertain = "unknown",
        seed: int = 0,
        needs: Collection[str] = SPLITS,
    ) -> Dataset:
        """A data set from a data frame of pandas or polars that names image files.

        It means what the same table means as a CSV file: `path`, `label` or `label_NAME`, and
        where present `patient_id`, `split`, `site` and `group_NAME`; see `load_dataset`.

        Args:
            frame: one row per image; messages count rows from 0.
            task: its name, or `TaskHints`.
            folder: where paths begin.
            label_names: the labels, in order; by default those in the frame, sorted.
            positive: as `from_arrays` takes it.
            columns: names of columns where they are not the usual ones.
            uncertain: what -1 means in a column of a label.
            seed, needs: as `from_arrays` takes them.

        Raises:
            DatasetError, ImageError: as `load_dataset`.
        """
        from medlego.data.in_memory import as_hints, read_frame

        return read_frame(
            frame,
            as_hints(task, label_names, positive),
            folder=folder,
            columns=columns,
            uncertain=uncertain,
            seed=seed,
            needs=needs,
        )

    def split(self, name: str) -> Samples:
        """The samples of `train`, `val` or `test`."""
        if name not in SPLITS:
            raise DatasetError(f"split: expected one of {', '.join(SPLITS)}, got {name!r}")
        samples: Samples = getattr(self, name)
        return samples


@dataclass(frozen=True, repr=False)
class TaskHints(ShortRepr):
    """What the files do not say about the task; each overrides what reading would guess.

    `codes` go with `labels`, one per label; a table of labels may refer to them. `positive` is the
    one of two labels of which sensitivity speaks.
    """

    name: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] | None = None
    modality: str | None = None
    body_part: str | None = None
    codes: tuple[Code | None, ...] | None = None
    positive: str | None = None


_WHOLE = re.compile(r"0*(\d+)(?:[.,]0{0,2})?")


def as_number(patient: str) -> str:
    """An id that is a whole number, without leading zeros and decimals; empty for any other."""
    match = _WHOLE.fullmatch(patient.strip())
    return match[1] if match else ""


def split_by_patient(
    labels: np.ndarray, patients: np.ndarray | None, seed: int
) -> dict[str, np.ndarray]:
    """Split 70/10/20, stratified by label, with all images of a patient on one side.

    Ids that are one number in two spellings count as one patient.

    Groups are dealt out in a seeded order, largest first, each to the split that lacks most
    of the labels it brings.

    Args:
        labels: (N,) int64 or (N, L) float32 with NaN.
        patients: (N,) ids, or None where each image stands for itself.
        seed: of the order.

    Returns:
        Sorted indices of `train`, `val` and `test`, together 0 … N−1.
    """
    shares = dict(zip(SPLITS, (0.7, 0.1, 0.2), strict=True))
    known = np.nan_to_num(labels) if labels.ndim == 2 else np.eye(labels.max() + 1)[labels]
    ids = np.arange(len(labels))
    if patients is not None:
        spelled, of = np.unique(patients, return_inverse=True)
        first: dict[str, int] = {}
        same = [first.setdefault(as_number(str(p)) or f"={p}", i) for i, p in enumerate(spelled)]
        ids = np.unique(same, return_inverse=True)[1][of]
    totals = np.zeros((ids.max() + 1, known.shape[1] + 1))
    np.add.at(totals, ids, np.column_stack([known, np.ones(len(known))]))
    order = np.random.default_rng(seed).permutation(len(totals))
    order = order[np.argsort(-totals[order, -1], kind="stable")]
    missing = np.array([share * totals.sum(0) for share in shares.values()])
    side = np.empty(len(totals), dtype=np.int64)
    for group in order:
        lack = (missing * (totals[group] > 0)).sum(1) / np.array(list(shares.values()))
        side[group] = int(np.argmax(lack))
        missing[side[group]] -= totals[group]
    return {name: np.flatnonzero(side[ids] == number) for number, name in enumerate(SPLITS)}


def fingerprint(samples: Samples) -> str:
    """SHA-256 over the pixels as read, which images cannot be, and the labels, in their order."""
    digest = hashlib.sha256()
    for index in range(len(samples)):
        try:
            pixels = samples.images[index].pixels
        except ImageError:
            digest.update(b"cannot be read\0")
            continue
        digest.update(f"{tuple(pixels.shape)}\0".encode())
        digest.update(pixels.contiguous().numpy().tobytes())
    digest.update(np.ascontiguousarray(samples.labels).tobytes())
    return digest.hexdigest()


def describe(samples: Samples, labels: Sequence[str]) -> dict[str, int]:
    """How many images each label has."""
    if samples.labels.ndim == 2:
        counts = np.nansum(samples.labels, axis=0)
    else:
        counts = np.bincount(samples.labels, minlength=len(labels))
    return {label: int(count) for label, count in zip(labels, counts, strict=True)}
