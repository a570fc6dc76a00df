"""The slope: later blocks weigh more, one task alone not at all, and the recipe says so."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from factories import make_base, make_brick
from medlego.bricks import REFIT_WITH, save_brick
from medlego.errors import MergeError
from medlego.generalist import Generalist, assemble
from medlego.merge import METHODS, merge_files
from medlego.merge.depth import depth_factors

BASE = make_base()
BRICKS = [make_brick(f"task-{n}", n, base=BASE) for n in range(3)]
NAMES = [target.name for target in BRICKS[0].targets]


def test_factors_rise_from_the_first_block_to_the_last() -> None:
    names = [f"blocks.{number}.attn.{kind}" for number in range(12) for kind in "qv"]
    factors = depth_factors(names, 5, 1.0)
    assert factors["blocks.0.attn.q"] == pytest.approx(5**-0.5)
    assert factors["blocks.11.attn.v"] == pytest.approx(5**0.5)
    assert factors["blocks.3.attn.q"] == factors["blocks.3.attn.v"]
    assert math.prod(factors.values()) == pytest.approx(1.0)


def test_with_root_and_slope_one_the_ends_are_the_mean_and_the_sum() -> None:
    merged = assemble(BRICKS, coefficients="root", slope=1.0)
    for name, share in ((NAMES[0], 1 / 3), (NAMES[-1], 1.0)):
        expected = share * sum(brick.deltas[name].dense() for brick in BRICKS)
        torch.testing.assert_close(merged.deltas[name].dense(), expected, rtol=1e-5, atol=1e-6)


def test_names_without_blocks_and_a_single_block_are_left_alone() -> None:
    assert depth_factors(["t", "head.fc"], 5, 1.0) == {"t": 1.0, "head.fc": 1.0}
    assert depth_factors(["blocks.0.attn.q"], 5, 1.0) == {"blocks.0.attn.q": 1.0}
    assert depth_factors(["myblocks.7.x", "blocks.4.x"], 4, 1.0) == {
        "myblocks.7.x": 1.0,
        "blocks.4.x": 2.0,
    }


def test_a_stem_counts_as_depth() -> None:
    factors = depth_factors(["blocks.6.x", "blocks.11.x"], 5, 1.0)
    assert factors["blocks.6.x"] == pytest.approx(5 ** (6 / 11 - 0.5))


@pytest.mark.parametrize("method", [m for m in METHODS if not METHODS[m].needs_grams])
def test_auto_takes_the_method_s_slope_and_one_task_none(method: str) -> None:
    assert assemble(BRICKS, method).recipe.slope == METHODS[method].slope
    for coefficients in ("root", "norm", 0.5):
        assert assemble(BRICKS, method, coefficients=coefficients).recipe.slope == 0.0
    level = assemble(BRICKS[:1], method, slope=0.0)
    steep = assemble(BRICKS[:1], method, slope=2.0)
    for name, delta in level.deltas.items():
        torch.testing.assert_close(steep.deltas[name].S, delta.S, rtol=0, atol=0)


def test_sites_of_one_task_are_one_task() -> None:
    sites = [make_brick("same", n, base=BASE) for n in range(2)]
    level, steep = (assemble(sites, slope=slope) for slope in (0.0, 1.5))
    for name, delta in level.deltas.items():
        torch.testing.assert_close(steep.deltas[name].S, delta.S, rtol=0, atol=0)


def test_losses_of_a_cut_are_multiplied_too() -> None:
    merged = assemble(BRICKS, rank=2, slope=1.0)
    whole = assemble(BRICKS, slope=1.0)
    lost = sum(
        float(torch.linalg.matrix_norm(whole.deltas[n].dense() - merged.deltas[n].dense())) ** 2
        for n in NAMES
    )
    remaining = sum(delta.norm() ** 2 for delta in merged.deltas.values())
    assert merged.relative_loss == pytest.approx(math.sqrt(lost / (lost + remaining)), rel=1e-3)


def test_files_give_the_same_merge(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.brick.safetensors" for n in range(3)]
    for path, brick in zip(paths, BRICKS, strict=True):
        save_brick(brick, path)
    for slope in (None, 0.0, 1.0):
        expected = assemble(BRICKS, slope=slope).deltas
        deltas = merge_files(paths, slope=slope).deltas
        for name, delta in expected.items():
            torch.testing.assert_close(deltas[name].dense(), delta.dense(), rtol=1e-4, atol=1e-5)


def test_the_slope_is_part_of_the_recipe(tmp_path: Path) -> None:
    first, second = (assemble(BRICKS, slope=slope) for slope in (0.5, 0.75))
    assert first.recipe.digest != second.recipe.digest
    first.save(tmp_path / "g")
    assert Generalist.load(tmp_path / "g").recipe.slope == 0.5


@pytest.mark.parametrize("settings", [{"merge_aware": True}, {REFIT_WITH: []}])
def test_bricks_prepared_for_merges_are_merged_level(
    settings: dict[str, object], tmp_path: Path
) -> None:
    bricks = [*BRICKS[:2], replace(BRICKS[2], settings=settings)]
    assert bricks[2].is_merge_aware
    assert not bricks[0].is_merge_aware
    assert assemble(bricks).recipe.slope == 0.0
    assert assemble(bricks, slope=0.5).recipe.slope == 0.5
    paths = [tmp_path / f"{n}.brick.safetensors" for n in range(3)]
    for path, brick in zip(paths, bricks, strict=True):
        save_brick(brick, path)
    expected = assemble(bricks, slope=0.0).deltas
    for name, delta in merge_files(paths).deltas.items():
        torch.testing.assert_close(delta.dense(), expected[name].dense(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("slope", [math.nan, math.inf, 2.1, -2.1])
def test_a_slope_out_of_range_is_refused(slope: float, tmp_path: Path) -> None:
    with pytest.raises(MergeError, match=r"slope: expected -2 to 2, got"):
        assemble(BRICKS, slope=slope)
    save_brick(BRICKS[0], tmp_path / "x.brick.safetensors")
    with pytest.raises(MergeError, match=r"slope: expected -2 to 2, got"):
        merge_files([tmp_path / "x.brick.safetensors"], slope=slope)
