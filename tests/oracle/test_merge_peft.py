"""Merges against PEFT's own on the same LoRA factors, of separate Linear layers, no rsLoRA."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from medlego.bricks import LowRank
from medlego.merge import METHODS
from medlego.support import one_thread

LAYERS = {"query": (24, 16), "value": (24, 16), "project": (16, 40)}
"""Output and input features of each layer."""
ADAPTERS = {"chest": (4, 8), "skin": (2, 1), "blood": (3, 16)}
"""Rank and alpha of each adapter."""
COEFFICIENTS = {"chest": 0.6, "skin": 1.7, "blood": 0.25}
LACKING = ("skin", "value")
"""An adapter and the layer that it leaves alone."""
TOTAL_RANK = sum(rank for rank, _ in ADAPTERS.values())

TaskVectors = dict[str, dict[str, LowRank]]


class Layers(nn.Module):
    """A model that PEFT can adapt."""

    def __init__(self) -> None:
        super().__init__()
        for name, (out, inside) in LAYERS.items():
            setattr(self, name, nn.Linear(inside, out, bias=False))


def config(adapter: str) -> LoraConfig:
    rank, alpha = ADAPTERS[adapter]
    layers = [name for name in LAYERS if (adapter, name) != LACKING]
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, use_rslora=False)


@pytest.fixture
def peer() -> PeftModel:
    """PEFT's model with all adapters, their factors drawn at random."""
    first, *others = ADAPTERS
    model = get_peft_model(Layers(), config(first), adapter_name=first)
    for adapter in others:
        model.add_adapter(adapter, config(adapter))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def layer(model: PeftModel, name: str) -> Any:
    return model.get_submodule(f"base_model.model.{name}")


def task_vectors(model: PeftModel) -> TaskVectors:
    """Each adapter's deltas, read from its factors; alpha / rank is folded in here."""
    return {
        adapter: {
            name: LowRank.from_factors(
                layer(model, name).lora_B[adapter].weight.detach(),
                layer(model, name).lora_A[adapter].weight.detach(),
                alpha / rank,
            )
            for name in LAYERS
            if (adapter, name) != LACKING
        }
        for adapter, (rank, alpha) in ADAPTERS.items()
    }


def peers_merge(model: PeftModel, kind: str, rank: int | None = None) -> dict[str, Tensor]:
    model.add_weighted_adapter(
        list(COEFFICIENTS),
        list(COEFFICIENTS.values()),
        "merged",
        combination_type=kind,
        svd_rank=rank,
    )
    return {name: layer(model, name).get_delta_weight("merged").detach() for name in LAYERS}


def our_merge(model: PeftModel, method: str, rank: int | None) -> dict[str, Tensor]:
    vectors = task_vectors(model)
    with one_thread():
        merged = METHODS[method].merge(
            [vectors[adapter] for adapter in COEFFICIENTS], list(COEFFICIENTS.values()), rank
        )
    return {name: delta.dense() for name, delta in merged.deltas.items()}


def assert_near(actual: Tensor, expected: Tensor, rtol: float) -> None:
    difference = torch.linalg.matrix_norm(actual - expected)
    torch.testing.assert_close(
        difference, torch.zeros(()), rtol=0, atol=rtol * float(torch.linalg.matrix_norm(expected))
    )


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_from_factors_is_pefts_delta(peer: PeftModel, adapter: str) -> None:
    for name, delta in task_vectors(peer)[adapter].items():
        expected = layer(peer, name).get_delta_weight(adapter).detach()
        assert_near(delta.dense(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_linear_is_pefts_cat(peer: PeftModel, name: str) -> None:
    assert_near(our_merge(peer, "linear", None)[name], peers_merge(peer, "cat")[name], rtol=2e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_linear_is_pefts_svd_at_full_rank(peer: PeftModel, name: str) -> None:
    expected = peers_merge(peer, "svd", TOTAL_RANK)[name]
    assert_near(our_merge(peer, "linear", None)[name], expected, rtol=5e-6)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("rank", [1, 4])
def test_lego_is_pefts_svd_at_the_same_rank(peer: PeftModel, name: str, rank: int) -> None:
    expected = peers_merge(peer, "svd", rank)[name]
    assert_near(our_merge(peer, "lego", rank)[name], expected, rtol=2e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_lego_by_default_is_pefts_svd_by_default(peer: PeftModel, name: str) -> None:
    expected = peers_merge(peer, "svd")[name]
    assert_near(our_merge(peer, "lego", None)[name], expected, rtol=2e-5)
