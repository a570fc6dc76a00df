"""What is read of DICOM files of every kind, beside dcmtk, GDCM and the standard's arithmetic.

    python -m benchmarks.ingest
    python -m benchmarks.ingest --folder DIR [--name NAME]

The first way writes some thousand small files (`benchmarks.ingest_files`) into a temporary folder.
Each is read by medlego, shown by dcmtk's dcmj2pnm or dcml2pnm with the same window, decoded by
GDCM where no window enters, and computed from the values that were written by the formulas of
PS3.3. The second reads every file below a folder, writes down what became of it, and whether a
picture came out flat without a word. Needs Debian's dcmtk, and the package imagecodecs for the
rows that it encodes (JPEG, HTJ2K), which nothing else here needs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
from PIL import Image as Pillow
from pydicom import uid

from benchmarks.common import RESULTS, write_result
from benchmarks.ingest_files import (
    GREY,
    LOSSY,
    PALETTE,
    Case,
    allowed,
    cases,
    shown,
    writable,
    write,
)
from medlego.errors import ImageError, NoPatientImageError
from medlego.images import read_image
from medlego.images.mending import LEAST_SPREAD

MEAN, MOST = 0.02, 0.06
"""Differences of pixels in [0, 1] up to which two pictures agree: on average, and anywhere."""

EXACT = 2e-6
"""The same for files without loss, against the standard's arithmetic."""

JPEG2000 = (uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)


def by_medlego(path: Path, frame: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """The picture, and what was warned of."""
    image = read_image(path, frame)
    pixels = image.pixels.permute(1, 2, 0).numpy().astype(np.float64)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels, image.warnings


def by_dcmtk(path: Path, case: Case, frame: int) -> np.ndarray | None:
    """The picture, None where dcmtk does not decode it."""
    if case.syntax in JPEG2000:
        return None
    tool = "dcml2pnm" if case.syntax in uid.JPEGLSTransferSyntaxes else "dcmj2pnm"
    way = ["-W"]
    if "VOI LUT" in case.window:
        way = ["+Wl", "1"]
    elif case.has_window:
        way = ["+Wi", "1"]
    out = path.with_suffix(".png")
    grey = case.form.photometric in GREY
    run = subprocess.run(
        [tool, "+F", str(frame + 1), *way, "+on2" if grey else "+on", str(path), str(out)],
        capture_output=True,
        check=False,
    )
    if run.returncode:
        return None
    with Pillow.open(out) as picture:
        array = np.asarray(picture)
    return array / (65535.0 if grey else 255.0)


def by_gdcm(path: Path, case: Case, frame: int) -> np.ndarray | None:
    """The picture that GDCM's stored values make; None where it does not decode them."""
    form, reader = case.form, gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        return None
    image = reader.GetImage()
    if form.allocated == 1 or (text := image.GetBuffer()) is None:
        return None
    kind = image.GetPixelFormat()
    dtype = f"{'i' if kind.GetPixelRepresentation() else 'u'}{kind.GetBitsAllocated() // 8}"
    values = np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype)
    if values.size != case.values.size:
        return None
    by_plane = form.samples == 3 and image.GetPlanarConfiguration() == 1
    rows, columns, *samples = form.shape
    stored = values.reshape(case.frames, *((*samples, rows, columns) if by_plane else form.shape))[
        frame
    ]
    name = str(image.GetPhotometricInterpretation())
    coloured = name if form.samples == 3 and name in ("RGB", "YBR_FULL", "YBR_FULL_422") else None
    return shown(case, np.moveaxis(stored, 0, 2) if by_plane else stored, coloured)


