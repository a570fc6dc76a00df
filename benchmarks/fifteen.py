"""The fifteen real sets with whose image each is, and the two bases that they are measured on."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl

from benchmarks.common import BASE_FILE, BASE_NAME, FIFTEEN, SHARED, dataset
from medlego.base import Base
from medlego.data import Samples

__all__ = ["BASES", "FIFTEEN", "IDS", "SIZE", "base_of", "data_file", "split_of"]

SIZE = 112
BASES = {
    "deit": (BASE_NAME, BASE_FILE),
    "dino": (
        "vit_small_patch14_dinov2",
        SHARED / "bases" / "vit_small_patch14_dinov2.fp16.safetensors",
    ),
}
IDS = {
    "ham_derm": "lesion",
    "kermany_cxr": "patient",
    "sarscov2_ct": "block",
    "iqoth_ct": "block",
    "kidney_ct": "cluster",
    "oasis_mri": "patient",
    "odir_fundus": "patient",
    "malaria_cell": "patient",
    "herlev_pap": "slide",
    "pocus_us": "case",
}
"""Whose images stay together and are drawn together: the best that `NAME.meta.csv` knows."""


@cache
def base_of(name: str) -> Base:
    """Its position embedding is resampled as `Base.load` does it."""
    full, file = BASES[name]
    return Base.load(full, weights=file, image_size=SIZE)


def data_file(name: str) -> Path:
    """Of a set."""
    return SHARED / "data" / f"{name}.npz"


def split_of(name: str, split: str) -> Samples:
    """A split of a set, with its patients or the next best where they are known."""
    samples = dataset(name).split(split)
    if name not in IDS:
        return samples
    rows = pl.read_csv(data_file(name).with_suffix(".meta.csv"), infer_schema=False)
    own = rows.filter(pl.col("split") == split).sort(pl.col("index").cast(pl.Int64))
    assert own["index"].to_list() == [str(i) for i in range(len(samples))]
    return replace(samples, patients=own[IDS[name]].to_numpy().astype(str))
