"""Write a small DICOM data set: `python examples/make_dicom_folder.py OUT`.

Sixty procedural chest radiographs of twenty patients from two sites, a third of them compressed
with RLE, a third with JPEG-LS and a third with JPEG 2000, in folders as an archive exports them,
and `labels.csv` with a label per SOP instance UID. No patient is behind any of them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from medlego.data import SYNTHETIC_TASKS, synthetic_image

LABELS = ("clear", "effusion")
SITES = ("Example Clinic North", "Example Clinic South")
SYNTAXES = (
    (RLELossless, "pylibjpeg"),
    (JPEGLSLossless, "pyjpegls"),
    (JPEG2000Lossless, "pylibjpeg"),
)
IMAGES_PER_PATIENT = 3
TASK = SYNTHETIC_TASKS["synthetic-xray"]


def write_folder(out: Path, *, patients: int = 20, size: int = 128, seed: int = 0) -> Path:
    """Write the images and their labels.

    Args:
        out: folder to fill, made where it is missing.
        patients: how many, with three images and one label each.
        size: rows and columns in pixels.
        seed: random seed; files are reproducible.

    Returns:
        The file of labels, with the columns sop_instance_uid and label.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        label = LABELS[patient % len(LABELS)]
        site = patient // len(LABELS) % len(SITES)
        study = _uid(seed, patient)
        sex, age = "FM"[int(rng.integers(2))], f"{int(rng.integers(20, 90)):03d}Y"
        folder = out / f"site-{site + 1}" / f"patient-{patient + 1:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(IMAGES_PER_PATIENT):
            shown = synthetic_image(TASK.name, TASK.labels.index(label), size=size, rng=rng)
            image = _image(shown, site, rng)
            image.SOPInstanceUID = _uid(seed, patient, number)
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.StudyInstanceUID, image.SeriesInstanceUID = study, _uid(seed, patient, "series")
            image.PatientID = f"EXAMPLE-{patient + 1:03d}"
            image.PatientSex, image.PatientAge = sex, age
            syntax, plugin = SYNTAXES[(patient + number) % len(SYNTAXES)]
            image.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
            image.save_as(folder / f"image-{number + 1}.dcm", enforce_file_format=True)
            rows.append((image.SOPInstanceUID, label))
    labels = out / "labels.csv"
    with labels.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("sop_instance_uid", "label"))
        writer.writerows(rows)
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    print(write_folder(arguments.out, patients=arguments.patients, size=arguments.size))
