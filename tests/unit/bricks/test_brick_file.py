"""Brick files: what is written is read back, the same each time, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from brickparts import Parts
from factories import make_base, make_brick, make_dataset, with_grams, with_profile
from medlego.base import BaseRef
from medlego.base.targets import list_targets
from medlego.bricks import (
    Brick,
    Card,
    Head,
    LowRank,
    Noise,
    brick_bytes,
    brick_from_bytes,
    load_brick,
    load_bricks,
    save_brick,
)
from medlego.data import KINDS, Task
from medlego.data.task import Code
from medlego.errors import BrickError

BASE = make_base()


def copied(brick: Brick) -> Brick:
    return brick_from_bytes(brick_bytes(brick), "copy")


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_is_read_as_written(kind: str) -> None:
    brick = make_brick(kind=kind, base=BASE)
    expected, tensors = brick.tensors(), copied(brick).tensors()
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_else_is_read_as_written(kind: str) -> None:
    brick = make_brick(kind=kind, base=BASE, targets=("q", "fc2"), stem=1)
    loaded = copied(brick)
    assert (loaded.base, loaded.task, loaded.targets) == (brick.base, brick.task, brick.targets)
    assert (loaded.settings, loaded.card) == (brick.settings, brick.card)
    assert list(loaded.deltas) == [target.name for target in brick.targets]


@pytest.mark.parametrize("kind", KINDS)
def test_digest_survives_the_file(kind: str) -> None:
    brick = make_brick(kind=kind, base=BASE)
    assert copied(brick).digest == brick.digest


def test_grams_survive_the_file() -> None:
    brick = with_grams(make_brick(base=BASE))
    loaded = copied(brick)
    assert loaded.digest == brick.digest
    assert brick_bytes(loaded) == brick_bytes(brick)
    assert loaded.grams.keys() == brick.grams.keys()
    for module, gram in loaded.grams.items():
        assert (gram.directions, gram.images) == (4, 50)
        for part in ("vectors", "values", "rest"):
            expected = getattr(brick.grams[module], part)
            torch.testing.assert_close(getattr(gram, part), expected, rtol=0, atol=0)


def test_a_profile_survives_the_file_and_is_part_of_the_digest() -> None:
    brick = with_profile(make_brick(base=BASE))
    content = brick_bytes(brick)
    loaded = brick_from_bytes(content, "x")
    assert brick_bytes(loaded) == content
    assert loaded.profile is not None
    assert brick.profile is not None
    pairs = zip(brick.profile.tensors().values(), loaded.profile.tensors().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    noisy = replace(brick.profile, noise=Noise(epsilon=1.0, delta=1e-5))
    others = [make_brick(base=BASE), replace(brick, profile=noisy), with_profile(brick, 1.0)]
    assert len({brick.digest, *(other.digest for other in others)}) == 4
    again = brick_from_bytes(brick_bytes(others[1]), "x")
    assert again.profile is not None
    assert again.profile.noise == noisy.noise


def test_grams_are_part_of_the_digest() -> None:
    brick = with_grams(make_brick(base=BASE))
    digests = {brick.digest, make_brick(base=BASE).digest, with_grams(brick, seed=5).digest}
    grams = {module: replace(gram, images=51) for module, gram in brick.grams.items()}
    digests.add(replace(brick, grams=grams).digest)
    assert len(digests) == 4


def test_a_gram_of_few_images_is_not_written() -> None:
    brick = with_grams(make_brick(base=BASE))
    grams = {module: replace(gram, images=49) for module, gram in brick.grams.items()}
    with pytest.raises(BrickError, match=r"grams\..*\.images: expected at least 50"):
        brick_bytes(replace(brick, grams=grams))


def test_grams_of_some_modules_only_are_not_written() -> None:
    brick = with_grams(make_brick(base=BASE))
    grams = dict(list(brick.grams.items())[:1])
    with pytest.raises(BrickError, match=r"grams: blocks\.1\.attn\.qkv: missing"):
        brick_bytes(replace(brick, grams=grams))


def test_same_brick_gives_same_bytes() -> None:
    assert brick_bytes(make_brick(seed=3)) == brick_bytes(make_brick(seed=3))


def test_reading_and_writing_again_keeps_the_bytes() -> None:
    content = brick_bytes(make_brick(base=BASE))
    assert brick_bytes(brick_from_bytes(content, "x")) == content


def test_metadata_has_one_key() -> None:
    content = brick_bytes(make_brick(base=BASE))
    assert content[8:].startswith(b'{"__metadata__":{"medlego":"{')
    assert brick_from_bytes(Parts.of(content).pack(), "x").task.name == "task"


@pytest.mark.parametrize(
    "value", [1, 1.0, 0.1, 1e-05, 1e300, -0.0, True, None, 'ä"\\\u2028', ["q", "v"], [], 2**63 - 1]
)
def test_setting_keeps_value_and_type(value: object) -> None:
    setting = copied(replace(make_brick(base=BASE), settings={"x": value})).settings["x"]
    assert repr(setting) == repr(value)


def test_words_in_any_script_survive() -> None:
    task = Task(
        name="task",
        kind="multiclass",
        labels=("Grün", "緑", "🟩"),
        codes=(Code(scheme="SCT", value="1", meaning="зелёный"), None, None),
        modality="MR",
        body_part="WHOLE BODY",
    )
    assert copied(replace(make_brick(base=BASE), task=task)).task == task


def other_delta(brick: Brick) -> Brick:
    name = brick.targets[0].name
    delta = replace(brick.deltas[name], S=brick.deltas[name].S * 2)
    return replace(brick, deltas={**brick.deltas, name: delta})


@pytest.mark.parametrize(
    "change",
    [
        other_delta,
        lambda b: b.renamed("other"),
        lambda b: replace(b, head=Head(b.head.weight, b.head.bias + 1)),
        lambda b: replace(b, settings={"seed": 1}),
        lambda b: replace(b, card=Card(data="elsewhere")),
        lambda b: replace(b, base=b.base.model_copy(update={"image_size": 24})),
    ],
    ids=["delta", "name", "head", "settings", "card", "input size"],
)
def test_digest_covers(change: Callable[[Brick], Brick]) -> None:
    brick = make_brick(base=BASE)
    assert change(brick).digest != brick.digest


def test_renamed_brick_keeps_its_tensors() -> None:
    brick = make_brick(base=BASE)
    renamed = brick.renamed("other")
    assert renamed.task.name == "other"
    assert renamed.deltas is brick.deltas
    assert renamed.head is brick.head


def test_saved_file_holds_the_brick_s_bytes(tmp_path: Path) -> None:
    brick = make_brick(base=BASE)
    save_brick(brick, tmp_path / "x.brick.safetensors")
    assert (tmp_path / "x.brick.safetensors").read_bytes() == brick_bytes(brick)
    assert load_brick(tmp_path / "x.brick.safetensors").digest == brick.digest


def test_several_files_are_read_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b", "a"):
        save_brick(make_brick(name, base=BASE), tmp_path / name)
    assert [b.task.name for b in load_bricks([tmp_path / "b", tmp_path / "a"])] == ["b", "a"]


def poked(brick: Brick) -> Brick:
    head = Head(brick.head.weight, torch.full_like(brick.head.bias, torch.nan))
    return replace(brick, head=head)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (poked, r"brick 'task': head\.bias: expected finite numbers"),
        (
            lambda b: replace(b, card=Card(scores={"auroc": float("nan")})),
            r"brick 'task': settings and card: expected plain values",
        ),
        (
            lambda b: replace(b, settings={"rate": float("inf")}),
            r"brick 'task': settings and card: expected plain values",
        ),
        (
            lambda b: replace(b, settings={"path": Path("x")}),
            r"brick 'task': (?s:.*)settings\.path",
        ),
        (lambda b: replace(b, settings={"x": {"y": 1}}), r"brick 'task': (?s:.*)settings\.x"),
        (
            lambda b: replace(b, settings={"text": "half a pair: \ud800"}),
            r"brick 'task': settings and card: expected plain values",
        ),
        (
            lambda b: replace(b, head=Head(b.head.weight.double(), b.head.bias)),
            r"brick 'task': head\.weight: expected float32, got float64",
        ),
    ],
    ids=["NaN", "NaN score", "infinity", "object", "nested", "surrogate", "dtype"],
)
def test_unlawful_brick_is_not_written(
    tmp_path: Path, change: Callable[[Brick], Brick], says: str
) -> None:
    brick = make_brick(base=BASE)
    save_brick(brick, tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    with pytest.raises(BrickError, match=says):
        save_brick(change(brick), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == before


def random_canonical(out: int, columns: int, rank: int, generator: torch.Generator) -> LowRank:
    U = torch.linalg.qr(torch.randn(out, rank, generator=generator)).Q
    V = torch.linalg.qr(torch.randn(columns, rank, generator=generator)).Q
    S = torch.rand(rank, generator=generator).sort(descending=True).values
    return LowRank(U.contiguous(), S, V.T.contiguous())


@pytest.fixture(scope="module")
def vit_b() -> Brick:
    """Rank 4 on q and v of ViT-B/16, with a binary head."""
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0)
    generator = torch.Generator().manual_seed(0)
    targets = list_targets(model)
    return Brick(
        base=BaseRef(
            name="vit_base_patch16_224",
            fingerprint="0" * 64,
            image_size=224,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            parameters=sum(p.numel() for p in model.parameters()),
            features=768,
        ),
        task=make_dataset(kind="binary").task,
        targets=targets,
        deltas={t.name: random_canonical(*t.shape, 4, generator) for t in targets},
        head=Head(torch.zeros(1, 768), torch.zeros(1)),
        settings={},
        card=Card(),
    )


def test_rank_4_on_q_and_v_of_vit_b_is_147552_parameters(vit_b: Brick) -> None:
    assert vit_b.delta_parameters == 147_552


def test_rank_4_on_q_and_v_of_vit_b_is_the_paper_s_share(vit_b: Brick) -> None:
    assert vit_b.share == pytest.approx(0.00172, abs=5e-6)


def test_rank_4_on_q_and_v_of_vit_b_takes_less_than_620_kilobytes(vit_b: Brick) -> None:
    content = brick_bytes(vit_b)
    assert brick_from_bytes(content, "x").digest == vit_b.digest
    assert len(content) < 620_000


@pytest.mark.parametrize(("directions", "kilobytes"), [(8, 295), (32, 1181)])
def test_grams_of_vit_b_take_what_the_page_says(
    vit_b: Brick, directions: int, kilobytes: int
) -> None:
    extra = len(brick_bytes(with_grams(vit_b, directions))) - len(brick_bytes(vit_b))
    values = 4 * 12 * (768 * directions + directions + 1)
    assert round(values / 1000) == kilobytes
    assert values < extra < values + 7_000


def test_multiclass_logits_become_a_softmax() -> None:
    task = Task(name="t", kind="multiclass", labels=("a", "b"))
    probs = task.rules.probabilities(torch.tensor([[0.0, 0.0], [100.0, 0.0]]))
    torch.testing.assert_close(probs, torch.tensor([[0.5, 0.5], [1.0, 0.0]]), rtol=0, atol=1e-6)


def test_multilabel_logits_become_independent_probabilities() -> None:
    task = Task(name="t", kind="multilabel", labels=("a", "b"))
    probs = task.rules.probabilities(torch.tensor([[0.0, 100.0]]))
    torch.testing.assert_close(probs, torch.tensor([[0.5, 1.0]]), rtol=0, atol=1e-6)


def test_binary_logit_speaks_of_the_second_label() -> None:
    task = Task(name="t", kind="binary", labels=("no", "yes"))
    probs = task.rules.probabilities(torch.tensor([[100.0]]))
    torch.testing.assert_close(probs, torch.tensor([[0.0, 1.0]]), rtol=0, atol=1e-6)


def test_ordinal_logits_become_differences_of_what_lies_above() -> None:
    task = Task(name="t", kind="ordinal", labels=("low", "middle", "high"))
    logits = torch.logit(torch.tensor([[0.75, 0.25]]))
    expected = torch.tensor([[0.25, 0.5, 0.25]])
    torch.testing.assert_close(task.rules.probabilities(logits), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_head_gives_one_probability_per_label(kind: str) -> None:
    brick = make_brick(kind=kind, base=BASE)
    inputs = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    probs = brick.task.rules.probabilities(brick.head.logits(inputs))
    assert probs.shape == (5, len(brick.task.labels))
    assert (probs >= 0).all()
    if kind != "multilabel":
        torch.testing.assert_close(probs.sum(1), torch.ones(5), rtol=0, atol=1e-6)
