"""Timing of whole calls that take turns, so that other work on the machine disturbs all alike."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

from medlego.base import Base

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Runs = list[tuple[float, float]]
"""Wall and processor seconds of every run."""


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def alternate(
    works: Mapping[str, Callable[[], Any]],
    threads: int,
    repeats: int,
    after: Callable[[str], None],
) -> dict[str, Runs]:
    """Seconds of `repeats` runs of each, taking turns; one round before warms up."""
    torch.set_num_threads(threads)
    runs: dict[str, Runs] = {name: [] for name in works}
    for number in range(repeats + 1):
        for name, work in works.items():
            runs[name].append(timed(work))
            after(name)
        print(f"round {number} of {repeats}: {', '.join(works)}", file=sys.stderr)
    return {name: taken[1:] for name, taken in runs.items()}


def random_base(name: str, image_size: int) -> Base:
    """A timm vision transformer of random initialisation, for timing."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "base.safetensors"
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
        return Base.load(name, weights=file, image_size=image_size)
