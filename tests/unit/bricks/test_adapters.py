"""Folding and attaching deltas: the right rows change, the base does not, both ways agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from factories import make_base, make_brick, make_delta, make_pixels
from medlego.base import TARGET_KINDS, Base, Target, features
from medlego.bricks import LowRank, attach, fold, on_device
from medlego.bricks.adapters.surgery import Patches
from medlego.bricks.adapters.trainable import AdaptedLinear
from medlego.errors import BaseError

BASE = make_base()


def deltas_of(base: Base, kinds: tuple[str, ...]) -> tuple[tuple[Target, ...], dict[str, LowRank]]:
    brick = make_brick(base=base, targets=kinds)
    return brick.targets, dict(brick.deltas)


def pixels(count: int = 3) -> Tensor:
    return make_pixels(count, seed=1)


def as_lora(delta: LowRank) -> tuple[nn.Parameter, ...]:
    return nn.Parameter(delta.U * delta.S), nn.Parameter(delta.Vh)


def as_svd(delta: LowRank) -> tuple[nn.Parameter, ...]:
    return nn.Parameter(delta.U), nn.Parameter(delta.S), nn.Parameter(delta.Vh)


def change(kinds: tuple[str, ...], module: str) -> Tensor:
    """What folding adds to the weight of one module."""
    targets, deltas = deltas_of(BASE, kinds)
    folded = fold(BASE.module, targets, deltas)
    path = f"{module}.weight"
    return folded.get_parameter(path) - BASE.module.get_parameter(path)


@pytest.mark.parametrize(("kind", "start"), [("q", 0), ("k", 24), ("v", 48)])
def test_fold_adds_the_delta_to_its_rows_alone(kind: str, start: int) -> None:
    targets, deltas = deltas_of(BASE, (kind,))
    delta = deltas[targets[0].name]
    expected = torch.zeros(72, 24, dtype=torch.float64)
    expected[start : start + 24] = (delta.U.double() * delta.S.double()) @ delta.Vh.double()
    difference = change((kind,), targets[0].module)
    torch.testing.assert_close(difference.double(), expected, rtol=0, atol=1e-6)
    assert (difference[expected == 0] == 0).all()


@pytest.mark.parametrize("kind", ["proj", "fc1", "fc2"])
def test_fold_adds_the_delta_to_a_whole_map(kind: str) -> None:
    targets, deltas = deltas_of(BASE, (kind,))
    delta = deltas[targets[0].name]
    expected = (delta.U.double() * delta.S.double()) @ delta.Vh.double()
    difference = change((kind,), targets[0].module)
    torch.testing.assert_close(difference.double(), expected, rtol=0, atol=1e-6)


def test_fold_adds_q_k_and_v_together() -> None:
    together = change(("q", "k", "v"), "blocks.0.attn.qkv")
    targets, deltas = deltas_of(BASE, ("q", "k", "v"))
    expected = torch.cat([deltas[t.name].dense() for t in targets[:3]])
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("adapt", ["fold", "attach"])
def test_base_is_left_as_it_was(adapt: str) -> None:
    base = make_base()
    before = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    types = [type(module) for module in base.module.modules()]
    targets, deltas = deltas_of(base, TARGET_KINDS)
    if adapt == "fold":
        fold(base.module, targets, deltas)
    else:
        attach(base.module, targets, {n: as_svd(d) for n, d in deltas.items()})
    after = base.module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [type(module) for module in base.module.modules()] == types


def test_fold_shares_every_tensor_that_it_does_not_change() -> None:
    targets, deltas = deltas_of(BASE, ("q", "v"))
    folded = dict(fold(BASE.module, targets, deltas).named_parameters())
    changed = {f"{target.module}.weight" for target in targets}
    for name, tensor in BASE.module.named_parameters():
        assert (folded[name].data_ptr() != tensor.data_ptr()) == (name in changed)


def test_attach_shares_every_tensor_of_the_base() -> None:
    targets, deltas = deltas_of(BASE, TARGET_KINDS)
    attached = attach(BASE.module, targets, {n: as_svd(d) for n, d in deltas.items()})
    places = {tensor.data_ptr() for tensor in attached.parameters()}
    assert places > {tensor.data_ptr() for tensor in BASE.module.parameters()}


@pytest.mark.parametrize("factors", [as_lora, as_svd])
@pytest.mark.parametrize("kinds", [("q", "v"), TARGET_KINDS])
def test_attached_and_folded_deltas_answer_alike(
    factors: Callable[[LowRank], tuple[nn.Parameter, ...]], kinds: tuple[str, ...]
) -> None:
    targets, deltas = deltas_of(BASE, kinds)
    folded = fold(BASE.module, targets, deltas)
    attached = attach(BASE.module, targets, {n: factors(d) for n, d in deltas.items()})
    expected = features(folded, pixels())
    torch.testing.assert_close(features(attached, pixels()), expected, rtol=1e-4, atol=1e-4)
    assert (expected - features(BASE.module, pixels())).abs().max() > 1e-2


def test_only_attached_factors_are_trainable() -> None:
    targets, deltas = deltas_of(BASE, ("q",))
    factors = {n: as_svd(d) for n, d in deltas.items()}
    attached = attach(BASE.module, targets, factors)
    trainable = {id(p) for p in attached.parameters() if p.requires_grad}
    assert trainable == {id(p) for parts in factors.values() for p in parts}


def test_gradients_reach_every_attached_factor() -> None:
    targets, deltas = deltas_of(BASE, TARGET_KINDS)
    factors = {n: as_svd(d) for n, d in deltas.items()}
    features(attach(BASE.module, targets, factors), pixels()).square().sum().backward()
    for parts in factors.values():
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in parts)


def test_zero_deltas_change_nothing() -> None:
    targets, deltas = deltas_of(BASE, ("q", "v"))
    zeros = {n: replace(d, S=torch.zeros_like(d.S)) for n, d in deltas.items()}
    folded = fold(BASE.module, targets, zeros)
    torch.testing.assert_close(
        features(folded, pixels()), features(BASE.module, pixels()), rtol=0, atol=0
    )


def test_folded_base_has_the_modules_of_the_base() -> None:
    targets, deltas = deltas_of(BASE, TARGET_KINDS)
    folded = fold(BASE.module, targets, deltas)
    assert not any(isinstance(module, AdaptedLinear) for module in folded.modules())
    assert folded.state_dict().keys() == BASE.module.state_dict().keys()


def test_fold_of_nothing_is_the_base() -> None:
    folded = fold(BASE.module, (), {})
    torch.testing.assert_close(
        features(folded, pixels()), features(BASE.module, pixels()), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (Target("x", "blocks.9.attn.qkv", 0, 24, 24), r"blocks\.9\.attn\.qkv: expected a linear"),
        (Target("x", "blocks.0.norm1", 0, 24, 24), r"blocks\.0\.norm1: expected a linear map"),
        (
            Target("x", "blocks.0.attn.qkv", 49, 73, 24),
            r"x: expected rows up to 73 of 24 inputs, got 72 × 24",
        ),
        (
            Target("x", "blocks.0.attn.qkv", 0, 24, 25),
            r"x: expected rows up to 24 of 25 inputs, got 72 × 24",
        ),
    ],
    ids=["no module", "no linear map", "rows", "inputs"],
)
def test_target_that_the_base_lacks_is_refused(target: Target, says: str) -> None:
    delta = make_delta(target.shape, 1, torch.Generator().manual_seed(0))
    with pytest.raises(BaseError, match=f"^base: {says}"):
        fold(BASE.module, (target,), {"x": delta})
    with pytest.raises(BaseError, match=f"^base: {says}"):
        attach(BASE.module, (target,), {"x": as_svd(delta)})


def test_module_stays_itself_on_its_own_device() -> None:
    assert on_device(BASE.module, "cpu") is BASE.module


@pytest.mark.parametrize(("size", "stride", "padding"), [(8, 8, 0), ((4, 2), (4, 2), 0)])
def test_patches_by_a_matrix_product_are_the_convolutions(size, stride, padding) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 24, size, stride, padding)
    assert Patches.can_replace(convolution)
    patches = Patches(convolution)
    assert patches.state_dict().keys() == convolution.state_dict().keys()
    for shape in ((2, 3, 16, 16), (1, 3, 24, 19)):
        shown = torch.rand(shape)
        torch.testing.assert_close(patches(shown), convolution(shown), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("other", [{"stride": 4}, {"padding": 1}, {"dilation": 2}, {"groups": 3}])
def test_windows_that_overlap_are_left_to_the_convolution(other) -> None:
    assert not Patches.can_replace(nn.Conv2d(3, 24, 8, **{"stride": 8, **other}))
