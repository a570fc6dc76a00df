"""Damaged or forged head files: each refused, the file and the field named."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from factories import make_task
from medlego.bricks import Card, Head, RefitHead, head_bytes, load_head
from medlego.errors import GeneralistError
from medlego.support import SafetensorsFile, parse_object, spell


@cache
def valid(kind: str = "multiclass") -> bytes:
    bias = torch.tensor([0.5, 0.0, -0.5])[: make_task(kind=kind).head_shape[1]]
    head = Head(torch.ones(make_task(kind=kind).head_shape[0], 4), bias)
    return head_bytes(RefitHead("a" * 64, make_task(kind=kind), head, {"strength": 1.0}, Card()))


def changed(
    document: Callable[[dict[str, Any]], object] = lambda _: None,
    tensors: Callable[[dict[str, torch.Tensor]], object] = lambda _: None,
    key: str = "medlego_head",
    kind: str = "multiclass",
) -> bytes:
    """The file with parts changed and the digest as it was."""
    file = SafetensorsFile(valid(kind), "valid", GeneralistError)
    description, weights = parse_object(file.text("medlego_head")), file.tensors()
    document(description)
    tensors(weights)
    return save(weights, metadata={key: spell(description).decode()})


CALIBRATION = {
    "images": 50,
    "loss_after": 0.5,
    "loss_before": 1.0,
    "maps": [{"method": "platt", "slope": 2.0, "x": [0.0], "y": [1.0]}],
    "operating": None,
}
CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "expected at least 8 bytes, got 0"),
    "cut short": (lambda: valid()[:-1], "expected a whole safetensors file"),
    "a brick's key": (lambda: changed(key="medlego"), "__metadata__: expected exactly the key"),
    "future format": (lambda: changed(lambda d: d.update(format=2)), "format: expected 1, got 2"),
    "unknown field": (lambda: changed(lambda d: d.update(more=1)), "more: "),
    "without model": (lambda: changed(lambda d: d.pop("model")), "model: "),
    "model in upper case": (lambda: changed(lambda d: d.update(model="A" * 64)), "model: "),
    "without digest": (lambda: changed(lambda d: d.pop("digest")), "digest: "),
    "another digest": (lambda: changed(lambda d: d.update(digest="0" * 64)), "digest: expected"),
    "another model": (lambda: changed(lambda d: d.update(model="b" * 64)), "digest: expected"),
    "another setting": (
        lambda: changed(lambda d: d["settings"].update(strength=2.0)),
        "digest: expected",
    ),
    "labels that do not fit": (
        lambda: changed(lambda d: d["task"].update(labels=["a", "b"])),
        r"head\.weight: expected shape \(2, 4\)",
    ),
    "control characters": (
        lambda: changed(lambda d: d["settings"].update(note="x\x1b[2J")),
        r"settings\.note: expected text without control",
    ),
    "features that do not fit": (
        lambda: changed(lambda d: d.update(features=5)),
        r"head\.weight: expected shape \(3, 5\), got \(3, 4\)",
    ),
    "a bit turned": (
        lambda: changed(tensors=lambda t: t["head.bias"].view(torch.int32)[0].bitwise_xor_(1)),
        "digest: expected",
    ),
    "NaN": (
        lambda: changed(tensors=lambda t: t["head.bias"].fill_(float("nan"))),
        r"head\.bias: expected finite",
    ),
    "another type": (
        lambda: changed(tensors=lambda t: t.update({"head.bias": t["head.bias"].double()})),
        r"head\.bias: expected float32, got float64",
    ),
    "a tensor too few": (lambda: changed(tensors=lambda t: t.pop("head.bias")), "bias: missing"),
    "a tensor too many": (
        lambda: changed(tensors=lambda t: t.update({"delta.x.U": torch.zeros(1)})),
        r"delta\.x\.U: expected no such tensor",
    ),
    "a calibration that is null": (
        lambda: changed(lambda d: d.update(calibration=None)),
        "calibration: .*leave the key out",
    ),
    "a calibration of another kind of task": (
        lambda: changed(lambda d: d.update(calibration=CALIBRATION)),
        r"calibration\.maps\.0: expected none, temperature for a multiclass task, got platt",
    ),
    "rising thresholds": (
        lambda: changed(
            tensors=lambda t: t["head.bias"].copy_(torch.tensor([0.0, 1.0])), kind="ordinal"
        ),
        r"head\.bias: expected thresholds from large to small",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_hostile_head_is_refused(name: str, tmp_path: Path) -> None:
    content, says = CASES[name]
    path = tmp_path / "x.head.safetensors"
    path.write_bytes(content())
    with pytest.raises(GeneralistError, match=says) as caught:
        load_head(path)
    assert str(caught.value).startswith(str(path))


def test_a_sound_head_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(valid())
    assert head_bytes(load_head(tmp_path / "x")) == valid() == changed()


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneralistError, match="found nothing there"):
        load_head(tmp_path / "x")
    with pytest.raises(GeneralistError, match="got a folder or device"):
        load_head(tmp_path)
