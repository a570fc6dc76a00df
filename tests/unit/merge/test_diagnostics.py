"""Bricks side by side: every number against the dense formula, and what is said of a collision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from factories import make_base, make_brick, scaled
from medlego.bricks import LowRank
from medlego.errors import MergeError
from medlego.evaluation import plot_diagnosis
from medlego.merge import BrickPair, cosine, diagnose

BASE = make_base()
FIRST, SECOND = make_brick("first", base=BASE), make_brick("second", seed=1, base=BASE, rank=3)
TARGET = "blocks.0.attn.q"


def dense(delta: LowRank) -> np.ndarray:
    return delta.dense().double().numpy()


def only_pair(*bricks) -> BrickPair:
    (pair,) = diagnose(bricks).pairs
    return pair


def test_cosine_is_that_of_the_dense_deltas() -> None:
    a, b = (dense(brick.deltas[TARGET]) for brick in (FIRST, SECOND))
    expected = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
    assert only_pair(FIRST, SECOND).cosine[TARGET] == pytest.approx(expected, abs=1e-6)


def test_total_cosine_is_that_of_the_whole_task_vectors() -> None:
    a, b = (
        np.concatenate([dense(delta).ravel() for delta in brick.deltas.values()])
        for brick in (FIRST, SECOND)
    )
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert only_pair(FIRST, SECOND).total_cosine == pytest.approx(expected, abs=1e-6)


def test_targets_of_one_name_and_other_rows_share_nothing() -> None:
    moved = tuple(
        replace(t, start=t.start + 1, stop=t.stop + 1) if t.name == TARGET else t
        for t in FIRST.targets
    )
    product = sum(float((dense(d) ** 2).sum()) for n, d in FIRST.deltas.items() if n != TARGET)
    whole = sum(float((dense(d) ** 2).sum()) for d in FIRST.deltas.values())
    assert cosine(FIRST, replace(FIRST, targets=moved)) == pytest.approx(product / whole, abs=1e-6)


def test_sign_conflict_is_the_weighted_share_of_differing_signs() -> None:
    product = dense(FIRST.deltas[TARGET]) * dense(SECOND.deltas[TARGET])
    expected = np.abs(product[product < 0]).sum() / np.abs(product).sum()
    conflict = only_pair(FIRST, SECOND).sign_conflict[TARGET]
    assert conflict == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("side", "field"), [("U", "output_overlap"), ("Vh", "input_overlap")])
def test_overlap_is_the_mean_squared_cosine_of_principal_angles(side: str, field: str) -> None:
    a, b = (getattr(brick.deltas[TARGET], side).double().numpy() for brick in (FIRST, SECOND))
    product = a.T @ b if side == "U" else a @ b.T
    expected = (np.linalg.svd(product, compute_uv=False) ** 2).mean()
    overlap = getattr(only_pair(FIRST, SECOND), field)[TARGET]
    assert overlap == pytest.approx(expected, abs=1e-6)


def test_a_brick_and_its_larger_self_overlap_wholly_and_collide() -> None:
    pair = only_pair(FIRST, scaled(FIRST, 2.0).renamed("again"))
    assert pair.total_cosine == pytest.approx(1, abs=1e-6)
    assert pair.input_overlap[TARGET] == pytest.approx(1, abs=1e-5)
    assert pair.sign_conflict[TARGET] == pytest.approx(0, abs=1e-6)
    assert pair.collides


def test_a_collision_is_said_and_strangers_are_not_accused() -> None:
    again = scaled(FIRST, 2.0).renamed("again")
    (warning,) = diagnose([FIRST, SECOND, again]).warnings
    assert warning.startswith("first and again: task vectors have a cosine of 1.00;")


def test_only_shared_targets_are_compared() -> None:
    deep = make_brick("deep", seed=2, base=BASE, stem=1)
    pair = only_pair(FIRST, deep)
    assert list(pair.cosine) == ["blocks.1.attn.q", "blocks.1.attn.v"]


def test_a_delta_of_zero_has_no_direction_and_no_conflict() -> None:
    pair = only_pair(FIRST, scaled(SECOND, 0.0))
    assert (pair.total_cosine, pair.cosine[TARGET], pair.sign_conflict[TARGET]) == (0, 0, 0.5)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_cut_loss_is_the_dense_one(rank: int) -> None:
    lost = whole = 0.0
    for name in FIRST.deltas:
        summed = (dense(FIRST.deltas[name]) + dense(SECOND.deltas[name])) / np.sqrt(2)
        squares = np.linalg.svd(summed, compute_uv=False) ** 2
        lost, whole = lost + squares[rank:].sum(), whole + squares.sum()
    expected = np.sqrt(lost / whole)
    assert diagnose([FIRST, SECOND]).cut_losses[rank] == pytest.approx(expected, rel=1e-5)


def test_spectra_are_the_singular_values() -> None:
    spectra = diagnose([FIRST, SECOND]).spectra
    assert spectra["second"][TARGET] == tuple(SECOND.deltas[TARGET].S.tolist())


def test_bricks_of_different_bases_are_not_compared() -> None:
    with pytest.raises(MergeError, match=r"^diagnose: brick 'other': expected base tiny"):
        diagnose([FIRST, make_brick("other", base=make_base(1))])


@pytest.mark.parametrize("bricks", [[], [FIRST]])
def test_fewer_than_two_bricks_are_refused(bricks: list) -> None:
    with pytest.raises(MergeError, match=r"^diagnose: bricks: expected at least "):
        diagnose(bricks)


def test_a_diagnosis_is_json() -> None:
    document = json.loads(json.dumps(diagnose([FIRST, SECOND]).as_dict()))
    assert document["pairs"][0]["first"] == "first"
    assert document["cut_losses"].keys() == {"1", "2", "3", "4"}


def test_a_diagnosis_is_a_picture_of_the_largest_cosines(tmp_path: Path) -> None:
    deep = make_brick("deep", seed=2, base=BASE, stem=1)
    plot_diagnosis(diagnose([FIRST, SECOND, deep]), tmp_path / "x.png", most=2)
    with Pillow.open(tmp_path / "x.png") as picture:
        assert picture.size[0] > 500
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 20


def test_bricks_are_left_as_they_were() -> None:
    before = FIRST.deltas[TARGET].U.clone()
    diagnose([FIRST, SECOND])
    torch.testing.assert_close(FIRST.deltas[TARGET].U, before, rtol=0, atol=0)
