"""A generalist as a torch module says what the engine says, and does what modules do."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

from factories import make_base, make_brick, make_bricks, make_pixels, scaled
from medlego.data import KINDS
from medlego.errors import GeneralistError, ImageError, MergeError
from medlego.generalist import assemble
from medlego.prediction import Engine

BASE = make_base()
GENERALIST = assemble(make_bricks(KINDS, BASE, of_kinds=True))
PIXELS = make_pixels(5)
NAMES = tuple(KINDS)


def routed():
    return GENERALIST.module(BASE, mode="routed")


def test_images_of_another_size_are_refused():
    with pytest.raises(ImageError, match=r"pixels: expected \(N, 3, 16, 16\), got \(2, 3, 9, 16\)"):
        routed()(torch.zeros(2, 3, 9, 16))


@pytest.mark.parametrize("mode", ["merged", "routed"])
def test_its_logits_are_those_that_predict_uses(mode):
    logits = GENERALIST.module(BASE, mode=mode)(PIXELS)
    assert tuple(logits) == NAMES
    engine = Engine(GENERALIST, BASE, mode=mode)
    for answer in engine.run(PIXELS, NAMES).answers:
        reader = answer.reader
        own = logits[reader.task.name]
        assert own.shape == (5, reader.task.head_shape[1])
        probs = reader.probabilities(own.detach())
        torch.testing.assert_close(probs, answer.probs, rtol=1e-5, atol=1e-5)


def test_sites_of_one_task_answer_together_when_routed():
    sites = [make_brick("a", seed, base=BASE) for seed in (1, 2)]
    generalist = assemble([*sites, make_brick("b", 3, base=BASE)])
    own = generalist.module(BASE, tasks=["a"], mode="routed")(PIXELS)["a"].detach()
    (answer,) = Engine(generalist, BASE, mode="routed").run(PIXELS, ("a",)).answers
    probs = answer.reader.probabilities(own)
    torch.testing.assert_close(probs, answer.probs, rtol=1e-5, atol=1e-5)


def test_tasks_are_those_asked_for_and_only_their_parts_are_there():
    module: Any = GENERALIST.module(BASE, tasks=["binary", "multiclass"], mode="routed")
    assert set(module(PIXELS)) == {"binary", "multiclass"}
    assert len(module.backbones) == 2
    assert [task.name for task in module.tasks] == ["multiclass", "binary"]


@pytest.mark.parametrize("tasks", [["chest"], "binary", []])
def test_other_tasks_are_refused(tasks):
    with pytest.raises(GeneralistError, match="task"):
        GENERALIST.module(BASE, tasks=tasks)


def test_another_base_or_mode_is_refused():
    with pytest.raises(GeneralistError, match="base: expected"):
        GENERALIST.module(make_base(1))
    with pytest.raises(MergeError, match="mode: expected one of"):
        GENERALIST.module(BASE, mode="best")


@pytest.mark.parametrize("mode", ["merged", "routed"])
def test_it_compiles_without_a_break(mode):
    module = GENERALIST.module(BASE, mode=mode)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(PIXELS), module(PIXELS), rtol=1e-5, atol=1e-5)
    torch._dynamo.reset()


def test_a_copy_is_its_own():
    module = routed()
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert module(PIXELS)["binary"].abs().sum() > 0
    assert twin(PIXELS)["binary"].abs().sum() == 0


def test_its_state_goes_through_a_file():
    stream = io.BytesIO()
    torch.save(routed().state_dict(), stream)
    stream.seek(0)
    bricks = [scaled(brick, 0.1) for brick in GENERALIST.bricks]
    other = assemble(bricks).module(BASE, mode="routed")
    other.load_state_dict(torch.load(stream, weights_only=True))
    torch.testing.assert_close(other(PIXELS), routed()(PIXELS), rtol=0, atol=0)


def test_gradients_reach_pixels_and_every_parameter():
    module, pixels = routed(), PIXELS.clone().requires_grad_()
    sum(logits.square().sum() for logits in module(pixels).values()).backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def test_training_it_changes_neither_base_nor_generalist():
    before = {name: tensor.clone() for name, tensor in BASE.module.state_dict().items()}
    heads = [brick.head.weight.clone() for brick in GENERALIST.bricks]
    module = GENERALIST.module(BASE, mode="merged")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert all(torch.equal(BASE.module.state_dict()[n], t) for n, t in before.items())
    assert all(torch.equal(b.head.weight, w) for b, w in zip(GENERALIST.bricks, heads, strict=True))
    assert not any(parameter.requires_grad for parameter in BASE.module.parameters())
