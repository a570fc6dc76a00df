"""What one frame of an enhanced multi-frame DICOM file costs, beside its header by pydicom.

    python -m benchmarks.dicom_frames [--frames 600 2400 12000] [--repeats 5]

Files of 16 × 16 pixels a frame, whose frames have six groups of twelve elements in all. medlego
reads the middle frame with its pixels; pydicom reads the header, and the header with what the
middle frame's groups say. Times are the fastest processor seconds of runs in turns.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.common import write_result
from benchmarks.timing import alternate
from medlego.images import read_image

GROUPS: dict[str, dict[str, Any]] = {
    "FrameContentSequence": {"StackID": "1", "InStackPositionNumber": 1, "DimensionIndexValues": 1},
    "PlanePositionSequence": {"ImagePositionPatient": [-10.5, 20.25, 3]},
    "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    "PixelMeasuresSequence": {"SliceThickness": 3, "PixelSpacing": [0.5, 0.5]},
    "PixelValueTransformationSequence": {
        "RescaleIntercept": 0,
        "RescaleSlope": 2,
        "RescaleType": "US",
    },
    "FrameVOILUTSequence": {"WindowCenter": 4000, "WindowWidth": 8000},
}


def enhanced(frames: int, *, lengths: bool) -> FileDataset:
    """An enhanced MR image; without lengths its sequences and items end in delimiters."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = EnhancedMRImageStorage, generate_uid()
    image.Modality, image.NumberOfFrames = "MR", frames
    image.Rows = image.Columns = 16
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.PixelData = np.arange(256, dtype="<u2").tobytes() * frames
    groups = Dataset()
    for name, elements in GROUPS.items():
        _add(groups, name, [_item(elements)], lengths)
    _add(image, "SharedFunctionalGroupsSequence", [Dataset()], lengths)
    _add(image, "PerFrameFunctionalGroupsSequence", [groups] * frames, lengths)
    return image


def _item(elements: dict[str, Any]) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _add(into: Dataset, keyword: str, items: list[Dataset], lengths: bool) -> None:
    for item in items:
        item.is_undefined_length_sequence_item = not lengths
    setattr(into, keyword, Sequence(items))
    into[keyword].is_undefined_length = not lengths


def _of_middle_frame(path: Path, frames: int) -> float:
    groups = dcmread(path, stop_before_pixels=True).PerFrameFunctionalGroupsSequence[frames // 2]
    return float(groups.FrameVOILUTSequence[0].WindowCenter)


def rows(counts: list[int], repeats: int) -> list[dict[str, Any]]:
    """Every number of frames, with lengths and without."""
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in counts:
            for lengths in (True, False):
                path = Path(folder) / f"{frames}-{lengths}.dcm"
                enhanced(frames, lengths=lengths).save_as(path, enforce_file_format=True)
                works: dict[str, Callable[[], Any]] = {
                    "medlego": partial(read_image, path),
                    "header": partial(dcmread, path, stop_before_pixels=True),
                    "groups": partial(_of_middle_frame, path, frames),
                }
                runs = alternate(works, 1, repeats, lambda _: None)
                ours, header, groups = (min(t for _, t in runs[name]) for name in works)
                table.append(
                    {
                        "frames": frames,
                        "lengths": "defined" if lengths else "undefined",
                        "seconds": ours,
                        "peer": "pydicom, header",
                        "peer_seconds": header,
                        "ratio": ours / header,
                        "groups_seconds": groups,
                        "groups_ratio": ours / groups,
                    }
                )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[600, 2400, 12_000])
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    table = rows(asked.frames, asked.repeats)
    print(write_result("dicom_frames", table, seeds=[], versions={"pydicom": version("pydicom")}))


if __name__ == "__main__":
    main()