class Worker:
    """A process for GDCM, which ends its process on some of these files; then a new one."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, path: Path, case: Case, frame: int) -> np.ndarray | None:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("fork"))
        try:
            return self._pool.submit(by_gdcm, path, case, frame).result()
        except BrokenProcessPool:
            self._pool = None
            return None


PEERS = ("standard", "dcmtk", "gdcm")
Gap = tuple[float, float]


def one(case: Case, path: Path, stored: Worker | None) -> dict[str, Any]:
    """What became of one file: `refused`, or `warned` and each peer's (mean, most) or None.

    `stored` asks GDCM, if at all.
    """
    write(case, path)
    frame = case.frames - 1
    try:
        picture, warnings = by_medlego(path, frame)
    except ImageError as error:
        return {"refused": str(error).removeprefix(f"{path}: ")}
    others = {"standard": shown(case, case.values[frame]), "dcmtk": by_dcmtk(path, case, frame)}
    if case.window == "none" and stored is not None:
        others["gdcm"] = stored(path, case, frame)
    said: dict[str, Any] = {"warned": warnings}
    for name, other in others.items():
        said[name] = None
        if other is not None:
            gap = np.abs(picture - other) if picture.shape == other.shape else np.ones(1)
            said[name] = (float(gap.mean()), float(gap.max()))
    return said


def agrees(case: Case, peer: str, gap: Gap) -> bool:
    """Whether a peer's picture is the same but for rounding, or but for a codec's loss."""
    rounded = case.syntax in LOSSY or case.form.photometric.startswith("YBR")
    if peer == "dcmtk" or rounded:
        return gap[0] <= MEAN and gap[1] <= MOST
    return gap[1] <= EXACT


REASONS: list[tuple[str, str, Callable[[Case], bool]]] = [
    (
        "standard",
        "JPEG-LS near-lossless codes signed values as words: at the lowest value an error of 1 "
        "wraps around in the codestream, for every reader (PS3.5 section 8.2.3)",
        lambda case: case.form.signed and case.syntax == uid.JPEGLSNearLossless,
    ),
    (
        "standard",
        "a table of 32 entries makes several of its steps of a lossy codec's small error",
        lambda case: "32 entries" in case.window and case.syntax in LOSSY,
    ),
    (
        "dcmtk",
        "dcm2pnm shows 1 of 1 bit at half brightness",
        lambda case: case.form.allocated == 1,
    ),
    (
        "dcmtk",
        "dcm2pnm loses the highest stored value after a slope that is a fraction: it comes out "
        "as the lowest (PS3.3 section C.11.1 has no such step)",
        lambda case: case.window.startswith("rescale") and case.form.stored <= 8,
    ),
    (
        "gdcm",
        "GDCM does not extend the sign of JPEG-LS values (PS3.5 section 8.1.1)",
        lambda case: case.form.signed and case.syntax in uid.JPEGLSTransferSyntaxes,
    ),
    (
        "gdcm",
        "GDCM mixes up the bytes of colours of 16 bits in RLE (PS3.5 section G.2)",
        lambda case: case.form.samples == 3 and case.syntax == uid.RLELossless,
    ),
    (
        "gdcm",
        "GDCM leaves values where HighBit puts them (PS3.5 section 8.1.1)",
        lambda case: case.form.high != case.form.stored - 1,
    ),
]
"""Who differs from medlego, why, and in which files."""


def reason(case: Case, peer: str) -> str:
    """Why a peer differs, "unexplained" where nobody has looked."""
    return next((why for who, why, fits in REASONS if who == peer and fits(case)), "unexplained")


def pixels(case: Case) -> str:
    """The kind of pixels that the table groups by."""
    return {PALETTE: "palette"}.get(
        case.form.photometric, "colour" if case.form.samples == 3 else "grey"
    )


def swept(every: Iterable[Case]) -> dict[str, Any]:
    """Groups of files, disagreements by reason, and refusals by reason."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    differing: dict[tuple[str, str], dict[str, Any]] = {}
    refused: dict[str, dict[str, Any]] = {}
    by_gdcm_apart = Worker()
    with tempfile.TemporaryDirectory() as folder:
        for case in every:
            group = groups.setdefault(
                (pixels(case), case.syntax.name),
                {"files": 0, "warned": 0, "refused": 0}
                | {peer: {"agree": 0, "differ": 0, "cannot": 0, "largest": 0.0} for peer in PEERS},
            )
            said = one(case, Path(folder) / "x.dcm", by_gdcm_apart)
            group["files"] += 1
            if "refused" in said:
                group["refused"] += 1
                _count(refused, said["refused"], case)
                continue
            group["warned"] += bool(said["warned"])
            for peer in PEERS:
                if peer not in said:
                    continue
                tally, gap = group[peer], said[peer]
                if gap is None:
                    tally["cannot"] += 1
                elif agrees(case, peer, gap):
                    tally["agree"] += 1
                    tally["largest"] = max(tally["largest"], gap[1])
                else:
                    tally["differ"] += 1
                    _count(differing, (peer, reason(case, peer)), case)
    return {
        "rows": [{"pixels": k[0], "syntax": k[1], **group} for k, group in sorted(groups.items())],
        "disagreements": [
            {"peer": k[0], "reason": k[1], **entry} for k, entry in sorted(differing.items())
        ],
        "refusals": [{"reason": k, **entry} for k, entry in sorted(refused.items())],
    }


