"""What holds for every base family; the toy one enters the table and nothing else knows of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from factories import (
    TIMM_NAME,
    make_brick,
    make_dataset,
    make_pixels,
    random_like,
    save_weights,
    with_measured_profile,
)
from medlego.base import TARGET_KINDS, Base, by_module, embed, features, module_rows, through
from medlego.base.families import FAMILIES, family_of
from medlego.bricks import Adapter, Mixed, attach, fold
from medlego.bricks.adapters.surgery import replace_patch_convolution
from medlego.errors import BaseError
from medlego.exchange import export_peft, import_peft
from medlego.generalist import assemble, specialist
from medlego.prediction import explain, predict
from medlego.train import TrainSettings, train_brick
from toyfamily import NAME, ToyFamily, ToyTransformer

SIZE = 48
CLOSE: Any = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table with one line more, and timm's registry with one architecture."""
    create, known = timm.create_model, timm.is_model

    def create_model(name: str, **options: Any) -> nn.Module:
        model: nn.Module = ToyTransformer() if name == NAME else create(name, **options)
        return model

    monkeypatch.setitem(FAMILIES, NAME, ToyFamily())
    monkeypatch.setattr(timm, "is_model", lambda name: name == NAME or known(name))
    monkeypatch.setattr(timm, "create_model", create_model)


@pytest.fixture(params=[TIMM_NAME, NAME])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Base:
    request.getfixturevalue("toy")
    path = tmp_path / "weights.safetensors"
    if request.param == NAME:
        save_file(random_like(ToyTransformer().state_dict(), 0), path)
    else:
        save_weights(path)
    return Base.load(request.param, weights=path, image_size=SIZE)


def inputs(count: int = 3) -> Tensor:
    return make_pixels(count, size=SIZE, seed=1)


