"""One slice of a NIfTI or Analyze volume, turned to how cross-sections are read."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medlego.errors import ImageError
from medlego.images.image import Image
from medlego.images.mending import LEAST_SPREAD, WARNING, share
from medlego.images.volumes import ANALYZE, NIFTI_1, NIFTI_2, Volume, opened

MAX_VOXELS = 1 << 28
"""Largest volume that is read: 1,024 slices of 512 × 512."""

MAX_OFFSET = 1 << 26
"""Farthest start of the voxels; what lies before it, extensions, is read or inflated."""

PERCENTILES = (0.5, 99.5)
"""Of a whole volume without a display range: what becomes black and white."""

_FLAT = 1e-6
"""Least volume of a voxel, in those of a box with its sides, that says where a patient lies."""

_ARRAY: Any = nibabel.arrayproxy.ArrayProxy
_ANALYZE: Any = nibabel.Spm99AnalyzeHeader
_HEADERS: dict[tuple[str, bool], Any] = {
    (NIFTI_1, True): nibabel.Nifti1Image.header_class,
    (NIFTI_1, False): nibabel.Nifti1Pair.header_class,
    (NIFTI_2, True): nibabel.Nifti2Image.header_class,
    (NIFTI_2, False): nibabel.Nifti2Pair.header_class,
    (ANALYZE, False): _ANALYZE,
}
"""By format, and whether header and voxels lie in one file."""

_ANALYZE_AXES = {
    b"\0": (-1, 2, 3),
    b"\1": (-1, 3, 2),
    b"\2": (2, 3, -1),
    b"\3": (-1, -2, 3),
    b"\4": (-1, -3, 2),
    b"\5": (2, -3, -1),
}
"""What Analyze's `orient` says: per stored axis 1 right, 2 front or 3 head, minus away from it."""

_LEFT_RIGHT = f"{WARNING}orientation: left and right unknown, Analyze's rule has columns run to L"


def read_slice(volume: Volume, index: int | None, *, max_pixels: int) -> Image:
    """Read one slice of a volume.

    Volumes that say where the patient lies are turned so that the last axis runs from feet to
    head and the slice is axial, columns to the patient's left and rows to the back, as DICOM
    stores it. Greys are scaled by the header's display range, 8 bits by their range, and
    anything else by percentiles of the whole volume, since NIfTI says no more.

    Analyze knows no left and right: its own rule, stored from right to left, is taken, with a
    warning. SPM's scale in its header is used.

    Args:
        volume: the file or files.
        index: of the slice along the last axis, from 0; None is the middle one.
        max_pixels: largest slice that is read.

    Raises:
        ImageError: damaged, too large, in colour, or no such slice.
    """
    try:
        return _read(volume, index, max_pixels)
    except ImageError:
        raise
    except Exception as error:  # nibabel lets header, gzip and numpy errors of many kinds through
        raise ImageError(
            f"{volume.voxels}: expected a whole {volume.kind} volume, got one that cannot be read "
            f"({type(error).__name__}); fetch it again, or convert it with mrconvert"
        ) from None


def _read(files: Volume, index: int | None, max_pixels: int) -> Image:
    path, kind = files.voxels, _HEADERS[files.kind, files.voxels == files.header]
    with opened(files.header) as stream:
        header = kind(stream.read(kind.sizeof_hdr), check=False)
    mended = _Mended()
    header.check_fix(logger=mended)
    if not header["vox_offset"] <= MAX_OFFSET:
        raise ImageError(
            f"{files.header}: expected voxels within the first {MAX_OFFSET:,} bytes, got a header "
            "that puts them further; correct vox_offset"
        )
    _check(path, header, max_pixels)
    affine, warnings = _affine(header)
    with opened(path) as stream:
        volume, steps = _volume(_ARRAY(stream, header), header, affine)
    count = volume.shape[2]
    number = count // 2 if index is None else index
    if not 0 <= number < count:
        raise ImageError(
            f"{path}: expected a slice from 0 to {count - 1}, got {number}; choose one of these"
        )
    low, high, scaling = _range(path, header, volume)
    grey = np.nan_to_num((volume[:, :, number] - low) / (high - low)).clip(0.0, 1.0)
    applied = [f"slice: {number + 1} of {count}" + (", the middle one" if index is None else "")]
    applied += [*mended.steps, *scaling, *warnings]
    if (spread := float(np.ptp(grey))) < LEAST_SPREAD:
        applied.append(f"{WARNING}picture: {share(spread)}")
    if affine is not None:
        grey = grey[::-1, ::-1]
        applied.append("orientation: axial, turned, columns to L, rows to P")
    spacing = (steps[1], steps[0]) if min(steps) > 0 else None
    return Image.of(np.asarray(grey.T, dtype=np.float32), tuple(applied), spacing)


