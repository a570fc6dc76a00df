"""A head refitted for a merge: what it is fitted to, what stays, what the brick says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from factories import make_base, make_brick, make_bricks, make_dataset, shut_test
from medlego.base import Inputs
from medlego.bricks import Brick, brick_bytes, brick_from_bytes
from medlego.data import KINDS
from medlego.errors import DatasetError, MergeError, SettingsError
from medlego.evaluation import evaluate
from medlego.generalist import assemble, specialist
from medlego.prediction import Backbone, features_of
from medlego.train import refit_for_merge, refit_notes
from medlego.train.head_fit import choose_head
from medlego.train.refit import _choices

BASE, NAMES = make_base(), tuple(KINDS)
BRICKS = make_bricks(KINDS, BASE, of_kinds=True)


def refitted(index: int = 0, **more: object) -> Brick:
    kind = NAMES[index]
    data = make_dataset(kind, kind=kind, images=40)
    return refit_for_merge(BRICKS[index], data, BRICKS, base=BASE, **more)  # type: ignore[arg-type]


def test_only_the_head_changes() -> None:
    after = refitted()
    assert after.deltas is BRICKS[0].deltas
    assert after.deltas_digest == BRICKS[0].deltas_digest
    assert after.digest != BRICKS[0].digest
    assert not torch.equal(after.head.weight, BRICKS[0].head.weight)
    assert after.card.images == BRICKS[0].card.images


@pytest.mark.parametrize("index", range(len(KINDS)))
def test_a_refitted_brick_does_better_alone_and_in_the_merge(index: int) -> None:
    kind = NAMES[index]
    data = make_dataset(kind, kind=kind, images=40)
    after = refitted(index)
    assert brick_from_bytes(brick_bytes(after), "x").digest == after.digest
    merged = [after if i == index else brick for i, brick in enumerate(BRICKS)]
    for bricks, before in ((merged, BRICKS), ([after], [BRICKS[index]])):
        scores = [
            evaluate(assemble(b), {kind: data}, base=BASE, split="val").means["generalist"]["auroc"]
            for b in (bricks, before)
        ]
        assert scores[0].value > 0.9 > scores[1].value


def test_the_head_is_fitted_to_every_merge_together() -> None:
    data = make_dataset("multiclass", images=40)
    after = refitted(subsets=2, seed=3)
    merges = [specialist(BRICKS[0]), assemble(BRICKS, slope=0.0)]
    merges += [assemble([BRICKS[0], *c], slope=0.0) for c in _choices(BRICKS[1:], 2, 3)]
    train, val = Inputs(data.train.images, BASE), Inputs(data.val.images, BASE)
    models = [Backbone.of(merged, BASE).features for merged in merges]
    expected = choose_head(
        BRICKS[0].task,
        (torch.cat([features_of(read, train) for read in models]), np.tile(data.train.labels, 4)),
        [(features_of(read, val), data.val.labels) for read in models],
    )
    torch.testing.assert_close(after.head.weight, expected.head.weight, rtol=0, atol=0)
    assert after.settings["refit_strength"] == expected.strength
    assert after.card.scores["auroc"] == expected.scores[0]["auroc"]
    assert after.card.scores["auroc_in_merge"] == expected.scores[1]["auroc"]


def test_choices_grow_and_are_never_all() -> None:
    others = BRICKS[1:]
    sizes = [len(chosen) for chosen in _choices(others, 5, 0)]
    assert sizes == [1, 2, 1, 2, 1]
    assert _choices(others[:1], 5, 0) == []
    names = [[b.task.name for b in chosen] for chosen in _choices(others, 5, 0)]
    assert names == [[b.task.name for b in chosen] for chosen in _choices(others, 5, 0)]
    assert names != [[b.task.name for b in chosen] for chosen in _choices(others, 5, 1)]


def test_the_same_call_gives_the_same_brick() -> None:
    assert refitted().digest == refitted().digest
    assert refitted(seed=1).settings["refit_seed"] == 1


def test_the_brick_names_the_others() -> None:
    after = refitted()
    assert after.settings["refit_company"] == sorted(b.deltas_digest for b in BRICKS[1:])
    assert after.settings["refit_images"] == len(make_dataset("multiclass", images=40).train)
    for name, value in BRICKS[0].settings.items():
        assert after.settings[name] == value


def test_bricks_that_a_head_was_refitted_without_are_named() -> None:
    after = refitted()
    assert refit_notes([after, *BRICKS[1:]]) == ()
    assert refit_notes(BRICKS) == ()
    newcomer = make_brick("chest", seed=9, base=BASE)
    (note,) = refit_notes([after, BRICKS[1], newcomer])
    assert note.startswith("the head of multiclass was refitted without chest; ")


def test_another_brick_with_a_new_head_is_known() -> None:
    assert refit_notes([refitted(0), refitted(1), *BRICKS[2:]]) == ()


def test_the_test_split_stays_unread() -> None:
    shut = shut_test(make_dataset("binary", kind="binary"))
    assert refit_for_merge(BRICKS[1], shut, BRICKS, base=BASE).task.name == "binary"


def test_others_and_subsets_out_of_range_are_refused() -> None:
    data = make_dataset("multiclass")
    with pytest.raises(SettingsError, match="others: expected bricks besides the one to refit"):
        refit_for_merge(BRICKS[0], data, BRICKS[:1], base=BASE)
    for subsets in (-1, 101):
        with pytest.raises(SettingsError, match=f"subsets: expected 0 to 100, got {subsets}"):
            refitted(subsets=subsets)


def test_others_on_another_base_is_refused() -> None:
    other = make_brick("chest", seed=9, base=make_base(seed=5))
    with pytest.raises(MergeError, match="base"):
        refit_for_merge(BRICKS[0], make_dataset("multiclass"), [other], base=BASE)


def test_labels_that_the_task_lacks_are_refused() -> None:
    data = make_dataset("binary", kind="binary")
    other = replace(data, task=data.task.model_copy(update={"labels": ("cat", "dog")}))
    with pytest.raises(DatasetError, match="got also cat, dog"):
        refit_for_merge(BRICKS[1], other, BRICKS, base=BASE)
