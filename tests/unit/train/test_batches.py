"""Training with kept tokens: the views are few and the same, and all else is as with images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from factories import make_base, make_brick, make_dataset, scaled
from medlego.base import Base, embed, through
from medlego.bricks import Brick, attach
from medlego.errors import BrickError, TrainingError
from medlego.generalist import assemble
from medlego.support import silent
from medlego.train import TrainSettings, train_brick
from medlego.train.adapt import foundation
from medlego.train.batches import EVALUATION_BATCH, ImageBatches, TokenBatches
from medlego.train.factors import SvdFactors

BASE = make_base(depth=3)
DATA = make_dataset(images=60)
SETTINGS = TrainSettings(epochs=3, batch_size=5, rank=2, stem=1, views=2)
EVERY = torch.arange(len(DATA.train))


def images(settings: TrainSettings) -> ImageBatches:
    return ImageBatches(BASE, DATA, settings, "cpu")


def tokens(**change: Any) -> TokenBatches:
    settings = SETTINGS.model_copy(update=change)
    return TokenBatches(images(settings), BASE.module, settings, silent)


def view(batches: TokenBatches, epoch: int) -> Tensor:
    return batches.train(EVERY, epoch, torch.Generator()).float()


def train(base: Base = BASE, **change: Any) -> Brick:
    return train_brick(base, DATA, SETTINGS.model_copy(update=change), device="cpu")


@pytest.mark.parametrize("stem", [0, 1, 2])
def test_features_from_kept_tokens_are_those_of_the_images(stem: int) -> None:
    settings = SETTINGS.model_copy(update={"stem": stem, "augment": False})
    plain, kept = images(settings), tokens(stem=stem, augment=False)
    factors = SvdFactors(BASE.targets(stem=stem), settings, "cpu").by_target
    for _, S, _ in factors.values():
        torch.nn.init.constant_(S, 1.0)
    model = attach(BASE.module, BASE.targets(stem=stem), factors)
    pairs = [(part.train(EVERY, 0, torch.Generator()), next(part.val())) for part in (plain, kept)]
    for image, token in zip(*pairs, strict=True):
        expected = plain.features(model, image)
        torch.testing.assert_close(kept.features(model, token), expected, rtol=0, atol=1e-2)
        assert not torch.equal(plain.features(BASE.module, image), expected)


def test_an_images_views_take_turns_each_from_one_of_its_own_on() -> None:
    batches = tokens(views=3)
    epochs = [view(batches, epoch) for epoch in range(5)]
    assert torch.equal(epochs[0], epochs[3])
    assert torch.equal(epochs[1], epochs[4])
    moved = [(epochs[a] != epochs[b]).flatten(1).any(1) for a, b in ((0, 1), (1, 2), (2, 0))]
    assert all(bool(each.all()) for each in moved)
    assert set(batches._first.tolist()) == {0, 1, 2}
    assert torch.equal(epochs[0], batches._train[batches._first, EVERY].float())


def test_views_are_the_same_whatever_the_stem() -> None:
    deeper = view(tokens(stem=2), 1)
    with torch.no_grad():
        expected = through(BASE.module, view(tokens(stem=0), 1), 0, 2)
    torch.testing.assert_close(deeper, expected, rtol=0, atol=2e-2)


def test_without_augmentation_one_view_is_kept() -> None:
    batches = tokens(views=4, augment=False)
    assert len(batches._train) == 1
    assert torch.equal(view(batches, 0), view(batches, 1))


def test_validation_images_are_kept_as_they_are() -> None:
    kept, plain = tokens(stem=0), images(SETTINGS)
    expected = embed(BASE.module, BASE.normalise(next(plain.val()))).half()
    assert torch.equal(next(kept.val()), expected)
    assert len(DATA.val) <= EVALUATION_BATCH


def test_same_seed_gives_the_same_brick_from_kept_tokens() -> None:
    assert train().digest == train().digest


def test_kept_views_are_recorded_and_fresh_ones_are_not() -> None:
    assert train().settings["views"] == 2
    assert "views" not in train(views=0).settings


@pytest.mark.parametrize("change", [{"merge_aware": True}, {"gram": 2}, {"head_first": True}])
def test_other_ways_of_training_work_with_kept_tokens(change: dict[str, Any]) -> None:
    brick = train(**change)
    assert brick.settings["views"] == 2
    assert min(target.block for target in brick.targets) == 1


def test_progress_says_what_the_tokens_take() -> None:
    told: list[str] = []
    train_brick(
        BASE, DATA, SETTINGS, device="cpu", show=lambda what, _done, _total: told.append(what)
    )
    count, each = 2 * len(DATA.train) + len(DATA.val), 5 * 24 * 2
    assert f"keeping tokens of 2 views, {count * each / 1e9:.3g} GB" in told


def test_tokens_beyond_float16_are_refused() -> None:
    tensors = {name: value.clone() for name, value in BASE.module.state_dict().items()}
    tensors["pos_embed"] += 1e6
    module = type(BASE.module)(
        img_size=16, patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=0
    )
    module.load_state_dict(tensors)
    with pytest.raises(TrainingError, match="finite float16 numbers, got infinity or NaN; set vie"):
        train(Base.of("loud", module, {}))


@pytest.mark.parametrize("start", ["merged", "directions", "coefficients"])
@pytest.mark.parametrize("stem", [0, 1])
def test_a_foundation_that_changes_the_stem_is_refused(start: Any, stem: int) -> None:
    others = assemble([scaled(make_brick("a", 1, 2, base=BASE), 0.3)])
    settings = SETTINGS.model_copy(update={"stem": stem})
    founded = foundation(others, start)

    def adapted() -> Brick:
        return train_brick(BASE, DATA, settings, device="cpu", foundation=founded)

    if stem and start != "directions":
        with pytest.raises(BrickError, match="no deltas in the 1 blocks of the stem, whose tokens"):
            adapted()
    else:
        assert adapted().settings["views"] == 2
