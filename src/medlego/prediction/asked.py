"""What somebody asks about, one image after another: files, folders, tables and pixels."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from medlego.data import Dataset, Samples
from medlego.errors import ImageError
from medlego.images import Image, ImageLike, as_image, read_image
from medlego.prediction.batch.sources import list_images

OneImage = str | Path | ImageLike
"""A file, or an image in memory; a path may also be a folder's or a table's, of many."""
Asked = OneImage | Samples | Iterable[OneImage]
"""One image or several; of a split's samples, its images."""
_Listed = Path | ImageLike | partial[Image]
"""What `read_one` takes; an image of a split is read by then."""


def asked_images(images: Asked) -> list[tuple[str, _Listed]]:
    """Every image with its name: the path, or `image 1`, … of splits and those in memory.

    Raises:
        DatasetError: a folder or table without images, or as `list_images`.
        ImageError: nothing of which there could be images.
    """
    if isinstance(images, Dataset):
        raise ImageError("images: expected one split, got a Dataset; pass its train, val or test")
    if isinstance(images, Samples):
        source = images.images
        return [(f"image {n + 1}", partial(source.__getitem__, n)) for n in range(len(images))]
    if isinstance(images, np.ndarray) and images.ndim < 2 and images.dtype.kind in "OTU":
        images = images.ravel().tolist()
    if isinstance(images, str | Path) or not isinstance(images, Iterable):
        several: Iterable[OneImage] = [images]
    elif isinstance(images, np.ndarray | torch.Tensor):
        several = images if _is_stack(images) else [images]
    else:
        several = images
    listed: list[tuple[str, _Listed]] = []
    for item in several:
        if isinstance(item, str | Path):
            listed += [(str(path), path) for path in _paths(item)]
        else:
            listed.append((f"image {len(listed) + 1}", item))
    return listed


def _is_stack(images: np.ndarray | torch.Tensor) -> bool:
    """Whether an array holds several images: (N, height, width), or with channels.

    Raises:
        ImageError: three greys or one picture of three colours, or one with transparency.
    """
    if images.ndim != 3:
        return images.ndim == 4
    channels = {images.shape[2], images.shape[0] if isinstance(images, torch.Tensor) else 0}
    if channels & {2, 4}:
        raise ImageError(
            f"images: expected one or three channels, got {tuple(images.shape)}; convert the "
            "picture to RGB, or put greys into a list"
        )
    first, last = images.shape[0] in (1, 3), images.shape[2] in (1, 3)
    if isinstance(images, np.ndarray) and images.shape[0] == 3 and not last:
        raise ImageError(
            f"images: expected an array that reads one way, got {images.shape}; put one image or "
            "several into a list"
        )
    return not (first or last)


def read_one(image: _Listed, name: str, *, any_object: bool) -> Image | ImageError:
    """An image, or why there is none."""
    try:
        if isinstance(image, Path):
            return read_image(image, any_object=any_object)
        if isinstance(image, partial):
            return image()
        return as_image(image, name)
    except ImageError as error:
        return error


def _paths(source: str | Path) -> list[Path]:
    if not str(source):
        raise ImageError("images: expected a path, got an empty text")
    return [Path(image.name) for image in list_images([source])]
