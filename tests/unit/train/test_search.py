"""Coefficients searched on validation images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from factories import make_base, make_brick, make_dataset
from medlego.bricks import Brick, LowRank
from medlego.data import ArrayImages
from medlego.errors import DatasetError, GeneralistError
from medlego.merge import SEARCHED
from medlego.train import TrainSettings, search_coefficients, train_brick

BASE = make_base()
DATA = make_dataset(images=24)


@pytest.fixture(scope="module")
def pair() -> list[Brick]:
    """A brick that knows the data, and one that disturbs it the more, the stronger it is."""
    settings = TrainSettings(epochs=8, batch_size=6, rank=2, learning_rate=0.02, head_rate=0.05)
    knowing = train_brick(BASE, DATA, settings, device="cpu")
    other = make_brick("other", seed=5, base=BASE)
    loud = {n: LowRank(d.U, 50 * d.S, d.Vh) for n, d in other.deltas.items()}
    return [knowing, replace(other, deltas=loud)]


def test_the_best_value_on_val_is_taken_and_recorded(pair: list[Brick]) -> None:
    name = pair[0].task.name
    search = search_coefficients(pair, {name: DATA}, values=(0.0, 0.3, 1.0), base=BASE)
    assert set(search.scores) == {0.0, 0.3, 1.0}
    best = max(scores[name] for scores in search.scores.values())
    assert search.scores[search.value][name] == best
    recipe = search.generalist.recipe
    assert recipe.coefficients == SEARCHED
    assert [item.coefficient for item in recipe.bricks] == [search.value] * 2
    assert search.generalist.lineage[-1].recipe == recipe.digest


def test_scores_are_shares_of_the_specialists(pair: list[Brick]) -> None:
    name = pair[0].task.name
    search = search_coefficients(pair[:1], {name: DATA}, values=(1.0,), base=BASE)
    assert search.scores[1.0][name] == pytest.approx(1.0)


def test_only_val_is_read(pair: list[Brick]) -> None:
    class Forbidden(ArrayImages):
        def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
            raise AssertionError("read an image outside val")

    closed = Forbidden(np.zeros((len(DATA.test), 16, 16), dtype=np.uint8))
    data = replace(
        DATA,
        test=replace(DATA.test, images=closed),
        train=replace(DATA.train, images=closed),
    )
    search = search_coefficients(pair, {pair[0].task.name: data}, values=(0.5,), base=BASE)
    assert search.value == 0.5


def test_a_searched_generalist_comes_back_from_disk(pair: list[Brick], tmp_path) -> None:
    search = search_coefficients(pair, {pair[0].task.name: DATA}, values=(0.5,), base=BASE)
    search.generalist.save(tmp_path / "g")
    loaded = type(search.generalist).load(tmp_path / "g")
    assert loaded.recipe == search.generalist.recipe
    for name, delta in loaded.deltas.items():
        assert torch.equal(delta.S, search.generalist.deltas[name].S)


def test_no_data_is_refused(pair: list[Brick]) -> None:
    with pytest.raises(DatasetError, match="expected data for at least one task"):
        search_coefficients(pair, {}, base=BASE)


def test_data_for_an_unknown_task_is_refused(pair: list[Brick]) -> None:
    with pytest.raises(GeneralistError, match="task: expected one of"):
        search_coefficients(pair, {"strange": DATA}, base=BASE)
