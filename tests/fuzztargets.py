"""What `tests/fuzz.py` damages: files to begin with, and what reads them."""

from __future__ import annotations

import gzip
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from PIL import Image as Pillow
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from brickparts import valid, with_calibration, with_grams, with_profile
from dicomfiles import as_bytes, compress, dataset, grey_lut, item, palette
from factories import make_brick
from fuzzmutations import Mutate, brickwise, bytewise, elementwise, nodewise, wordwise
from medlego.bricks import (
    Signer,
    load_brick,
    load_head,
    load_signature,
    read_label,
    sign_brick,
    signature_bytes,
)
from medlego.data import LabelMap, load_dataset
from medlego.errors import MedLegoError, SettingsError
from medlego.evaluation import Facts, GateLimits
from medlego.generalist import Trust, assemble
from medlego.generalist.document import RECIPES, load_document
from medlego.images import is_dicom, read_header, read_image
from medlego.serve.limits import ServiceLimits
from medlego.serve.pacs.rule import Rule
from medlego.support import load_tables, load_toml
from medlego.train import TrainSettings

KEY = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))


@dataclass(frozen=True)
class Target:
    """Files to begin with by suffix, how they are damaged, and what reads them."""

    seeds: Callable[[], list[tuple[str, bytes]]]
    mutate: Mutate
    read: Callable[[Path], object]


def read_pixels(path: Path) -> None:
    """Read an image; every value must be one."""
    with suppress(MedLegoError):
        read_image(path, 1, max_pixels=1 << 22)
    pixels = read_image(path, max_pixels=1 << 22).pixels
    assert pixels.numel() > 0
    assert bool(((pixels >= 0) & (pixels <= 1)).all()), "values outside [0, 1]"


def read_dicom(path: Path) -> None:
    if is_dicom(path):
        read_header(path)
    read_pixels(path)


def dicom_seeds() -> list[tuple[str, bytes]]:
    grey = np.tile(np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8), (4, 4))
    frames = np.stack([grey + i for i in range(3)])
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    entries = np.random.default_rng(1).integers(0, 65535, (256, 3))
    groups: dict[str, Any] = {
        "PerFrameFunctionalGroupsSequence": [
            item(
                FrameVOILUTSequence=[item(WindowCenter=2000 + i, WindowWidth=3000)],
                PixelValueTransformationSequence=[
                    item(RescaleSlope=1, RescaleIntercept=i, RescaleType="US")
                ],
                PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            )
            for i in range(3)
        ]
    }
    window: dict[str, Any] = {"BitsStored": 12, "WindowCenter": 2000, "WindowWidth": 3000}
    made = [
        dataset(
            grey,
            **window,
            Modality="CT",
            RescaleSlope=1,
            RescaleIntercept=-1024,
            PixelPaddingValue=0,
            PixelSpacing=[0.5, 0.25],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PatientAge="030Y",
            PatientBirthDate="19500101",
            StudyDate="20200101",
        ),
        dataset(
            grey.astype(np.int16) - 2000,
            ModalityLUTSequence=[grey_lut(-2000, np.arange(4096), 12, signed=True)],
            VOILUTSequence=[grey_lut(0, np.arange(4096), 12)],
            PixelAspectRatio=[2, 1],
            ImageType=["ORIGINAL", "PRIMARY", "M"],
        ),
        dataset(frames, frames=3, **window, **groups),
        compress(dataset(frames, frames=3), RLELossless),
        compress(dataset(frames, frames=3, **window), JPEGLSLossless),
        compress(dataset(grey), JPEG2000Lossless),
        dataset(colours, PhotometricInterpretation="YBR_FULL"),
        dataset(
            grey.astype(np.uint8),
            PhotometricInterpretation="PALETTE COLOR",
            **palette(0, entries, 16),
        ),
    ]
    return [(".dcm", as_bytes(instance)) for instance in made]


def nifti_seeds() -> list[tuple[str, bytes]]:
    volume = np.random.default_rng(0).integers(0, 1000, (6, 5, 4)).astype(np.int16)
    affine = np.diag([2.0, -1.0, 3.0, 1.0])
    first = nibabel.Nifti1Image(volume, affine)
    first.header["cal_max"] = 900
    first.header.set_slope_inter(2.0, -5.0)
    kinds = [first, nibabel.Nifti2Image(volume.astype(np.float32), affine)]
    kinds.append(nibabel.Nifti1Image(volume[..., None].astype(np.uint8), affine))
    files = [(".nii", image.to_bytes()) for image in kinds]
    return [*files, (".nii.gz", gzip.compress(files[0][1], mtime=0))]


def picture_seeds() -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    grey, colour = (
        rng.integers(0, 256, (24, 20), np.uint8),
        rng.integers(0, 256, (24, 20, 3), np.uint8),
    )
    deep = Pillow.fromarray(grey.astype(np.uint16) * 256)
    packed = b"II*\0\x08\0\0\0" + struct.pack("<H", 7)
    tags = [(256, 20), (257, 24), (258, 12), (259, 1), (262, 1), (273, 98), (279, 720)]
    packed += b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags)
    files = [(".tif", packed + bytes(4) + rng.bytes(720))]
    ways: list[tuple[Pillow.Image, str, dict[str, Any]]] = [
        (deep, "TIFF", {}),
        (Pillow.fromarray(colour), "TIFF", {"compression": "tiff_lzw"}),
        (Pillow.fromarray(grey), "TIFF", {"save_all": True, "append_images": [deep]}),
        (Pillow.fromarray(colour).quantize(16), "PNG", {}),
        (deep, "PNG", {}),
        (Pillow.fromarray(colour), "JPEG", {}),
        (Pillow.fromarray(grey), "JPEG2000", {}),
        (Pillow.fromarray(colour), "BMP", {}),
        (Pillow.fromarray(grey), "PPM", {}),
    ]
    for picture, kind, settings in ways:
        stream = BytesIO()
        picture.save(stream, kind, **settings)
        files.append((f".{kind.lower()}", stream.getvalue()))
    return files