def _count(entries: dict[Any, dict[str, Any]], key: Any, case: Case) -> None:
    entry = entries.setdefault(key, {"files": 0, "example": case.name})
    entry["files"] += 1


def fates(folder: Path) -> dict[str, Any]:
    """What becomes of every file below a folder."""
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            image = read_image(path)
        except NoPatientImageError as error:
            outcomes["no image of a patient"] += 1
            reasons[str(error).rpartition("got ")[2]] += 1
        except ImageError as error:
            outcomes["refused"] += 1
            reasons[re.sub(r"[\d,.]*\d", "N", str(error).removeprefix(f"{path}: "))] += 1
        except Exception as error:
            outcomes["crash"] += 1
            reasons[f"{type(error).__name__} at {path}"] += 1
        else:
            flat = float(np.ptp(image.pixels.numpy())) < LEAST_SPREAD
            if image.warnings:
                outcomes["read with a warning"] += 1
            elif flat and _has_spread(path):
                outcomes["flat without a word"] += 1
                reasons[f"flat: {path}"] += 1
            else:
                outcomes["read"] += 1
    return {"files": outcomes.total(), "outcomes": dict(outcomes), "reasons": dict(reasons)}


def _has_spread(path: Path) -> bool:
    """Whether stored values, by pydicom, use a share of their range that a picture should too."""
    try:
        instance = pydicom.dcmread(path, force=True)
        return float(np.ptp(instance.pixel_array)) >= LEAST_SPREAD * 2.0**instance.BitsStored
    except Exception:  # pydicom does not read it: nobody knows
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="read every file below it instead")
    parser.add_argument("--name", help="what the folder is called in the results")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th file; no result")
    asked = parser.parse_args()
    file = RESULTS / "ingest.json"
    document: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    folders = document.get("folders", [])
    if asked.folder:
        entry = {"name": asked.name or asked.folder.name, **fates(asked.folder)}
        print(json.dumps(entry, indent=1))
        document["folders"] = [*(old for old in folders if old["name"] != entry["name"]), entry]
        file.write_text(json.dumps(document, indent=2) + "\n")
        return
    every = [case for case in dict.fromkeys(cases()) if allowed(case) and writable(case)]
    found = swept(every[:: asked.every])
    if asked.every > 1:
        print(json.dumps(found, indent=1))
        return
    packages = ("pydicom", "python-gdcm", "imagecodecs", "pyjpegls", "pylibjpeg-openjpeg")
    dcmtk = subprocess.run(["dcm2pnm", "--version"], capture_output=True, text=True, check=True)
    versions = {name: version(name) for name in packages} | {"dcmtk": dcmtk.stdout.split()[2]}
    rows = found.pop("rows")
    print(write_result("ingest", rows, seeds=[0], versions=versions, folders=folders, **found))


if __name__ == "__main__":
    main()
