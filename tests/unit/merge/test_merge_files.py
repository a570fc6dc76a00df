"""Merging files: what `assemble` would make of them, without holding them."""

from __future__ import annotations

import weakref
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from factories import make_base, make_brick
from medlego import assemble, merge_files, save_brick
from medlego.bricks import Brick
from medlego.errors import MergeError

MODULE = import_module("medlego.merge.merge_files")


def write(folder: Path, bricks: list[Brick]) -> list[Path]:
    paths = [folder / f"{number}.brick.safetensors" for number in range(len(bricks))]
    for brick, path in zip(bricks, paths, strict=True):
        save_brick(brick, path)
    return paths


def some(count: int = 3) -> list[Brick]:
    return [make_brick(f"task-{n}", seed=n, rank=1 + n % 3, stem=n % 2) for n in range(count)]


@pytest.mark.parametrize("coefficients", ["auto", 0.3])
@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("count", [1, 3, 30])
def test_files_merge_as_assemble_merges_bricks(tmp_path, count, rank, coefficients):
    bricks = some(count)
    merged = merge_files(write(tmp_path, bricks), coefficients, rank)
    expected = assemble(bricks, coefficients=coefficients, rank=rank)
    assert merged.deltas.keys() == expected.deltas.keys()
    assert merged.relative_loss == pytest.approx(expected.relative_loss, rel=1e-4)
    for name, delta in expected.deltas.items():
        torch.testing.assert_close(merged.deltas[name].dense(), delta.dense(), rtol=0, atol=1e-5)


def test_each_file_takes_its_own_coefficient(tmp_path):
    bricks = some()
    merged = merge_files(write(tmp_path, bricks), [1.0, -2.0, 0.0])
    expected = assemble(bricks, coefficients=[1.0, -2.0, 0.0])
    for name, delta in expected.deltas.items():
        torch.testing.assert_close(merged.deltas[name].dense(), delta.dense(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("slope", [None, 1.0])
def test_a_file_of_coefficient_zero_is_not_there(tmp_path, slope):
    paths = write(tmp_path, [*some(2), make_brick("deep", targets=("k",))])
    merged = merge_files(paths, [0.5, 2.0, 0.0], slope=slope)
    expected = merge_files(paths[:2], [0.5, 2.0], slope=slope)
    assert merged.deltas.keys() == expected.deltas.keys()
    for name, delta in expected.deltas.items():
        torch.testing.assert_close(merged.deltas[name].dense(), delta.dense(), rtol=0, atol=0)


def test_bricks_of_one_task_merge(tmp_path):
    paths = write(tmp_path, [make_brick("same", seed=seed) for seed in range(2)])
    assert merge_files(paths).deltas


def test_one_brick_lives_at_a_time(tmp_path, monkeypatch):
    paths, load = write(tmp_path, some(8)), MODULE.load_brick
    alive: list[weakref.ref[Brick]] = []
    counts: list[int] = []

    def watched(path):
        counts.append(sum(brick() is not None for brick in alive))
        brick = load(path)
        alive.append(weakref.ref(brick))
        return brick

    monkeypatch.setattr(MODULE, "load_brick", watched)
    merge_files(paths)
    assert counts == [0] * 8


def test_progress_counts_files_and_then_targets(tmp_path):
    progress = []
    merge_files(write(tmp_path, some()), show=lambda *now: progress.append(now))
    targets = len({t.name for brick in some() for t in brick.targets})
    assert progress == [
        *(("reading bricks", number, 3) for number in range(3)),
        *(("decomposing", number, targets) for number in range(targets)),
    ]


def test_the_callers_thread_count_stays(tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        merge_files(write(tmp_path, some()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_all_problems_of_the_files_come_in_one_message(tmp_path):
    first = some(1)[0]
    paths = write(tmp_path, [first, make_brick("other", base=make_base(seed=9)), first])
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    with pytest.raises(MergeError) as caught:
        merge_files([*paths, paths[0], tmp_path / "none"])
    text = str(caught.value)
    assert "merge: 4 problems" in text
    assert f"{paths[1]}: brick 'other': expected base tiny" in text
    assert f"{paths[2]}: " in text
    assert f"{paths[0]}: expected each brick once, got {paths[0]}'s; name it once" in text
    assert f"{tmp_path / 'none'}: expected a brick file" in text


def test_rows_that_differ_from_an_earlier_brick_are_refused(tmp_path):
    a, b, c = some(3)
    (target, *_) = (t for t in a.targets if t not in b.targets)
    moved = replace(target, start=target.start + 1, stop=target.stop + 1)
    c = replace(c, targets=(moved,), deltas={target.name: a.deltas[target.name]})
    with pytest.raises(MergeError, match="expected the same rows for targets of one name"):
        merge_files(write(tmp_path, [b, a, c]))


@pytest.mark.parametrize(
    ("coefficients", "rank", "rule"),
    [
        ([1.0], None, "coefficients: expected one per brick"),
        (float("nan"), None, "coefficients: expected finite numbers"),
        ("auto", 0, "rank: expected at least 1, got 0"),
        (1e39, None, "coefficients: expected a sum that float32 holds"),
    ],
)
def test_coefficients_and_rank_must_fit(tmp_path, coefficients, rank, rule):
    with pytest.raises(MergeError, match=rule):
        merge_files(write(tmp_path, some(2)), coefficients, rank)


def test_no_files_are_refused():
    with pytest.raises(MergeError, match="expected at least one brick file, got none"):
        merge_files([])
