"""Saliency: maps are what their formulas say, lie on their image's pixels, and need a model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from factories import make_base, make_brick, make_delta, make_images, with_profile
from medlego.base import Base, through
from medlego.bricks import Adapter
from medlego.data import KINDS, ArrayImages, Dataset, Samples, Task
from medlego.errors import GeneralistError
from medlego.generalist import assemble, specialist
from medlego.images import Image, fit, from_array, letterbox
from medlego.prediction import Saliency, explain
from medlego.prediction.saliency.explain import BATCH, METHODS, embedded
from medlego.prediction.saliency.gradient import integrated_gradients, late
from medlego.prediction.saliency.randomised import STAGES, agreement, randomised
from medlego.prediction.saliency.rollout import attention_rollout
from medlego.prediction.saliency.scene import Scene, answering
from medlego.train import TrainSettings, train_brick

pictures = partial(make_images, shape=(32, 32))


def scene_of(kind="multiclass", depth=3, seed=0):
    base = make_base(image_size=32, depth=depth)
    brick = make_brick(kind=kind, seed=seed, base=base)
    return Scene.of(base, *answering(specialist(brick), "task", base, None), "cpu")


def rollout_by_numpy(scene, tokens):
    """Abnar and Zuidema's formula from the weights, in float64."""
    along = np.eye(tokens.shape[1])[None]
    for block in scene.module.blocks:
        with torch.no_grad():
            q, k, _ = block.attn.qkv(block.norm1(tokens)).chunk(3, dim=-1)
        heads = block.attn.num_heads
        q, k = (part.double().unflatten(-1, (heads, -1)).transpose(1, 2).numpy() for part in (q, k))
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
        soft = np.exp(scores - scores.max(-1, keepdims=True))
        soft /= soft.sum(-1, keepdims=True)
        along = (0.5 * soft.mean(1) + 0.5 * np.eye(tokens.shape[1])) @ along
        with torch.no_grad():
            tokens = block(tokens)
    return along[:, 0, 1:]


