"""What every benchmark shares: where data and caches lie, and how a result is written down."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from medlego.base import Base
from medlego.data import Dataset, TaskHints
from medlego.data.readers.npz import read_npz
from medlego.generalist.merged_file import processor

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("MEDLEGO_SHARED") or ROOT.parent / "shared")
CACHE = Path(
    os.environ.get("MEDLEGO_BENCHMARK_CACHE") or Path.home() / ".cache" / "medlego-benchmarks"
)
RESULTS = ROOT / "benchmarks" / "results"

BASE_NAME = "deit_tiny_patch16_224"
BASE_FILE = SHARED / "bases" / f"{BASE_NAME}.fp16.safetensors"

SETS = {
    "btc_mri": ("MR", "BRAIN"),
    "busi_us": ("US", "BREAST"),
    "covid_cxr": ("DX", "CHEST"),
    "ham_derm": ("DMS", "SKIN"),
    "wbc_zheng": ("SM", "BLOOD"),
}
"""The five real sets with their modality and body part."""
FIFTEEN = {
    **SETS,
    "kermany_cxr": ("DX", "CHEST"),
    "sarscov2_ct": ("CT", "CHEST"),
    "iqoth_ct": ("CT", "CHEST"),
    "kidney_ct": ("CT", "KIDNEY"),
    "oasis_mri": ("MR", "BRAIN"),
    "odir_fundus": ("OP", "EYE"),
    "malaria_cell": ("SM", "BLOOD"),
    "herlev_pap": ("SM", "CERVIX"),
    "oral_histo": ("SM", "MOUTH"),
    "pocus_us": ("US", "LUNG"),
}
"""All of them; pairs of one modality and body part ask two questions of the same kind of image."""


@cache
def base(image_size: int) -> Base:
    """The DeiT-Tiny at an input size."""
    return Base.load(BASE_NAME, weights=BASE_FILE, image_size=image_size)


@cache
def dataset(name: str) -> Dataset:
    """One real set."""
    modality, body_part = FIFTEEN[name]
    hints = TaskHints(modality=modality, body_part=body_part)
    return read_npz(SHARED / "data" / f"{name}.npz", hints)


@cache
def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def key(*parts: Any) -> str:
    """A short digest of whatever decides a cached result."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def device_name(device: str) -> str:
    """What a device calls itself."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Flags that every table of merges takes: seeds, workers, and a look at validation alone."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only-val", action="store_true", help="print validation scores, no test")
    return parser


def write_result(
    name: str,
    rows: list[dict[str, Any]],
    *,
    seeds: list[int],
    folder: Path = RESULTS,
    **more: Any,
) -> Path:
    """Write `<folder>/<name>.json` with everything needed to judge and repeat it."""
    used = more.pop("data", [])
    document = {
        "name": name,
        "command": " ".join(["python", "-m", f"benchmarks.{name.split('-')[0]}", *sys.argv[1:]]),
        "commit": commit(),
        "seeds": seeds,
        "versions": {
            "python": platform.python_version(),
            **{p: version(p) for p in ("medlego", "torch", "timm", "numpy", "scikit-learn")},
            **more.pop("versions", {}),
        },
        "hardware": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        },
        "data": {path.name: file_digest(path) for path in used},
        **more,
        "rows": rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def commit() -> str:
    """What is checked out."""
    run = ["git", "-C", str(ROOT)]
    head = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run(
        [*run, "status", "--porcelain", "--", "src", "benchmarks/*.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    return head.stdout.strip() + (" with local changes" if changed.stdout.strip() else "")