def test_targets_have_the_same_names_in_every_family(base: Base) -> None:
    names = [target.name for target in base.targets(TARGET_KINDS) if target.block == 1]
    parts = ("attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert names == [f"blocks.1.{part}" for part in parts]


def test_targets_cover_their_maps_once(base: Base) -> None:
    for path, targets in by_module(base.targets(TARGET_KINDS)).items():
        linear = base.module.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        rows = [row for target in targets for row in range(target.start, target.stop)]
        assert rows == list(range(linear.out_features))
        assert {module_rows(target) for target in targets} == {linear.out_features}
        assert {target.in_features for target in targets} == {linear.in_features}


def test_tokens_are_the_prefix_and_the_patches(base: Base) -> None:
    sizes = family_of(base.module).dimensions(base.module)
    assert sizes.image_size == base.ref.image_size == SIZE
    tokens = embed(base.module, inputs())
    assert tokens.shape[:2] == (3, sizes.prefix + (SIZE // sizes.patch_size) ** 2)
    assert features(base.module, inputs()).shape == (3, base.ref.features)


def test_a_walk_may_pause_at_any_block(base: Base) -> None:
    tokens = embed(base.module, inputs())
    paused = through(base.module, through(base.module, tokens, 0, 1), 1)
    assert torch.equal(paused, through(base.module, tokens, 0))


def test_fingerprint_and_cache_hold_the_tensors_before_resampling(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLEGO_CACHE", str(tmp_path / "cache"))
    native = Base.load(base.ref.name, weights=base.keep())
    assert native.ref.fingerprint == base.ref.fingerprint
    assert native.ref.image_size != SIZE
    loaded = Base.find(base.ref)
    assert loaded.ref == base.ref
    assert torch.equal(features(loaded.module, inputs()), features(base.module, inputs()))


def test_folded_attached_and_mixed_deltas_answer_alike(base: Base) -> None:
    bricks = [make_brick(n, i, base=base, targets=TARGET_KINDS) for i, n in enumerate("ab")]
    before = copy.deepcopy(base.module.state_dict())
    mixed = Mixed(base.module, [Adapter(b.targets, b.deltas) for b in bricks], "cpu")
    numbers = torch.tensor([1, 0, 1])
    answers = mixed.features(embed(base.module, inputs()), numbers, 0)
    for number, brick in enumerate(bricks):
        folded = features(fold(base.module, brick.targets, brick.deltas), inputs())
        factors = {
            name: (nn.Parameter(d.U), nn.Parameter(d.S), nn.Parameter(d.Vh))
            for name, d in brick.deltas.items()
        }
        attached = features(attach(base.module, brick.targets, factors), inputs())
        torch.testing.assert_close(attached, folded, **CLOSE)
        own = numbers == number
        torch.testing.assert_close(answers[own], folded[own], **CLOSE)
        assert (folded - features(base.module, inputs())).abs().max() > 1e-2
    assert all(torch.equal(before[n], t) for n, t in base.module.state_dict().items())


def test_patches_by_a_matrix_product_are_the_convolutions(base: Base) -> None:
    other = copy.deepcopy(base.module)
    replace_patch_convolution(other)
    assert not isinstance(other.get_submodule(family_of(other).patch_convolution), nn.Conv2d)
    torch.testing.assert_close(embed(other, inputs()), embed(base.module, inputs()), **CLOSE)


def test_images_are_routed_to_their_brick_and_answered_as_by_it_alone(base: Base) -> None:
    data = [make_dataset(name, seed, images=20, size=SIZE) for seed, name in enumerate("ab")]
    bricks = [
        with_measured_profile(make_brick(d.task.name, i, base=base), base, d)
        for i, d in enumerate(data)
    ]
    generalist = assemble(bricks, mode="routed")
    images = [data[0].test.images[n] for n in range(4)]
    assert all(prediction.answers for prediction in predict(generalist, images, base=base))
    together = predict(generalist, images, base=base, task="a")
    alone = predict(specialist(bricks[0]), images, base=base, task="a")
    for prediction, expected in zip(together, alone, strict=True):
        assert prediction.answers[0].probs == pytest.approx(expected.answers[0].probs, abs=1e-4)


def test_training_changes_what_the_brick_answers(base: Base) -> None:
    data = make_dataset(images=60, size=SIZE)
    settings = TrainSettings(epochs=1, gram=2, merge_aware=True, targets=("q", "v", "fc1"))
    brick = train_brick(base, data, settings, device="cpu")
    assert brick.targets == base.targets(("q", "v", "fc1"))
    assert brick.grams.keys() == {target.module for target in brick.targets}
    assert all(delta.norm() > 0 for delta in brick.deltas.values())


@pytest.mark.parametrize("method", ["gradient", "rollout"])
def test_maps_have_a_number_for_each_patch(base: Base, method: str) -> None:
    images = make_dataset(size=SIZE).test.images
    brick = make_brick(base=base)
    (saliency,) = explain(specialist(brick), [images[0]], "task", method=method, base=base)
    side = SIZE // family_of(base.module).dimensions(base.module).patch_size
    assert saliency.patches.shape == (side, side)
    assert torch.isfinite(saliency.patches).all()
    assert saliency.patches.std() > 0
    assert method == "gradient" or ((saliency.patches >= 0).all() and saliency.patches.sum() <= 1)


def test_a_peft_adapter_comes_back_as_the_brick_that_it_was(base: Base, tmp_path: Path) -> None:
    brick = make_brick(base=base, targets=("q", "v", "proj", "fc1"))
    export_peft(brick, tmp_path / "adapter")
    back = import_peft(tmp_path / "adapter", base, brick.task)
    assert back.targets == brick.targets
    for name, delta in brick.deltas.items():
        torch.testing.assert_close(back.deltas[name].dense(), delta.dense(), **CLOSE)


@pytest.mark.usefixtures("toy")
def test_a_module_of_no_family_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(BaseError, match=r"vision transformer .*, or a toy transformer, got Linear"):
        Base.of("other", nn.Linear(2, 2))