def test_rollout_is_the_papers_formula():
    scene = scene_of()
    tokens = embedded(scene, pictures(3))
    rollout = attention_rollout(scene, tokens, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(
        rollout.double(), torch.from_numpy(rollout_by_numpy(scene, tokens)), rtol=1e-4, atol=1e-6
    )


def test_rollout_leaves_no_hook_and_fused_attention_as_it_was():
    scene = scene_of()
    before = [block.attn.fused_attn for block in scene.module.blocks]
    attention_rollout(scene, embedded(scene, pictures(1)), torch.tensor([0]))
    assert [block.attn.fused_attn for block in scene.module.blocks] == before
    assert not any(block.attn.attn_drop._forward_hooks for block in scene.module.blocks)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_evidence_adds_up_to_the_change_of_the_log_odds(kind):
    scene = scene_of(kind, depth=4)
    tokens, labels = embedded(scene, pictures(4)), torch.tensor([0, 1, 1, 0])
    evidence = integrated_gradients(scene, tokens, labels).sum(dim=1).double()
    start = late(4)
    with torch.no_grad():
        reached = through(scene.module, tokens, 0, start)
        plain = reached.clone()
        plain[:, 1:] = reached[:, 1:].mean(dim=1, keepdim=True)
        change = scene.log_odds(reached, start) - scene.log_odds(plain, start)
    expected = change.gather(1, labels[:, None])[:, 0]
    assert float(expected.abs().min()) > 1e-3
    torch.testing.assert_close(evidence, expected, rtol=0.02, atol=0.005)


def test_log_odds_are_those_of_the_answers_probabilities():
    scene = scene_of("ordinal")
    tokens = embedded(scene, pictures(5))
    with torch.no_grad():
        odds = scene.log_odds(tokens, 0)
        pooled = scene.module.forward_head(
            scene.module.norm(through(scene.module, tokens, 0)), pre_logits=True
        )
    probs = scene.reader.task.rules.probabilities(scene.reader.head.logits(pooled))
    torch.testing.assert_close(odds.sigmoid().float(), probs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_maps_do_not_depend_on_the_batch(method):
    base = make_base(image_size=32)
    generalist, images = specialist(make_brick(base=base)), pictures(BATCH + 2)
    together = explain(generalist, images, "task", method=method, base=base)
    for index in (0, BATCH + 1):
        (alone,) = explain(generalist, [images[index]], "task", method=method, base=base)
        torch.testing.assert_close(alone.patches, together[index].patches, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_base_stays_as_it_is(method):
    base = make_base(image_size=32)
    before = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    explain(specialist(make_brick(base=base)), pictures(1), "task", method=method, base=base)
    assert all(torch.equal(before[n], t) for n, t in base.module.state_dict().items())
    assert not any(p.requires_grad for p in base.module.parameters())


def test_a_routed_generalist_is_looked_at_by_the_tasks_own_brick():
    base = make_base(image_size=32)
    first, other = (with_profile(make_brick(n, seed=i, base=base)) for i, n in enumerate("ab"))
    generalist, images = assemble([first, other], mode="routed"), pictures(2)
    routed = explain(generalist, images, "a", base=base)
    alone = explain(specialist(first), images, "a", base=base)
    merged = explain(generalist, images, "a", base=base, mode="merged")
    for saliency, expected, otherwise in zip(routed, alone, merged, strict=True):
        torch.testing.assert_close(saliency.patches, expected.patches, rtol=0, atol=1e-4)
        assert not torch.allclose(saliency.patches, otherwise.patches, rtol=0, atol=1e-3)


def test_the_likeliest_label_is_explained_unless_another_is_asked():
    base = make_base(image_size=32)
    generalist, images = specialist(make_brick(base=base)), pictures(2)
    maps = explain(generalist, images, "task", base=base)
    assert all(s.prob > 1 / 3 for s in maps)
    asked = explain(generalist, images, "task", label=["label-2", "label-0"], base=base)
    assert [s.label for s in asked] == ["label-2", "label-0"]


def test_evidence_for_a_binary_label_is_evidence_against_the_other():
    base = make_base(image_size=32)
    generalist = specialist(make_brick(kind="binary", base=base))
    (no,), (yes,) = (
        explain(generalist, pictures(1), "task", label=f"label-{i}", base=base) for i in (0, 1)
    )
    torch.testing.assert_close(no.patches, -yes.patches, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "magic"}, "saliency: expected one of gradient, rollout, got 'magic'"),
        ({"label": "flu"}, "label: expected one of label-0, label-1, label-2, got 'flu'"),
        ({"label": ["label-0"]}, "label: expected one for each of 2 images, got 1"),
        ({"task": "chest"}, "task: expected one of task, got 'chest'"),
    ],
)
def test_what_is_asked_wrongly_is_refused(settings, says):
    base = make_base(image_size=32)
    generalist = specialist(make_brick(base=base))
    with pytest.raises(GeneralistError, match=says.replace("'", ".")):
        explain(generalist, pictures(2), **{"task": "task", "base": base, **settings})


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (32, 32), (7, 300)])
def test_the_letterbox_is_where_fit_puts_the_image(shape):
    box = letterbox(shape[0], shape[1], 64)
    expected = torch.zeros(64, 64)
    expected[box.top : box.top + box.height, box.left : box.left + box.width] = 1
    fitted = fit(Image(torch.ones(1, *shape)), 64)[0]
    torch.testing.assert_close(fitted, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shape", "patch"), [((100, 400), (3, 6)), ((300, 150), (1, 4))])
def test_a_patch_comes_back_to_the_pixels_that_it_saw(shape, patch):
    patches = torch.zeros(8, 8)
    patches[patch] = 1
    task = Task(name="t", kind="binary", labels=("a", "b"))
    heatmap = Saliency(task, "b", 0.9, "gradient", patches, 64, shape).on_image()
    assert heatmap.shape == shape
    box, zoom = letterbox(shape[0], shape[1], 64), max(shape) / 64
    rows, columns = torch.arange(shape[0]) + 0.5, torch.arange(shape[1]) + 0.5
    middle = [
        (heatmap.sum(1) * rows).sum() / heatmap.sum(),
        (heatmap.sum(0) * columns).sum() / heatmap.sum(),
    ]
    wanted = [(8 * p + 4 - edge) * zoom for p, edge in zip(patch, (box.top, box.left), strict=True)]
    assert [float(m) for m in middle] == pytest.approx(wanted, abs=zoom)


SIDE, RADIUS = 64, 6


def blobs(count, seed):
    """Noise; every second image has a bright blob. Also where it is, or would be."""
    generator = np.random.default_rng(seed)
    pixels = generator.normal(90, 12, (count, SIDE, SIDE))
    centres = generator.integers(RADIUS + 2, SIDE - RADIUS - 2, (count, 2))
    y, x = np.mgrid[:SIDE, :SIDE]
    squared = (y - centres[:, :1, None]) ** 2 + (x - centres[:, 1:, None]) ** 2
    pixels[1::2] += 110 * np.exp(-squared[1::2] / 25)
    labels = np.arange(count) % 2
    return pixels.clip(0, 255).astype(np.uint8), labels, squared <= RADIUS**2


@pytest.fixture(scope="module")
def planted():
    """A specialist that finds blobs, images with one, and where it is."""
    base = Base.load("mini")
    parts: dict[str, Any] = {}
    for seed, (split, count) in enumerate({"train": 48, "val": 16, "test": 2}.items()):
        pixels, labels, _ = blobs(count, seed)
        parts[split] = Samples(ArrayImages(pixels), labels)
    task = Task(name="blob", kind="binary", labels=("absent", "present"))
    brick = train_brick(base, Dataset(task, **parts), TrainSettings(epochs=4, batch_size=8))
    assert brick.card.scores["auroc"] > 0.95
    pixels, _, places = blobs(16, 9)
    return base, specialist(brick), [from_array(p) for p in pixels[1::2]], places[1::2]


def mass(maps, places):
    """Mean share of what a map shows for the label that lies in the blob."""
    shown = [saliency.on_image().clamp(min=0).numpy() for saliency in maps]
    return float(np.mean([m[p].sum() / m.sum() for m, p in zip(shown, places, strict=True)]))


@pytest.mark.parametrize(("method", "times"), [("gradient", 10), ("rollout", 1.2)])
def test_the_map_lies_on_a_planted_signal(planted, method, times):
    base, generalist, images, places = planted
    maps = explain(generalist, images, "blob", label="present", method=method, base=base)
    assert mass(maps, places) > times * places.mean()


def test_the_map_of_a_random_model_does_not_lie_on_it(planted):
    base, generalist, images, places = planted
    adapter, reader = answering(generalist, "blob", base, None)
    scene = Scene.of(*randomised(base, adapter, reader, "blocks"), "cpu")
    tokens = embedded(scene, images)
    patches = integrated_gradients(scene, tokens, torch.ones(len(images), dtype=torch.int64))
    maps = [
        Saliency(reader.task, "present", 0.5, "gradient", p.reshape(scene.grid), SIDE, (SIDE, SIDE))
        for p in patches
    ]
    assert mass(maps, places) < 3 * places.mean()


def test_the_gradient_map_does_not_survive_random_weights(planted):
    base, generalist, images, _ = planted
    correlations = agreement(generalist, images, "blob", base=base)
    assert list(correlations) == list(STAGES)
    for stage in STAGES:
        assert abs(np.mean(correlations[stage])) < 0.5, stage


def test_rollout_does_not_read_the_head_and_needs_the_blocks(planted):
    base, generalist, images, _ = planted
    correlations = agreement(generalist, images, "blob", method="rollout", base=base)
    assert min(correlations["head"]) > 0.999
    assert abs(np.mean(correlations["blocks"])) < 0.5


def test_randomised_deltas_keep_their_size():
    base = make_base()
    brick = make_brick(base=base)
    target = brick.targets[0]
    adapter = Adapter((target,), {target.name: make_delta(target.shape, 2, torch.Generator())})
    (reader,) = specialist(brick).readers
    _, other, _ = randomised(base, adapter, reader, "deltas")
    before, after = adapter.deltas[target.name], other.deltas[target.name]
    assert after.norm() == pytest.approx(before.norm(), rel=1e-5)
    assert not torch.allclose(after.dense(), before.dense(), rtol=0, atol=1e-3)