class _Mended:
    """What nibabel changes in a header, in place of a logger that would print it."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def log(self, _level: int, message: str) -> None:
        if " set" in message:
            self.steps.append(f"{WARNING}header: {message}")


def _check(path: Path, header: Any, max_pixels: int) -> None:
    shape, kind = header.get_data_shape(), header.get_data_dtype()
    if kind.fields is not None or kind.kind not in "iuf":
        raise ImageError(
            f"{path}: expected greys, got colours or complex numbers; store one channel as greys"
        )
    voxels = math.prod(int(side) for side in shape[:3])
    if len(shape) < 2 or not 1 <= voxels <= MAX_VOXELS or shape[0] * shape[1] > max_pixels:
        raise ImageError(
            f"{path}: expected 1 to {MAX_VOXELS:,} voxels in slices of at most {max_pixels:,}, "
            f"got {voxels:,}; cut the volume"
        )


def _volume(
    stored: Any, header: Any, affine: np.ndarray | None
) -> tuple[np.ndarray, tuple[float, float]]:
    """The first volume, (x, y, z) along the patient's axes where they are known, and x, y in mm."""
    later = (0,) * max(0, len(stored.shape) - 3)
    data = np.asarray(stored[(..., *later)], dtype=np.float32)
    data = data.reshape(*data.shape, 1) if data.ndim == 2 else data
    steps = [abs(float(step)) for step in header.get_zooms()[:3]]
    if affine is not None:
        tools: Any = nibabel.orientations
        axes = tools.io_orientation(affine)
        data = tools.apply_orientation(data, axes)
        steps = [steps[int(np.argmax(axes[:, 0] == axis))] for axis in range(3)]
    return data, (steps[0], steps[1])


def _affine(header: Any) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Where the patient lies, by the first of the header's two statements that can be true."""
    wrong: list[str] = []
    if len(header.get_data_shape()) < 3:
        return None, ()
    if isinstance(header, _ANALYZE):
        affine = np.zeros((4, 4))
        axes = _ANALYZE_AXES.get(header["orient"].item() or b"\0", _ANALYZE_AXES[b"\0"])
        for axis, towards in enumerate(axes):
            affine[abs(towards) - 1, axis] = np.sign(towards)
        return affine, (_LEFT_RIGHT,)
    for name in ("sform", "qform"):
        if not int(header[f"{name}_code"]):
            continue
        with suppress(ValueError, np.linalg.LinAlgError):
            affine = np.asarray(getattr(header, f"get_{name}")(), dtype=np.float64)
            sides = np.linalg.norm(affine[:3, :3], axis=0)
            if (
                np.isfinite(affine).all()
                and abs(np.linalg.det(affine[:3, :3])) > _FLAT * sides.prod()
            ):
                return affine, tuple(wrong)
        wrong.append(f"{WARNING}orientation: {name} ignored, it is no placement in space")
    return None, tuple(wrong)


def _range(path: Path, header: Any, volume: np.ndarray) -> tuple[float, float, list[str]]:
    """What becomes black and white, and what to say."""
    finite = volume[np.isfinite(volume)]
    if not finite.size:
        raise ImageError(f"{path}: expected finite values, got none; is this the right volume?")
    least, most = float(finite.min()), float(finite.max())
    low, high = float(header["cal_min"]), float(header["cal_max"])
    said = []
    if np.isfinite(low) and np.isfinite(high) and high > low:
        phrase = f"window: {low:g} to {high:g}, the header's display range"
        spread = (min(most, high) - max(least, low)) / (high - low)
        if spread >= LEAST_SPREAD or least == most:
            return low, high, [phrase]
        said.append(f"{WARNING}{phrase}: left out, it leaves {share(spread)}")
    if header.get_data_dtype() == np.uint8 and header.get_slope_inter()[0] in (None, 1.0):
        return 0.0, 255.0, [*said, "scaled: 8 bit by 1/255"]
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    if high > low:
        which = f"percentiles {PERCENTILES[0]} and {PERCENTILES[1]} of the volume"
    else:
        low, high, which = least, max(most, least + 1.0), "the volume's least and most"
    return low, high, [*said, f"scaled: {low:g} to {high:g}, {which}"]
