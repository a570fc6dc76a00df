"""How fast DICOM files become network inputs, beside how fast a ViT-Tiny trains on them.

    python -m benchmarks.dicom_reading [--files 1000] [--size 512] [--epochs 3] [--rounds 3]

Uncompressed files of procedural radiographs, 12 bits in 16, with a window, are read and prepared
at 224 px by the threads of `medlego.base.Inputs`, by one thread, and by as many processes as
there are cores. Then a brick is trained on two threads with every input already in memory. Times
of reading are the fastest of the rounds, of training the fastest epoch. Rows of compressed files,
decoded in guarded workers, are for comparison.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from benchmarks.common import write_result
from benchmarks.timing import CORES, random_base
from medlego.base import Base, Inputs
from medlego.data import synthetic_dataset, synthetic_image
from medlego.data.samples import FileImages
from medlego.images import fit, read_image
from medlego.train import TrainSettings, train_brick

NAME, INPUT = "vit_tiny_patch16_224", 224
TASK = "synthetic-xray"
THREADS = 2
DRAWN = 16
COMPRESSED = {RLELossless: "pylibjpeg", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}


def write_files(folder: Path, count: int, size: int, syntax: UID) -> tuple[Path, ...]:
    """Radiographs of their own noise on a few drawn ones."""
    rng = np.random.default_rng(0)
    drawn = [
        synthetic_image(TASK, number % 3, size=size, rng=rng).astype(np.uint16) * 16
        for number in range(DRAWN)
    ]
    folder.mkdir()
    paths = []
    for number in range(count):
        noise = rng.integers(0, 16, (size, size), dtype=np.uint16)
        image = _image(drawn[number % DRAWN] + noise)
        if syntax in COMPRESSED:
            image.compress(syntax, encoding_plugin=COMPRESSED[syntax])
        paths.append(folder / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return tuple(paths)


def _image(stored: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = generate_uid()
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.WindowCenter, image.WindowWidth = 2048, 4000
    image.PixelData = stored.astype("<u2").tobytes()
    return image


def _prepared(path: Path) -> np.ndarray:
    torch.set_num_threads(1)
    return fit(read_image(path), INPUT).numpy()


def by_processes(paths: Sequence[Path], pool: ProcessPoolExecutor) -> Callable[[], None]:
    """Reading in processes that send whole inputs back."""

    def work() -> None:
        for _ in pool.map(_prepared, paths, chunksize=16):
            pass

    return work


def by_threads(paths: Sequence[Path], base: Base, workers: int) -> Callable[[], None]:
    """Reading as training does where a split does not fit in memory."""

    def work() -> None:
        inputs = Inputs(FileImages(tuple(paths)), base, memory_bytes=0)
        with mock.patch("os.cpu_count", return_value=workers):
            for _ in inputs.batches(32):
                pass

    return work


def fastest(work: Callable[[], None], rounds: int) -> float:
    """Seconds of the fastest of some runs, after one that warms up."""
    taken = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def training_seconds(base: Base, images: int, epochs: int) -> float:
    """Seconds of the fastest epoch per image, inputs in memory, a few images for validation."""
    data = synthetic_dataset(TASK, size=INPUT, counts=(images, 3, 3))
    ends = []
    settings = TrainSettings(epochs=epochs, patience=epochs, profile=False)
    start = time.perf_counter()
    callbacks = [lambda _epoch: ends.append(time.perf_counter())]
    train_brick(base, data, settings, device="cpu", callbacks=callbacks)
    return float(np.diff([start, *ends])[1:].min()) / images


def rows(base: Base, files: int, size: int, epochs: int, rounds: int) -> list[dict[str, Any]]:
    """Every way of reading, against training on as many images."""
    torch.set_num_threads(THREADS)
    train = training_seconds(base, min(files, 192), epochs) * files
    table = []

    def add(what: str, seconds: float, count: int) -> None:
        table.append(
            {
                "what": what,
                "images": files,
                "seconds": seconds * files / count,
                "images_per_second": count / seconds,
                "peer": f"training {NAME} at {INPUT} px, images in memory",
                "peer_seconds": train,
                "ratio": train / (seconds * files / count),
            }
        )

    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder) / "plain", files, size, ExplicitVRLittleEndian)
        add("uncompressed, pool of threads", fastest(by_threads(paths, base, CORES), rounds), files)
        add("uncompressed, one thread", fastest(by_threads(paths, base, 1), rounds), files)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(CORES, mp_context=context) as pool:
            add(
                "uncompressed, pool of processes", fastest(by_processes(paths, pool), rounds), files
            )
        few = max(16, files // 10)
        for syntax in COMPRESSED:
            packed = write_files(Path(folder) / str(syntax), few, size, syntax)
            work = by_threads(packed, base, CORES)
            add(f"{syntax.name}, pool of threads", fastest(work, rounds), few)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a folder other than benchmarks/results")
    asked = parser.parse_args()
    table = rows(random_base(NAME, INPUT), asked.files, asked.size, asked.epochs, asked.rounds)
    for row in table:
        print(
            f"{row['what']:<60} {row['images_per_second']:8.1f} /s  {row['ratio']:6.2f} × training"
        )
    packages = ("pydicom", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls")
    place = {"folder": asked.out} if asked.out else {}
    path = write_result(
        "dicom_reading",
        table,
        seeds=[0],
        versions={name: version(name) for name in packages},
        **place,
    )
    print(path)


if __name__ == "__main__":
    main()
