"""Bases: their fingerprint, the files they come from, and what is said where those are wrong."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories import TIMM_NAME, make_base, make_delta, make_pixels, save_weights
from medlego.base import TARGET_KINDS, Base, act_alike, features, resolve_device
from medlego.base.base import fingerprint
from medlego.bricks import fold
from medlego.errors import BaseError, SettingsError
from medlego.images import Image


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(tmp_path_factory.mktemp("weights") / "w.safetensors")


@pytest.fixture
def changed(weights: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the weights with tensors replaced, or left out where None."""

    def write(**changes: Tensor | None) -> Path:
        tensors = load_file(weights) | {k.replace("__", "."): v for k, v in changes.items()}
        save_file({k: v for k, v in tensors.items() if v is not None}, tmp_path / "changed")
        return tmp_path / "changed"

    return write


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Cut off the hub; what was asked of it is listed."""
    asked: list[tuple[str, str]] = []

    def refuse(repository: str, name: str) -> str:
        asked.append((repository, name))
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    return asked


def test_tensors_are_those_of_the_file(weights: Path) -> None:
    module = Base.load(TIMM_NAME, weights=weights).module
    expected = load_file(weights)
    assert module.state_dict().keys() == expected.keys()
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_base_is_frozen_and_in_evaluation_mode(weights: Path) -> None:
    module = Base.load(TIMM_NAME, weights=weights).module
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_reference_says_what_the_base_is(weights: Path) -> None:
    ref = Base.load(TIMM_NAME, weights=weights).ref
    assert (ref.name, ref.image_size, ref.features) == (TIMM_NAME, 160, 64)
    assert ref.parameters == sum(tensor.numel() for tensor in load_file(weights).values())
    assert (ref.mean, ref.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_features_have_the_reference_s_width(weights: Path) -> None:
    base = Base.load(TIMM_NAME, weights=weights, image_size=32)
    assert features(base.module, torch.zeros(2, 3, 32, 32)).shape == (2, base.ref.features)


def test_image_is_prepared_at_the_base_s_size() -> None:
    assert make_base().prepare(Image(torch.zeros(1, 5, 9))).shape == (3, 16, 16)


def test_pixels_are_shifted_and_scaled() -> None:
    pixels = torch.full((1, 3, 16, 16), 0.75)
    expected = torch.full((1, 3, 16, 16), 1.0)
    torch.testing.assert_close(make_base().normalise(pixels), expected, rtol=0, atol=0)


def test_fingerprint_is_the_format_s() -> None:
    tensors = {"b": torch.tensor(1.0), "a": torch.tensor([[0.5, -2.0]], dtype=torch.float16)}
    content = b"a\x001,2\x00" + bytes.fromhex("0000003f000000c0") + b"b\0\0" + b"\0\0\x80\x3f"
    assert fingerprint(tensors) == hashlib.sha256(content).hexdigest()


def test_fingerprint_ignores_strides() -> None:
    tensor = torch.arange(6.0).view(2, 3)
    assert fingerprint({"a": tensor.T}) == fingerprint({"a": tensor.T.contiguous()})


@pytest.mark.parametrize(
    "other",
    [{"b": torch.zeros(2)}, {"a": torch.ones(2)}, {"a": torch.zeros(2, 1)}, {}],
    ids=["name", "value", "shape", "number"],
)
def test_fingerprint_tells_tensors_apart_by(other: dict[str, Tensor]) -> None:
    assert fingerprint({"a": torch.zeros(2)}) != fingerprint(other)


def test_fingerprint_is_the_same_at_every_input_size(weights: Path) -> None:
    small = Base.load(TIMM_NAME, weights=weights, image_size=32)
    native = Base.load(TIMM_NAME, weights=weights)
    assert small.ref.image_size == 32
    assert small.ref.fingerprint == native.ref.fingerprint


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_the_fingerprint_of_its_float32_twin(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    half = save_weights(tmp_path / "half", dtype=dtype)
    save_file({k: v.float() for k, v in load_file(half).items()}, tmp_path / "twin")
    bases = [Base.load(TIMM_NAME, weights=tmp_path / name) for name in ("half", "twin")]
    assert bases[0].ref == bases[1].ref


def test_half_precision_is_cast_up(tmp_path: Path) -> None:
    half = save_weights(tmp_path / "half", dtype=torch.float16)
    base = Base.load(TIMM_NAME, weights=half)
    tensors = [*base.module.parameters(), *base.native.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


def test_classifier_in_the_file_is_left_out(weights: Path, changed: Callable[..., Path]) -> None:
    with_head = changed(head__weight=torch.ones(10, 64), head__bias=torch.full((10,), torch.nan))
    base = Base.load(TIMM_NAME, weights=with_head)
    assert base.ref == Base.load(TIMM_NAME, weights=weights).ref


def test_missing_tensors_are_named(changed: Callable[..., Path]) -> None:
    path = changed(norm__weight=None, cls_token=None)
    rule = rf"base 'test_vit' from {path}: tensors: expected 78, cls_token, norm\.weight missing$"
    with pytest.raises(BaseError, match=rule):
        Base.load(TIMM_NAME, weights=path)


def test_extra_tensors_are_named(changed: Callable[..., Path]) -> None:
    path = changed(norm__scale=torch.zeros(1))
    with pytest.raises(BaseError, match=r"expected those of test_vit, norm\.scale unknown to it$"):
        Base.load(TIMM_NAME, weights=path)


def test_tensor_of_another_shape_is_named(changed: Callable[..., Path]) -> None:
    path = changed(norm__weight=torch.zeros(63))
    with pytest.raises(BaseError, match=r": norm\.weight: expected \(64,\), got \(63,\)$"):
        Base.load(TIMM_NAME, weights=path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_number_that_is_not_finite_is_refused(changed: Callable[..., Path], value: float) -> None:
    path = changed(norm__weight=torch.full((64,), value))
    with pytest.raises(BaseError, match=r": norm\.weight: expected finite numbers, got NaN or"):
        Base.load(TIMM_NAME, weights=path)


def test_another_architecture_s_file_is_recognised(weights: Path) -> None:
    with pytest.raises(BaseError, match=r"and \d+ more; is this file another architecture's\?"):
        Base.load("test_vit3", weights=weights)


def test_missing_file_is_named(tmp_path: Path) -> None:
    rule = r"none: expected a safetensors file, found nothing there$"
    with pytest.raises(BaseError, match=rule):
        Base.load(TIMM_NAME, weights=tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"text, not weights", b"\xff" * 64])
def test_file_that_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(BaseError, match="w: expected a whole safetensors file"):
        Base.load(TIMM_NAME, weights=tmp_path / "w")


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="expected a whole safetensors file"):
        Base.load(TIMM_NAME, weights=tmp_path)


@pytest.mark.parametrize(
    ("size", "step"), [(100, "96"), (15, "16"), (0, "16"), (-16, "16"), (161, "160")]
)
def test_size_that_the_patch_does_not_divide_is_refused(
    weights: Path, size: int, step: str
) -> None:
    rule = rf"that its patch of 16 px divides, got {size}; try {step}$"
    with pytest.raises(BaseError, match=rule):
        Base.load(TIMM_NAME, weights=weights, image_size=size)


def test_the_embedded_base_is_among_the_suggestions() -> None:
    with pytest.raises(BaseError, match=r"base 'mni': .*did you mean mini[,?]"):
        Base.load("mni")


def test_misspelt_name_gets_a_suggestion() -> None:
    rule = r"base 'deit_tinny_patch16_224': expected a timm model's name; did you mean deit_tiny_p"
    with pytest.raises(BaseError, match=rule):
        Base.load("deit_tinny_patch16_224")


def test_weights_that_an_architecture_lacks_get_a_suggestion() -> None:
    rule = r"expected weights that timm knows for deit_tiny_patch16_224, got 'fb_in1'; try deit_ti"
    with pytest.raises(BaseError, match=rule):
        Base.load("deit_tiny_patch16_224.fb_in1")


@pytest.mark.parametrize("device", ["cuda:", "cuda:x", "gpu", "cpu:x", ""])
def test_a_device_that_is_none_is_refused(device: str) -> None:
    with pytest.raises(SettingsError, match=r"^device: expected "):
        resolve_device(device)


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, count: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    rule = rf"device: expected one of {count} GPUs here, got '{device}'; choose cpu or auto"
    with pytest.raises(SettingsError, match=rule):
        resolve_device(device)


def test_name_like_no_other_gets_a_next_step() -> None:
    with pytest.raises(BaseError, match=r"see timm\.list_models\('vit_\*'\)$"):
        Base.load("?")


@pytest.mark.parametrize("name", ["resnet10t", "vit_pwee_patch16_reg1_gap_256"])
def test_model_without_fused_attention_is_refused(name: str, weights: Path) -> None:
    rule = "expected a vision transformer with fused attn.qkv and a position embedding"
    with pytest.raises(BaseError, match=re.escape(rule)):
        Base.load(name, weights=weights)


def test_hub_out_of_reach_is_an_error_with_a_next_step(hub: list[tuple[str, str]]) -> None:
    rule = (
        r"base 'test_vit': expected its weights on timm's hub \(timm/test_vit\.r160_in1k\), got "
        r"none \(OSError\); connect to a network or pass --base-weights FILE$"
    )
    with pytest.raises(BaseError, match=rule):
        Base.load(TIMM_NAME)
    assert hub == [("timm/test_vit.r160_in1k", "model.safetensors")]


def test_weights_of_the_hub_are_read_as_a_file_s(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: str(weights))
    assert Base.load(TIMM_NAME).ref == Base.load(TIMM_NAME, weights=weights).ref


def test_given_file_needs_no_hub(weights: Path, hub: list[tuple[str, str]]) -> None:
    Base.load(TIMM_NAME, weights=weights)
    assert hub == []


def test_mini_base_needs_no_file_and_no_hub(hub: list[tuple[str, str]]) -> None:
    base = Base.load("mini")
    assert (base.ref.name, base.ref.image_size, base.ref.features) == ("mini", 64, 192)
    assert hub == []


def test_kept_base_is_found_by_its_fingerprint(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hub: list[tuple[str, str]],
) -> None:
    monkeypatch.setenv("MEDLEGO_CACHE", str(tmp_path / "cache"))
    base = Base.load(TIMM_NAME, weights=weights, image_size=32)
    path = base.keep()
    cached = Base.find(base.ref)
    assert path == tmp_path / "cache" / "bases" / f"{base.ref.fingerprint}.safetensors"
    assert cached.ref == base.ref
    pixels = make_pixels(2, size=32)
    torch.testing.assert_close(
        features(cached.module, pixels), features(base.module, pixels), rtol=0, atol=0
    )
    assert hub == []


def test_base_that_was_not_kept_is_asked_of_the_hub(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: list[tuple[str, str]]
) -> None:
    monkeypatch.setenv("MEDLEGO_CACHE", str(tmp_path))
    ref = Base.load(TIMM_NAME, weights=weights).ref
    with pytest.raises(BaseError, match="connect to a network or pass --base-weights FILE"):
        Base.find(ref)
    assert len(hub) == 1


def test_mini_base_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLEGO_CACHE", str(tmp_path))
    Base.load("mini").keep()
    assert list(tmp_path.iterdir()) == []


def test_given_file_with_another_fingerprint_is_refused(weights: Path, tmp_path: Path) -> None:
    ref = Base.load(TIMM_NAME, weights=weights).ref
    other = save_weights(tmp_path / "other", seed=1)
    rule = rf"base 'test_vit': expected fingerprint {ref.fingerprint[:12]}…, got [0-9a-f]{{12}}…; g"
    with pytest.raises(BaseError, match=rule):
        Base.find(ref, weights=other)


def rows(base: Base, module: str, width: int) -> list[str]:
    """For each output row of a module, the one target that adapts it."""
    owners: list[list[str]] = [[] for _ in range(width)]
    for target in base.targets(TARGET_KINDS):
        if target.module == module:
            for row in range(target.start, target.stop):
                owners[row].append(target.name.rpartition(".")[2])
    assert all(len(owner) == 1 for owner in owners)
    return [owner[0] for owner in owners]


def test_q_k_and_v_share_the_fused_map_in_that_order() -> None:
    expected = ["q"] * 24 + ["k"] * 24 + ["v"] * 24
    assert rows(make_base(), "blocks.1.attn.qkv", 72) == expected


@pytest.mark.parametrize(
    ("module", "width", "kind"),
    [("attn.proj", 24, "proj"), ("mlp.fc1", 96, "fc1"), ("mlp.fc2", 24, "fc2")],
)
def test_other_targets_cover_their_map(module: str, width: int, kind: str) -> None:
    assert rows(make_base(), f"blocks.0.{module}", width) == [kind] * width


def test_targets_are_named_by_block_and_kind() -> None:
    names = [target.name for target in make_base().targets(TARGET_KINDS)]
    assert names[:6] == [
        "blocks.0.attn.q",
        "blocks.0.attn.k",
        "blocks.0.attn.v",
        "blocks.0.attn.proj",
        "blocks.0.mlp.fc1",
        "blocks.0.mlp.fc2",
    ]
    assert len(set(names)) == len(names) == 12


def test_order_of_kinds_asked_for_does_not_matter() -> None:
    assert make_base().targets(("v", "q")) == make_base().targets(("q", "v"))


def test_stem_stays_unadapted() -> None:
    assert {t.name for t in make_base().targets(stem=1)} == {"blocks.1.attn.q", "blocks.1.attn.v"}


@pytest.mark.parametrize("kinds", [(), ("q", "q"), ("q", "w"), ("qkv",)])
def test_kinds_that_are_none_are_refused(kinds: tuple[str, ...]) -> None:
    with pytest.raises(BaseError, match=r"^targets: expected distinct kinds out of q, k, v, proj"):
        make_base().targets(kinds)


@pytest.mark.parametrize("stem", [-1, 2, 3])
def test_stem_as_deep_as_the_model_is_refused(stem: int) -> None:
    with pytest.raises(BaseError, match=rf"^stem: expected 0 to 1 blocks, got {stem}$"):
        make_base().targets(stem=stem)


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("deit_tiny_patch16_224", "deit_tiny_patch16_224.fb_in1k", True),
        ("deit_tiny_patch16_224.fb_in1k", "vit_tiny_patch16_224.augreg_in21k", True),
        ("vit_base_patch16_clip_224", "vit_base_patch16_clip_quickgelu_224", False),
        ("vit_base_patch32_clip_224.openai", "vit_base_patch32_clip_quickgelu_224", False),
        ("vit_base_patch16_gap_224", "vit_base_patch16_siglip_gap_224", False),
        ("mini", "vit_tiny_patch16_224", False),
        ("a name of one's own", "a name of one's own", True),
        ("a name of one's own", "another", False),
    ],
)
def test_names_act_alike_whatever_their_tag(first: str, second: str, alike: bool) -> None:
    assert act_alike(first, second) is act_alike(second, first) is alike


def test_a_name_that_timm_gave_up_acts_as_its_new_one() -> None:
    with pytest.warns(UserWarning, match="deprecated model name"):
        assert act_alike("vit_small_patch16_224_dino", "vit_small_patch16_224.dino")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_xsmall_patch16_clip_224", 32),
        ("vit_small_patch14_dinov2", 28),
        ("vit_small_patch14_reg4_dinov2", 28),
        ("deit_tiny_distilled_patch16_224", 32),
    ],
)
def test_clip_dino_and_deit_towers_can_be_loaded_and_folded(
    name: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, depth=2))
    path = save_weights(tmp_path / "w", name=name)
    base = Base.load(name, weights=path, image_size=size)
    targets = base.targets(TARGET_KINDS)
    generator = torch.Generator().manual_seed(0)
    deltas = {t.name: make_delta(t.shape, 1, generator) for t in targets}
    pixels = torch.rand(1, 3, size, size, generator=generator)
    answer = features(fold(base.module, targets, deltas), pixels)
    assert len(targets) == 12
    assert answer.shape == (1, base.ref.features)
    assert torch.isfinite(answer).all()
    assert not torch.equal(answer, features(base.module, pixels))
