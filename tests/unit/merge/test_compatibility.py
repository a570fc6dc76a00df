"""Which bases bricks of one merge may stand on: equal tensors, and one thing done with them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import timm
import torch

from factories import make_brick, make_pixels, save_weights
from medlego import assemble, merge_files, save_brick
from medlego.base import Base, features
from medlego.errors import MergeError

CLIP, QUICK = "vit_base_patch32_clip_224", "vit_base_patch32_clip_quickgelu_224"
REFUSED = rf"brick 'quick': expected base {CLIP}, got {QUICK}, which acts otherwise"


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, depth=1))


@pytest.mark.usefixtures("shallow")
def test_equal_tensors_with_another_activation_are_refused(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "w", name=CLIP)
    plain, quick = (Base.load(name, weights=weights, image_size=32) for name in (CLIP, QUICK))
    assert plain.ref.fingerprint == quick.ref.fingerprint
    pixels = make_pixels(2, size=32)
    assert not torch.equal(features(plain.module, pixels), features(quick.module, pixels))
    bricks = [make_brick("plain", 1, base=plain), make_brick("quick", 2, base=quick)]
    with pytest.raises(MergeError, match=REFUSED):
        assemble(bricks)
    paths = [tmp_path / f"{brick.task.name}.brick.safetensors" for brick in bricks]
    for brick, path in zip(bricks, paths, strict=True):
        save_brick(brick, path)
    with pytest.raises(MergeError, match=REFUSED):
        merge_files(paths)


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("size", [32, 64])
def test_equal_tensors_under_another_tag_are_merged(tmp_path: Path, size: int) -> None:
    weights = save_weights(tmp_path / "w", name="deit_tiny_patch16_224")
    bases = [
        Base.load(name, weights=weights, image_size=size)
        for name in ("deit_tiny_patch16_224", "deit_tiny_patch16_224.fb_in1k")
    ]
    bricks = [make_brick(name, base=base) for name, base in zip("ab", bases, strict=True)]
    assert len(assemble(bricks).tasks) == 2