def table_seeds() -> list[tuple[str, bytes]]:
    rows = [
        f"{i}.png,{'ab'[i % 2]},p{i // 2},{['train', 'val', 'test'][i // 4]},s" for i in range(12)
    ]
    plain = "\n".join(["path,label,patient_id,split,site", *rows]).encode()
    many = "path;label_a;label_b\n" + "".join(
        f"{i}.png;{i % 2};{-(i % 3 == 0)}\n" for i in range(12)
    )
    several = "path\tlabel\n" + "".join(f"{i}.png\t{'a|b' if i % 2 else 'b'}\n" for i in range(12))
    frame = pl.read_csv(plain)
    stream = BytesIO()
    frame.write_parquet(stream)
    texts = [
        plain,
        many.encode(),
        several.encode(),
        b"sep=,\n" + plain,
        plain.decode().encode("utf-16"),
    ]
    return [*((".csv", text) for text in texts), (".parquet", stream.getvalue())]


def read_table_of_images(path: Path) -> None:
    folder = path.parent / "images"
    if not folder.exists():
        folder.mkdir()
        for number in range(12):
            Pillow.new("L", (8, 8), number).save(folder / f"{number}.png")
    assert load_dataset(folder, labels=path, needs=()).task.labels


def label_map_seeds() -> list[tuple[str, bytes]]:
    return [(".csv", b"from,to,task\nnormal,healthy,x\nSCT:233604007,pneumonia,\nother,,\n")]


def toml_seeds() -> list[tuple[str, bytes]]:
    texts = {
        ".gate": 'level = 0.9\nunclear = "pass"\nrequire = ["a"]\n[default]\nmax_loss = 0.02\n'
        '[task."a b"]\nscore = "auroc"\nmin_score = 0.5\n',
        ".trust": f'[[key]]\nname = "Ada"\npublic = "{KEY.public.text}"\nroles = ["brick"]\n'
        "expires = 2027-12-31\n",
        ".facts": 'datasets = ["a/b"]\n[release]\n[uses]\n[warnings]\n[trust]\n',
        ".rule": 'modality = ["CT", "MR"]\nbody_part = ["CHEST*"]\nwithin_days = 3\n',
        ".limits": "image_bytes = 100\nrequest_bytes = 1000\nimages = 3\n",
        ".train": "rank = 4\nepochs = 3\nlearning_rate = 0.001\nseed = 1\n",
    }
    return [(suffix, text.encode()) for suffix, text in texts.items()]


def read_toml(path: Path) -> object:
    loads: dict[str, Callable[[Path], object]] = {
        ".gate": lambda p: GateLimits.load(p).of("a b"),
        ".trust": Trust.load,
        ".facts": Facts.load,
        ".rule": lambda p: Rule.load(p).digest,
        ".limits": lambda p: load_toml(ServiceLimits, p, SettingsError, "limits"),
        ".train": lambda p: TrainSettings.build(**load_tables(p, SettingsError, "settings")),
    }
    return loads[path.suffix](path)


def brick_seeds() -> list[tuple[str, bytes]]:
    bricks = [valid(), valid("ordinal"), with_grams(), with_profile(), with_calibration()]
    return [(".safetensors", content) for content in bricks]


def read_brick(path: Path) -> None:
    for read in (load_head, read_label):
        with suppress(MedLegoError):
            read(path)
    load_brick(path)


@cache
def _state() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "g"
        assemble([make_brick(), make_brick("b", kind="binary")]).save(place)
        recipe = next((place / "recipes").glob("*.json"))
        return {"document": (place / "generalist.json").read_bytes(), "recipe": recipe.read_bytes()}


def json_seeds() -> list[tuple[str, bytes]]:
    signature = signature_bytes(sign_brick(make_brick(), KEY))
    return [
        (f".{name}", content) for name, content in [*_state().items(), ("signature", signature)]
    ]


def read_json(path: Path) -> object:
    if path.suffix == ".signature":
        return load_signature(path)
    if path.suffix == ".recipe":
        return RECIPES.load(path)
    folder = path.parent / "generalist"
    folder.mkdir(exist_ok=True)
    (folder / "generalist.json").write_bytes(path.read_bytes())
    return load_document(folder)


TARGETS = {
    "dicom": Target(dicom_seeds, elementwise, read_dicom),
    "nifti": Target(nifti_seeds, bytewise, read_pixels),
    "picture": Target(picture_seeds, bytewise, read_pixels),
    "table": Target(table_seeds, wordwise, read_table_of_images),
    "label_map": Target(label_map_seeds, wordwise, LabelMap.load),
    "toml": Target(toml_seeds, wordwise, read_toml),
    "brick": Target(brick_seeds, brickwise, read_brick),
    "json": Target(json_seeds, nodewise, read_json),
}
