"""Sample data to try everything with: folders of PNG by label, and DICOM files with a list.

No patient is behind any of these images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from medlego.data.synthetic import cells, mri, synthetic_image, ultrasound, xray
from medlego.data.task import Task
from medlego.errors import DatasetError
from medlego.support import Progress, csv_text, silent, write_atomically

FOLDERS = {"brain": mri.TASK, "breast": ultrasound.TASK, "blood": cells.TASK}
"""Tasks that are written as a folder per label."""
CHEST = "chest"
"""The folder of DICOM files."""
IMAGES = 300
"""Of each task."""
IMAGES_PER_PATIENT = 3
SITES = ("Example Clinic North", "Example Clinic South")
COMPRESSED: dict[str, str] = {
    RLELossless: "pylibjpeg",
    JPEGLSLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
}
"""Transfer syntaxes with pydicom's plugin that writes each; they need the extra `dicom`."""


def write_samples(
    folder: Path, *, images: int = IMAGES, size: int = 96, seed: int = 0, show: Progress = silent
) -> dict[str, Path]:
    """Write four synthetic tasks as people keep their data.

    Args:
        folder: a new or empty folder.
        images: of each task; labels occur equally often.
        size: rows and columns in pixels, 32 to 512.
        seed: same seed, same bytes; another one stands for another site.
        show: told how many images were written.

    Returns:
        By task what `load_dataset` reads: `brain`, `breast` and `blood` are folders with a
        sub-folder per label, `chest` is a table of labels beside DICOM files.

    Raises:
        DatasetError: something lies there already, or a size or number out of range.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder}: expected a new or empty folder, got another; choose a name")
    if not 1 <= images <= 100_000:
        raise DatasetError(f"images: expected 1 to 100,000, got {images}")
    sources = {}
    for name, task in FOLDERS.items():
        sources[name] = folder / name
        rng = np.random.default_rng((seed, len(sources)))
        for number in range(images):
            show(f"images of {name}", number, images)
            label = number % len(task.labels)
            pixels = synthetic_image(task.name, label, size=size, rng=rng)
            path = folder / name / task.labels[label] / f"{number + 1:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(pixels).save(path)
    patients = -(-images // IMAGES_PER_PATIENT)
    sources[CHEST] = write_dicom(folder / CHEST, patients=patients, size=size, seed=seed, show=show)
    return sources


def write_dicom(
    out: Path,
    *,
    task: Task = xray.TASK,
    patients: int = 20,
    size: int = 128,
    seed: int = 0,
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,),
    show: Progress = silent,
) -> Path:
    """Write radiographs as an archive exports them: a folder per site and patient.

    Args:
        out: folder to fill, made where it is missing.
        task: what is drawn.
        patients: how many, with three images and one label each.
        size: rows and columns in pixels.
        seed: same seed, same bytes.
        syntaxes: transfer syntaxes, by turns; others than the plain one are of `COMPRESSED`.
        show: told how many patients were written.

    Returns:
        The table of labels, with the columns sop_instance_uid and label.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        show("patients with radiographs", patient, patients)
        label = patient % len(task.labels)
        site = patient // len(task.labels) % len(SITES)
        study = _uid(seed, patient)
        sex, age = "FM"[int(rng.integers(2))], f"{int(rng.integers(20, 90)):03d}Y"
        folder = out / f"site-{site + 1}" / f"patient-{patient + 1:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(IMAGES_PER_PATIENT):
            image = _image(synthetic_image(task.name, label, size=size, rng=rng), site, rng)
            image.SOPInstanceUID = _uid(seed, patient, number)
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.StudyInstanceUID, image.SeriesInstanceUID = study, _uid(seed, patient, "series")
            image.PatientID = f"EXAMPLE-{patient + 1:03d}"
            image.PatientSex, image.PatientAge = sex, age
            syntax = syntaxes[(patient + number) % len(syntaxes)]
            if plugin := COMPRESSED.get(syntax):
                image.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
            image.save_as(folder / f"image-{number + 1}.dcm", enforce_file_format=True)
            rows.append((image.SOPInstanceUID, task.labels[label]))
    labels = out / "labels.csv"
    write_atomically(labels, csv_text(("sop_instance_uid", "label"), rows).encode())
    return labels


def _image(shown: np.ndarray, site: int, rng: np.random.Generator) -> FileDataset:
    """Twelve bits in a window; the second site stores its greys inverted."""
    stored = 200 + shown.astype(np.uint16) * 14 + rng.integers(0, 8, shown.shape, dtype=np.uint16)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.Modality, image.BodyPartExamined = "DX", "CHEST"
    image.Manufacturer, image.ManufacturerModelName = "medlego", f"procedural {site + 1}"
    image.InstitutionName, image.StationName = SITES[site], f"XRAY{site + 1}"
    image.ImagerPixelSpacing = [2.8, 2.8]
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = ("MONOCHROME2", "MONOCHROME1")[site]
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.WindowCenter, image.WindowWidth = 2048 if site == 0 else 2047, 3600
    image.PixelData = (stored if site == 0 else 4095 - stored).astype("<u2").tobytes()
    return image


def _uid(*parts: object) -> str:
    return generate_uid(entropy_srcs=["medlego example", *map(str, parts)])
