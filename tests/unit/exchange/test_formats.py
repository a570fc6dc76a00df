"""Other tools' files, against those tools themselves where they are to be had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from factories import (
    TIMM_NAME,
    make_brick,
    make_bricks,
    make_pixels,
    make_task,
    save_weights,
)
from medlego.base import Base
from medlego.bricks import Brick
from medlego.errors import InteropError
from medlego.exchange import export_onnx, export_peft, export_timm, import_melo, import_peft
from medlego.exchange.formats.peft import CONFIG, WEIGHTS
from medlego.generalist import assemble, specialist
from medlego.prediction import Backbone

peft = pytest.importorskip("peft")

EXACT: Any = {"rtol": 1e-5, "atol": 1e-5}
LABELS = 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="module")
def base(weights: Path) -> Base:
    return Base.load(TIMM_NAME, weights=weights, image_size=32)


def timm_model(base: Base, outputs: int = LABELS) -> nn.Module:
    """The same base as timm builds it, with a classifier."""
    model = timm.create_model(TIMM_NAME, num_classes=outputs, img_size=32)
    missing, unexpected = model.load_state_dict(base.module.state_dict(), strict=False)
    assert set(missing) == {"head.weight", "head.bias"}
    assert not unexpected
    return model.eval()


def pixels() -> torch.Tensor:
    return make_pixels(4, size=32, seed=3)


def logits(brick: Brick, base: Base) -> torch.Tensor:
    return brick.head.logits(Backbone.of(specialist(brick), base).features(pixels()))


def random_factors(model: nn.Module) -> None:
    """As after training: no factor is zero."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            with torch.no_grad():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def adapter(base: Base, folder: Path, **options: Any) -> nn.Module:
    """A PEFT model with random factors, saved into a folder."""
    settings = {"r": 3, "lora_alpha": 5, "target_modules": ["qkv"], "modules_to_save": ["head"]}
    config = peft.LoraConfig(**{**settings, **options})
    model = peft.get_peft_model(timm_model(base), config)
    random_factors(model)
    model.save_pretrained(folder)
    return model.eval()


TASK = make_task("scan")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"target_modules": ["qkv", "attn.proj", "fc1", "fc2"]},
        {"rank_pattern": {"blocks.1.attn.qkv": 2}, "alpha_pattern": {"blocks.2.attn.qkv": 9}},
        {"layers_to_transform": [0, 2], "layers_pattern": "blocks"},
    ],
)
def test_an_imported_adapter_answers_as_peft_does(options, base, tmp_path):
    model = adapter(base, tmp_path, **options)
    brick = import_peft(tmp_path, base, TASK)
    with torch.inference_mode():
        expected = model(base.normalise(pixels()))
    torch.testing.assert_close(logits(brick, base), expected, **EXACT)


def test_a_fused_map_is_split_into_q_k_and_v(base, tmp_path):
    adapter(base, tmp_path)
    names = {target.name for target in import_peft(tmp_path, base, TASK).targets}
    assert {f"blocks.0.attn.{part}" for part in "qkv"} <= names


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("older", [False, True])
def test_an_adapter_of_transformers_vit_with_separate_maps_answers_the_same(older, base, tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    block = base.module.get_submodule("blocks.0")
    width, depth = base.ref.features, len(list(base.module.get_submodule("blocks").children()))
    settings: dict[str, Any] = {"num_labels": LABELS}
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=block.attn.num_heads,
        intermediate_size=block.mlp.fc1.out_features,
        image_size=32,
        patch_size=16,
        layer_norm_eps=block.norm1.eps,
        **settings,
    )
    theirs = ViTForImageClassification(config).eval()
    with torch.no_grad():
        fill_transformers(theirs, base.module.state_dict())
    names = ["q_proj", "v_proj", "o_proj", "fc1"]
    lora = peft.LoraConfig(r=2, lora_alpha=4, target_modules=names, modules_to_save=["classifier"])
    model = peft.get_peft_model(theirs, lora)
    random_factors(model)
    model.save_pretrained(tmp_path)
    if older:
        tensors = load_file(tmp_path / WEIGHTS)
        save_file({_older(name): tensor for name, tensor in tensors.items()}, tmp_path / WEIGHTS)
    brick = import_peft(tmp_path, base, TASK)
    parts = {target.name.rpartition(".")[2] for target in brick.targets}
    assert parts == {"q", "v", "proj", "fc1"}
    with torch.inference_mode():
        expected = model(base.normalise(pixels())).logits
    torch.testing.assert_close(logits(brick, base), expected, **EXACT)


