"""Every test on one torch thread: workers share the cores, and results repeat."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def shared() -> Path:
    """The folder with real data and bases beside the repository."""
    place = Path(os.environ.get("MEDLEGO_SHARED") or ROOT.parent / "shared")
    if not (place / "data").is_dir():
        pytest.skip(f"no real data at {place}")
    return place


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLEGO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True, scope="module")
def _without_gpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """A GPU is hidden from modules that are not marked `gpu`: what they expect, a CPU gave."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("gpu") is None:
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
            patch.setattr(torch.cuda, "is_available", lambda: False)
        yield