def _older(name: str) -> str:
    """What transformers called it before version 5."""
    for new, old in (
        ("vit.layers", "vit.encoder.layer"),
        ("attention.q_proj", "attention.attention.query"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
    ):
        name = name.replace(new, old)
    return name


def fill_transformers(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Copy timm's weights to where transformers' ViT has them."""
    own = dict(model.named_parameters())
    inner = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.o_proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    outer = {
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
        "norm": "vit.layernorm",
    }
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        if name in outer:
            own[outer[name]].copy_(tensor)
        elif stem in outer:
            own[f"{outer[stem]}.{kind}"].copy_(tensor)
        elif name.startswith("blocks."):
            number, _, part = stem.removeprefix("blocks.").partition(".")
            layer = f"vit.layers.{number}"
            if part == "attn.qkv":
                for which, rows in zip("qkv", tensor.chunk(3), strict=True):
                    own[f"{layer}.attention.{which}_proj.{kind}"].copy_(rows)
            else:
                own[f"{layer}.{inner[part]}.{kind}"].copy_(tensor)
        else:
            raise AssertionError(name)


def test_two_outputs_of_a_binary_task_become_one_exactly(base, tmp_path):
    settings = {"target_modules": ["qkv"], "modules_to_save": ["head"]}
    model = peft.get_peft_model(timm_model(base, 2), peft.LoraConfig(r=2, **settings))
    random_factors(model)
    model.save_pretrained(tmp_path)
    brick = import_peft(tmp_path, base, make_task("scan", "binary"))
    with torch.inference_mode():
        expected = model.eval()(base.normalise(pixels())).softmax(dim=1)[:, 1:]
    torch.testing.assert_close(logits(brick, base).sigmoid(), expected, **EXACT)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_peft_loads_an_exported_brick_and_answers_as_it_does(kind, base, tmp_path):
    brick = make_brick("scan", kind=kind, base=base, targets=("q", "v", "fc1"))
    export_peft(brick, tmp_path / "adapter")
    outputs = len(brick.head.bias)
    model = peft.PeftModel.from_pretrained(timm_model(base, outputs), tmp_path / "adapter").eval()
    with torch.inference_mode():
        answers = model(base.normalise(pixels()))
    torch.testing.assert_close(answers, logits(brick, base), **EXACT)


def test_an_exported_brick_comes_back_as_it_was(base, tmp_path):
    brick = make_brick("scan", base=base)
    export_peft(brick, tmp_path / "adapter")
    back = import_peft(tmp_path / "adapter", base, brick.task)
    assert back.targets == brick.targets
    assert {name: delta.rank for name, delta in back.deltas.items()} == {
        name: delta.rank for name, delta in brick.deltas.items()
    }
    for name, delta in brick.deltas.items():
        torch.testing.assert_close(back.deltas[name].dense(), delta.dense(), rtol=1e-5, atol=1e-6)
    assert torch.equal(back.head.weight, brick.head.weight)


def test_an_ordinal_brick_is_no_peft_adapter(base, tmp_path):
    with pytest.raises(InteropError, match="got an ordinal one"):
        export_peft(make_brick("scan", kind="ordinal", base=base), tmp_path / "adapter")


def test_nothing_is_overwritten(base, tmp_path):
    (tmp_path / "file").touch()
    brick = make_brick("scan", base=base)
    for export in (
        lambda: export_peft(brick, tmp_path),
        lambda: export_timm(assemble([brick]), base, tmp_path),
        lambda: export_onnx(assemble([brick]), base, tmp_path),
    ):
        with pytest.raises(InteropError, match="expected a new folder, found one"):
            export()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"use_dora": True}, "use_dora: expected it off, got True; DoRA scales"),
        ({"bias": "lora_only"}, "bias: expected none, got lora_only"),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_name(options, says, base, tmp_path):
    adapter(base, tmp_path, **options)
    with pytest.raises(InteropError, match=says):
        import_peft(tmp_path, base, TASK)


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]
FACTOR = "base_model.model.blocks.0.attn.qkv.lora_A.weight"
DAMAGED: dict[str, tuple[Change, str]] = {
    "another kind": (lambda c, _: c.update(peft_type="IA3"), "peft_type: expected LORA, got IA3"),
    "pissa": (lambda c, _: c.update(init_lora_weights="pissa"), "convert it with PEFT first"),
    "no rank": (lambda c, _: c.pop("r"), "r: expected a number above 0"),
    "no alpha": (lambda c, _: c.update(lora_alpha=0), "lora_alpha: expected a number above 0"),
    "no pattern": (lambda c, _: c.update(rank_pattern={"(": 3}), "rank_pattern: expected a number"),
    "a list of patterns": (
        lambda c, _: c.update(alpha_pattern=[1]),
        "alpha_pattern: expected a number per pattern of names, got .1.",
    ),
    "a pattern of no number": (
        lambda c, _: c.update(alpha_pattern={"qkv": None}),
        "alpha_pattern: expected a number",
    ),
    "an alpha too large": (
        lambda c, _: c.update(lora_alpha=1e300),
        "blocks.0.attn.q: factors: expected finite numbers",
    ),
    "rank nought": (
        lambda _, t: t.update({FACTOR: torch.zeros(0, 64)}),
        "expected factors of a linear map",
    ),
    "another rank": (lambda c, _: c.update(r=2), "expected rank 2.* got 3"),
    "half a pair": (lambda _, t: t.pop(FACTOR), "expected lora_A and lora_B, got only one"),
    "NaN": (lambda _, t: t[FACTOR].fill_(float("nan")), "expected finite numbers"),
    "no head": (
        lambda _, t: [t.pop(f"base_model.model.head.{k}") for k in ("weight", "bias")],
        "expected a classifier",
    ),
    "a magnitude": (
        lambda _, t: t.update({"x.lora_magnitude_vector": torch.ones(2)}),
        "got DoRA's magnitudes",
    ),
    "a strange tensor": (lambda _, t: t.update(x=torch.ones(2)), "x: .*got another tensor"),
    "a strange module": (
        lambda _, t: t.update(
            {
                f"base_model.model.neck.lora_{p}.weight": torch.ones(s)
                for p, s in (("A", (3, 4)), ("B", (4, 3)))
            }
        ),
        "neck: expected a linear map of the base's blocks",
    ),
    "a block too many": (
        lambda _, t: t.update(
            {n.replace("blocks.0", "blocks.77"): v.clone() for n, v in t.items() if ".0." in n}
        ),
        "blocks.77.attn.qkv: expected a linear map",
    ),
    "another width": (
        lambda _, t: t.update({FACTOR: torch.ones(3, 5)}),
        "is this the right base",
    ),
    "other outputs": (
        lambda _, t: t.update({"base_model.model.head.weight": torch.ones(5, 64)}),
        "classifier: expected .* for 3 labels",
    ),
    "untrained": (
        lambda _, t: [t[name].zero_() for name in t if "lora_B" in name],
        "expected deltas above zero",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_adapter_is_refused(case, base, tmp_path):
    adapter(base, tmp_path)
    change, says = DAMAGED[case]
    config, tensors = json.loads((tmp_path / CONFIG).read_text()), load_file(tmp_path / WEIGHTS)
    change(config, tensors)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(InteropError, match=says):
        import_peft(tmp_path, base, TASK)


def test_a_folder_without_an_adapter_is_refused(base, tmp_path):
    with pytest.raises(InteropError, match="expected a PEFT adapter, found nothing there"):
        import_peft(tmp_path, base, TASK)


def melo_file(base: Base, path: Path, rank: int = 2, **more: torch.Tensor) -> None:
    """As MeLo writes it: q's and v's pair of every block, and the classifier's weight."""
    width, depth = base.ref.features, len(list(base.module.get_submodule("blocks").children()))
    generator = torch.Generator().manual_seed(2)
    tensors = {}
    for number in range(2 * depth):
        tensors[f"w_a_{number:03d}"] = 0.1 * torch.randn(rank, width, generator=generator)
        tensors[f"w_b_{number:03d}"] = 0.1 * torch.randn(width, rank, generator=generator)
    tensors[f"fc_{width}in_{LABELS}out"] = torch.randn(LABELS, width, generator=generator)
    save_file({**tensors, **more}, path)


@pytest.mark.parametrize(("alpha", "scale"), [(2, 1), (3, 1), (8, 4)])
def test_a_melo_file_is_scaled_by_alpha_over_r_as_whole_numbers(alpha, scale, base, tmp_path):
    """Written from MeLo's forward pass: qkv[:d] += (alpha // r) B_q A_q x, qkv[2d:] likewise."""
    melo_file(base, tmp_path / "m.safetensors")
    tensors = load_file(tmp_path / "m.safetensors")
    model: Any = timm_model(base)
    width = base.ref.features
    with torch.no_grad():
        for number, block in enumerate(model.get_submodule("blocks").children()):
            for which, start in ((0, 0), (1, 2 * width)):
                pair = [tensors[f"w_{part}_{2 * number + which:03d}"] for part in "ba"]
                block.attn.qkv.weight[start : start + width] += scale * (pair[0] @ pair[1])
        model.head.weight.copy_(tensors[f"fc_{width}in_{LABELS}out"])
        model.head.bias.zero_()
    brick = import_melo(tmp_path / "m.safetensors", base, TASK, alpha=alpha)
    with torch.inference_mode():
        expected = model(base.normalise(pixels()))
    torch.testing.assert_close(logits(brick, base), expected, **EXACT)


@pytest.mark.parametrize(
    ("alpha", "more", "says"),
    [
        (1, {}, "expected at least the rank 2, got 1; MeLo scales by alpha // r"),
        (0, {}, "expected a whole number above 0, got 0"),
        (2, {"x": torch.ones(1)}, "x: expected w_a_NNN"),
        (2, {"w_a_099": torch.ones(2, 64)}, "is this the right base"),
        (2, {"w_a_000": torch.ones(())}, "is this the right base"),
        (2, {"w_a_000": torch.ones(0, 64)}, "is this the right base"),
        (2, {"fc_1in_1out": torch.ones(1, 1)}, "expected one classifier"),
    ],
)
def test_a_melo_file_that_does_not_fit_is_refused(alpha, more, says, base, tmp_path):
    melo_file(base, tmp_path / "m.safetensors", **more)
    with pytest.raises(InteropError, match=says):
        import_melo(tmp_path / "m.safetensors", base, TASK, alpha=alpha)


def three(base: Base) -> list[Brick]:
    kinds = ("multiclass", "binary", "ordinal", "multilabel")
    return make_bricks(kinds, base, of_kinds=True)


def test_a_generalist_is_one_timm_model(base, tmp_path):
    generalist = assemble(three(base))
    export_timm(generalist, base, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "labels.json").read_text())
    model = timm.create_model(TIMM_NAME, num_classes=facts["outputs"], img_size=32).eval()
    model.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    with torch.inference_mode():
        outputs = model(base.normalise(pixels()))
    pooled = Backbone.of(generalist, base).features(pixels())
    for task, reader in zip(facts["tasks"], generalist.readers, strict=True):
        start, stop = task["outputs"]
        assert (task["name"], task["kind"]) == (reader.task.name, reader.task.kind)
        expected = reader.head.logits(pooled)
        torch.testing.assert_close(outputs[:, start:stop], expected, **EXACT)


def test_a_generalist_is_one_onnx_graph(base, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    generalist = assemble(three(base))
    export_onnx(generalist, base, tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    assert names == [task.name for task in generalist.tasks]
    pooled = Backbone.of(generalist, base).features(pixels())
    for probs, reader in zip(
        session.run(names, {"pixels": pixels().numpy()}), generalist.readers, strict=True
    ):
        expected = reader.probabilities(reader.head.logits(pooled))
        torch.testing.assert_close(torch.from_numpy(probs), expected, rtol=0, atol=1e-4)


def test_an_onnx_graph_that_answers_otherwise_is_not_written(base, tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    real = onnxruntime.InferenceSession

    class Other(real):  # type: ignore[misc, valid-type]
        def run(self, *words: Any) -> list[Any]:
            return [output + 0.01 for output in super().run(*words)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Other)
    with pytest.raises(InteropError, match="expected onnxruntime's answers within 1e-4"):
        export_onnx(assemble([make_brick("a", base=base)]), base, tmp_path / "out")
    assert not (tmp_path / "out").exists()
