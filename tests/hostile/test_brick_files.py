"""Files that claim to be bricks: each is refused with a message that names file and field."""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from brickparts import Parts, frame, valid, with_calibration, with_grams, with_profile
from medlego.bricks import MAX_FILE_BYTES, brick_from_bytes, load_brick, load_bricks
from medlego.errors import BrickError
from medlego.support import MAX_HEADER_BYTES
from medlego.support.documents import MAX_PROBLEMS

U, S, VH = (f"delta.blocks.0.attn.q.{part}" for part in ("U", "S", "Vh"))

Mutation = Callable[..., bytes]
CASES: dict[str, tuple[Mutation, str]] = {}


def case(name: str, mutation: Mutation, says: str) -> None:
    assert name not in CASES
    CASES[name] = (mutation, says)


def field(
    path: str,
    value: Any,
    says: str | None = None,
    name: str | None = None,
    content: Mutation = valid,
) -> None:
    """Refuse a document in which the field at `path` holds `value`."""

    def mutation() -> bytes:
        parts = Parts.of(content())
        *parents, last = path.split(".")
        place = parts.document
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        place[int(last) if isinstance(place, list) else last] = value
        return parts.restate().pack()

    case(name or f"{path} is {value!r:.30}", mutation, says or rf"\b{path}: ")


def text(name: str, change: Callable[..., str], says: str) -> None:
    """Refuse a document whose text is changed."""

    def mutation() -> bytes:
        parts = Parts.of(valid())
        before = parts.text()
        parts.document = change(before)
        assert parts.document != before
        return parts.pack()

    case(name, mutation, says)


def tensor(
    name: str,
    change: Callable[..., object],
    says: str,
    content: Mutation = valid,
) -> None:
    """Refuse a file whose tensors are changed and packed again."""

    def mutation() -> bytes:
        parts = Parts.of(content())
        change(parts.tensors)
        return parts.restate().pack()

    case(name, mutation, says)


def entries(name: str, change: Callable[[dict[str, Any]], None], says: str) -> None:
    case(name, lambda: Parts.of(valid()).with_entries(change), says)


def assign(key: str, value: Callable[..., np.ndarray]) -> Callable[..., None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[key] = np.ascontiguousarray(value(tensors[key]))

    return change


def poke(key: str, value: float) -> Callable[..., None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[key].flat[-1] = value

    return change


def entry(key: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[key].update(values)


# bytes ------------------------------------------------------------------------------------------
for count in (0, 1, 7):
    case(f"cut to {count} bytes", lambda n=count: valid()[:n], "header: expected at least 8 bytes")
for share in (8, 9, 100):
    case(f"cut to {share} bytes", lambda n=share: valid()[:n], "header: .*cut short")
for back in (1, 4, 100, 1500):
    case(f"cut {back} bytes off the end", lambda n=back: valid()[:-n], "tensors: expected a whole")
case("one byte too many", lambda: valid() + b"\0", "tensors: expected a whole")
case("a page too many", lambda: valid() + bytes(4096), "tensors: expected a whole")
case("two bricks in a row", lambda: valid() * 2, "tensors: expected a whole")
case("one byte in front", lambda: b"\0" + valid(), "header: ")
for claim in (0, 1, 2**31, 2**63, 2**64 - 1, MAX_HEADER_BYTES + 1):
    case(
        f"header claims {claim} bytes",
        lambda n=claim: n.to_bytes(8, "little") + valid()[8:],
        "header: ",
    )
case(
    "header claims the whole file",
    lambda: len(valid()).to_bytes(8, "little") + valid()[8:],
    "header: .*cut short",
)
case("a large file that claims a larger header", lambda: b"\xff" * 16_000_000, "header: ")
NO_SAFETENSORS = "header: expected a safetensors file, got one of another kind"
case("text", lambda: b"This is not a brick, whatever its name says.", NO_SAFETENSORS)
case("pickle", lambda: pickle.dumps({"U": [1.0] * 100}), "header: ")


def torch_save() -> bytes:
    stream = io.BytesIO()
    torch.save({"head.weight": torch.zeros(3)}, stream)
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, weight=np.zeros(3))
    return stream.getvalue()


case("torch.save", torch_save, "header: ")
case("npz", npz, "header: ")
case("weights without a document", lambda: save({"a": torch.zeros(2)}), "__metadata__: ")

# header -----------------------------------------------------------------------------------------
for name, header in {
    "not JSON": b"{not json}",
    "an array": b"[]",
    "a number": b"5",
    "not UTF-8": b'{"\xff": 1}',
    "with a byte order mark": b"\xef\xbb\xbf{}",
    "with NaN": b'{"a": NaN}',
    "with a number beyond float64": b'{"a": 1e999}',
    "with an integer of 5,000 digits": b'{"a": 1' + b"0" * 5000 + b"}",
    "with a name twice": b'{"a": 1, "a": 1}',
    "nested deeply": b"[" * 200_000 + b"]" * 200_000,
    "with objects nested deeply": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}.items():
    case(f"header {name}", lambda h=header: frame(h, b""), r"header: expected")
metadatas: dict[str, Any] = {
    "with a second key": {"medlego": "{}", "format": "pt"},
    "without its key": {"format": "pt"},
    "empty": {},
    "null": None,
    "an array": [],
    "text": "medlego",
}
for name, metadata in metadatas.items():
    case(
        f"metadata {name}", lambda m=metadata: Parts.of(valid()).with_metadata(m), "__metadata__: "
    )
for name, value in {
    "a number": 5,
    "an object": {"format": 1},
    "an array": [1],
    "null": None,
    "empty text": "",
    "half a surrogate pair": "\ud800",
}.items():
    case(
        f"metadata's value {name}",
        lambda v=value: Parts.of(valid()).with_metadata({"medlego": v}),
        "medlego: expected",
    )


def without(key: str) -> Parts:
    parts = Parts.of(valid())
    del parts.document[key]
    return parts


# document: its text -----------------------------------------------------------------------------
text("document not JSON", lambda t: t[:-1], "medlego: expected a JSON object")
text("document an array", lambda t: f"[{t}]", "medlego: expected a JSON object, got list")
text("document twice", lambda t: t + t, "medlego: expected a JSON object")
text("document with NaN", lambda t: t.replace("0.25", "NaN", 1), "medlego: .*NaN is not a finite")
text("document with Infinity", lambda t: t.replace("0.25", "-Infinity", 1), "-Infinity is not")
text("document beyond float64", lambda t: t.replace("0.25", "1e999", 1), "medlego: .*1e999 is not")
text(
    "document with a key twice",
    lambda t: t.replace('"settings":{', '"settings":{"seed":0,', 1),
    "medlego: .*a key stands twice",
)
text(
    "document with an array nested deeply",
    lambda t: t.replace('"seed":0', '"seed":' + "[" * 150 + "]" * 150, 1),
    "medlego: expected JSON of at most 100 levels",
)
text(
    "document with a bottomless array",
    lambda t: t.replace('"seed":0', '"seed":' + "[" * 100_000, 1),
    "medlego: expected JSON of at most 100 levels",
)
text(
    "document with half a surrogate pair",
    lambda t: t.replace("random numbers", "\\ud800", 1),
    r"expected JSON \(.*hex escape",
)
SPELLING = "medlego: expected every field in the one spelling of docs/FORMAT.md"
for name, before, after in (
    ("spaces", '"seed":0', '"seed": 0'),
    ("keys out of order", '"rank":2,"seed":0}', '"seed":0,"rank":2}'),
    ("an escaped letter", "random", "\\u0072andom"),
    ("a longer number", "0.25", "0.250"),
    ("an exponent", "0.25", "25e-2"),
    ("a float in place of an integer", '"seed":0', '"seed":-0'),
    ("an optional field left out", '"codes":null,', ""),
    ("an integer in place of a float", "[0.5,0.5,0.5]", "[1,0.5,0.5]"),
):
    text(
        f"document with {name}",
        lambda t, b=before, a=after: t.replace(b, a, 1),
        SPELLING,
    )

# document: its fields ---------------------------------------------------------------------------
for value in (0, 2, "1", True, 1.0, None, [1]):
    field("format", value, "format: expected 1, got ")
for key in ("format", "base", "task", "targets", "settings", "card"):
    case(
        f"without {key}",
        lambda k=key: without(k).restate().pack(),
        f"{key}: ",
    )
for place in ("", "base.", "task.", "card.", "targets.0."):
    field(f"{place}surprise", 1)
field(
    "extra\n\x1b[2J" + "x" * 500,
    1,
    r"extra\\n\\x1b\[2Jx{10,120}: .*known key",
    "unprintable key",
)
for value in ("3fa9", "A" * 64, "g" * 64, "0" * 65, 5):
    field("base.fingerprint", value)
for value in (7, 4097, "16", 16.5, True, None, 2**62):
    field("base.image_size", value)
for value in (0, -24, 70_000, "24"):
    field("base.features", value)
field("base.features", 25, r"head\.weight: expected shape \(3, 25\), got \(3, 24\)")
for value in (0, -1, 1.5):
    field("base.parameters", value)
for value in ([0.5, 0.5], [0.5] * 4, "0.5", None):
    field("base.mean", value, r"base\.mean")
field("base.mean", ["0.5"] * 3, r"base\.mean\.0: ")
field(
    "base.mean", [10**400, 0.5, 0.5], "medlego: .* is not a 64-bit integer", "mean beyond float64"
)
for value in ([0.0, 1.0, 1.0], [1.0, -1.0, 1.0]):
    field("base.std", value, r"base\.std: expected values above 0")
for value in ("", "x" * 201, 5):
    field("base.name", value)
field("base.licence", "x" * 201)
field("task.labels", [], r"task\.labels: ")
field("task.labels", ["a", "b", "a"], "labels: expected each label once")
field("task.labels", ["a", "b"], r"head\.weight: expected shape \(2, 24\)")
field("task.labels", ["a", "b", "c", "d"], r"head\.bias: expected shape \(4,\)")
field("task.labels", ["a", "b", ""], r"task\.labels\.2: ")
field("task.labels", ["a", "b", 3], r"task\.labels\.2: ")
for value in ("a\n", "\x1b[2J", "\x7f", "\x85", "\0"):
    field("task.labels", ["a", "b", value], r"task\.labels\.2: .*without control characters")
for key in ("scheme", "value", "meaning"):
    field(
        "task.codes",
        [{"scheme": "SCT", "value": "1", "meaning": "one", key: "x\ty"}, None, None],
        rf"task\.codes\.0\.{key}: .*without control characters",
        f"code with a tab in its {key}",
    )
for place in ("base.name", "base.licence", "card.data", "card.licence", "settings.note"):
    field(place, "x\x1b[2J", rf"{place}: .*without control characters")
field("settings", {"a\tb": 1}, "settings: expected text without control characters")
field("card.made_with", {"torch": "2\x85"}, r"card\.made_with\.torch: expected text without")
field("settings.targets", ["q", "v\x00"], r"settings\.targets\.1: expected text without control")
field("task.labels", ["a", "b", "x" * 201], r"task\.labels\.2: ")
field("task.labels", [str(i) for i in range(10_001)], r"task\.labels: ")
field("task.labels", {"a": 0, "b": 1}, r"task\.labels: ")
field("task.kind", "regression", r"task\.kind: ")
field("task.kind", "binary", "labels: expected 2 for a binary task")
field("task.kind", "ordinal", r"head\.weight: expected shape \(1, 24\)")
for value in ("", "a/b", "../a", ".hidden", "a b", "x" * 101, "a\n"):
    field("task.name", value)
for value in ("us", "U", "ULTRASOUND", "U1"):
    field("task.modality", value)
field("task.body_part", "Chest")
field("task.codes", [None], "codes: expected one per label")
field("task.codes", [{"scheme": "SCT", "value": "1"}, None, None], r"task\.codes\.0\.meaning: ")
field("targets", [], r"targets: ")
field("targets", None, r"targets: ")
field("targets.0.rank", 0)
field("targets.0.rank", 1025)
field("targets.0.rank", 10**12)
field("targets.0.rank", "2")
field("targets.0.rank", 25, r"targets: .*expected rank at most 24, got 25")
field("targets.0.rank", 3, r"\.U: expected shape \(24, 3\), got \(24, 2\)")
field("targets.0.in_features", 2**40)
field("targets.0.in_features", 25, r"\.Vh: expected shape \(2, 25\), got \(2, 24\)")
field("targets.0.rows", [0, 25], r"\.U: expected shape \(25, 2\), got \(24, 2\)")
field("targets.0.rows", [-1, 23], r"targets\.0\.rows\.0: ")
field("targets.0.rows", [0, 2**40], r"targets\.0\.rows\.1: ")
field("targets.0.rows", [0], r"targets\.0\.rows\.1: ")
field("targets.0.rows", [24, 24], r"targets: .*expected rows \[start, stop\)")
field("targets.0.rows", [48, 24], r"targets: .*expected rows \[start, stop\)")
field("targets.1.rows", [23, 47], "targets: expected disjoint rows, ")
field("targets.1.rows", [0, 24], "targets: expected disjoint rows, ")
field("targets.1.name", "blocks.0.attn.q", r"targets: expected each name once, got blocks\.0")
for value in ("", "../../x", "a b", "a..b", ".a", "a.", "x" * 201):
    field("targets.0.name", value)
field("targets.0.module", "blocks.0.attn.qkv\n")
field("settings", [], r"settings: ")
field("settings", {"a": {"b": 1}}, r"settings\.a")
field("settings", {"a": [[1]]}, r"settings\.a")
field("card.scores", {"auroc": "0.9"}, r"card\.scores\.auroc: ")
field("card.images", {"train": {"a": 1.5}}, r"card\.images\.train\.a: ")
field("card.made_with", {"torch": 2}, r"card\.made_with\.torch: ")
field("card.data", "x" * 501)


def many_targets() -> bytes:
    parts = Parts.of(valid())
    one = parts.document["targets"][0]
    parts.document["targets"] = [{**one, "name": f"a{i}"} for i in range(4096)]
    return parts.restate().pack()


case(
    "4,096 targets on the same rows",
    many_targets,
    r"targets: expected disjoint rows, .*and \d+ more",
)
field(
    "targets",
    [{"name": f"a{i}", "module": "m", "rows": [i, i + 1], "in_features": 1, "rank": 1}
     for i in range(4097)],
    "targets: ",
    "4,097 targets",
)  # fmt: skip

# tensors ----------------------------------------------------------------------------------------
for key in (U, S, VH, "head.weight", "head.bias"):
    for number in (np.nan, np.inf, -np.inf):
        tensor(f"{key} with {number}", poke(key, number), rf"\b{key}: expected finite numbers")
    tensor(f"{key} missing", lambda t, k=key: t.pop(k), rf"\b{key}: missing")
    for kind in (np.float64, np.float16, np.int32):
        tensor(
            f"{key} as {kind.__name__}",
            assign(key, lambda a, k=kind: a.astype(k)),
            rf"\b{key}: expected float32, got ",
        )
    tensor(
        f"{key} with a dimension more",
        assign(key, lambda a: a[None]),
        rf"\b{key}: expected shape ",
    )
    tensor(f"{key} empty", assign(key, lambda a: a[:0]), rf"\b{key}: expected shape ")
for key in (U, VH, "head.weight"):
    tensor(f"{key} transposed", assign(key, lambda a: a.T), rf"\b{key}: expected shape ")
for key in ("head.scale", "profile.mean", "calibration.temperature", "gram.blocks.0", "delta.x.U"):
    tensor(
        f"an extra tensor {key}",
        lambda t, k=key: t.update({k: np.zeros(1, np.float32)}),
        rf"\b{key}: expected no such tensor",
    )
tensor(
    "an extra tensor with an unprintable name",
    lambda t: t.update({"\x1b[2J\n" + "x" * 500: np.zeros(1, np.float32)}),
    r"\\x1b\[2J\\nx{10,120}: expected no such tensor",
)
tensor("columns of U too long", assign(U, lambda a: a * 1.01), rf"\b{U}: expected orthonormal")
tensor("rows of Vh too long", assign(VH, lambda a: a * 1.01), rf"\b{VH}: expected orthonormal")
tensor("U of zeros", assign(U, np.zeros_like), rf"\b{U}: expected orthonormal")
tensor("equal columns in U", assign(U, lambda a: a[:, [0, 0]]), rf"\b{U}: expected orthonormal")
tensor("equal rows in Vh", assign(VH, lambda a: a[[0, 0]]), rf"\b{VH}: expected orthonormal")
tensor("U beyond float32's squares", assign(U, lambda a: a * 1e30), rf"\b{U}: expected orthonormal")
tensor("S from small to large", assign(S, lambda a: a[::-1]), rf"\b{S}: expected values from large")
tensor("S below zero", poke(S, -1e-6), rf"\b{S}: expected values from large")
tensor(
    "ordinal thresholds from small to large",
    assign("head.bias", lambda a: a[::-1]),
    r"head\.bias: expected thresholds from large to small",
    lambda: valid("ordinal"),
)

# grams ------------------------------------------------------------------------------------------
MODULE = "blocks.0.attn.qkv"
VECTORS, VALUES, REST = (f"gram.{MODULE}.{part}" for part in ("vectors", "values", "rest"))


def gram_tensor(name: str, change: Callable[..., object], says: str) -> None:
    tensor(name, change, says, with_grams)


def gram_document(name: str, change: Callable[..., object], says: str) -> None:
    def mutation() -> bytes:
        parts = Parts.of(with_grams())
        change(parts.document)
        return parts.restate().pack()

    case(name, mutation, says)


for key in (VECTORS, VALUES, REST):
    for number in (np.nan, np.inf, -np.inf):
        gram_tensor(f"{key} with {number}", poke(key, number), rf"\b{key}: expected finite")
    gram_tensor(f"{key} missing", lambda t, k=key: t.pop(k), rf"\b{key}: missing")
    gram_tensor(f"{key} empty", assign(key, lambda a: a[:0]), rf"\b{key}: expected shape ")
    gram_tensor(
        f"{key} as float64",
        assign(key, lambda a: a.astype(np.float64)),
        rf"\b{key}: expected float32, got float64",
    )
gram_tensor("vectors transposed", assign(VECTORS, lambda a: a.T), rf"{VECTORS}: expected shape ")
gram_tensor("vectors too long", assign(VECTORS, lambda a: 1.01 * a), rf"{VECTORS}: expected ortho")
gram_tensor(
    "equal vectors", assign(VECTORS, lambda a: a[:, [0, 0, 1, 2]]), rf"{VECTORS}: expected ortho"
)
gram_tensor(
    "values from small to large", assign(VALUES, lambda a: a[::-1]), rf"{VALUES}: expected values"
)
gram_tensor("values below rest", poke(REST, 1e6), rf"{VALUES}: expected values from large to small")
gram_tensor("rest below zero", poke(REST, -1e-6), rf"{REST}: expected a number not below 0")
gram_tensor("a value below zero", poke(VALUES, -1e-6), rf"{VALUES}: expected values")
gram_tensor(
    "a Gram of a module that is no target's",
    lambda t: t.update({"gram.blocks.7.values": np.zeros(4, np.float32)}),
    r"\bgram\.blocks\.7\.values: expected no such tensor",
)
for value in (None, [], 4, "x"):
    field("grams", value, r"\bgrams: ", content=with_grams)
field("grams", {}, r"\bgrams: ", "grams empty beside their tensors", with_grams)
field("grams", {}, r"\bgrams: ", "grams empty in a brick without")
field("grams", None, r"\bgrams: ", "grams null in a brick without")
for value in (0, -1, 1025, 2**62, 4.0, "4", None):
    gram_document(
        f"{value!r} directions",
        lambda d, v=value: d["grams"][MODULE].update(directions=v),
        r"grams\.blocks\.0\.attn\.qkv\.directions: ",
    )
for value in (49, 0, -50, 50.0, "50", None):
    gram_document(
        f"a Gram of {value!r} images",
        lambda d, v=value: d["grams"][MODULE].update(images=v),
        r"grams\.blocks\.0\.attn\.qkv\.images: ",
    )
gram_document(
    "more directions than inputs",
    lambda d: d["grams"][MODULE].update(directions=25),
    rf"grams: {MODULE}: expected at most 24 directions, got 25",
)
gram_document(
    "another number of directions",
    lambda d: d["grams"][MODULE].update(directions=3),
    rf"{VECTORS}: expected shape \(24, 3\), got \(24, 4\)",
)
gram_document(
    "a Gram with more to say",
    lambda d: d["grams"][MODULE].update(patients=50),
    r"grams\.blocks\.0\.attn\.qkv\.patients: .*'patients'; known are directions, images",
)
gram_document(
    "a Gram without its images",
    lambda d: d["grams"][MODULE].pop("images"),
    r"grams\.blocks\.0\.attn\.qkv\.images: expected a value, got none",
)
gram_document("a module without its Gram", lambda d: d["grams"].pop(MODULE), f"{MODULE}: missing")
gram_document(
    "a Gram of another module",
    lambda d: d["grams"].update({"\x1b[2J": {"directions": 4, "images": 50}}),
    r"grams: .*expected the module of a target|without control characters",
)

# profiles ---------------------------------------------------------------------------------------


def profile_tensor(name: str, change: Callable[..., object], says: str) -> None:
    tensor(name, change, says, with_profile)


def profile_field(key: str, value: Any) -> None:
    says = rf"\bprofile\.{key}\b"
    field(f"profile.{key}", value, says, content=with_profile)


for part in ("mean", "scale", "vectors", "values", "rest", "distance"):
    key = f"profile.{part}"
    for number in (np.nan, np.inf, -np.inf):
        profile_tensor(f"{key} with {number}", poke(key, number), rf"\b{key}: expected finite")
    profile_tensor(f"{key} missing", lambda t, k=key: t.pop(k), rf"\b{key}: missing")
    profile_tensor(f"{key} empty", assign(key, lambda a: a[:0]), rf"\b{key}: expected shape ")
    tensor(
        f"{key} in a brick without a profile",
        lambda t, k=key: t.update({k: np.zeros(2, np.float32)}),
        rf"\b{key}: expected no such tensor",
    )
profile_tensor("a scale of 0", poke("profile.scale", 0), r"scale: expected numbers above 0, got 0")
profile_tensor("no rest", poke("profile.rest", 0), r"rest: expected a number above 0, got 0")
profile_tensor(
    "a deviation of 0",
    assign("profile.distance", lambda a: a * 0),
    r"distance: expected a deviation above 0",
)
profile_tensor(
    "profile vectors too long",
    assign("profile.vectors", lambda a: 1.01 * a),
    r"profile\.vectors: expected ortho",
)
profile_tensor(
    "profile values from small to large",
    assign("profile.values", lambda a: a[::-1]),
    r"profile\.values: expected values from large to small",
)
for value in (0, -1, 17, 3, 4.0, "4", None):
    says = r"profile\.vectors: expected shape" if value == 3 else r"\bprofile\.directions\b"
    field("profile.directions", value, says, content=with_profile)
for value in (15, 0, -50, 50.0, "50", None):
    profile_field("images", value)
for value in (-1, 1025, 1.0, "1", None):
    profile_field("blocks", value)
for value in (1, "x", {}, {"epsilon": 1.0}, {"epsilon": 0.0, "delta": 0.1}, [1.0, 0.1]):
    profile_field("noise", value)
for value in ({"epsilon": 1.0, "delta": 1.0}, {"epsilon": 1e9, "delta": 0.1}):
    profile_field("noise", value)
for value in (None, [], 4, "x", {}):
    field("profile", value, r"\bprofile\b", f"profile {value!r} beside its tensors", with_profile)
field("profile", None, r"\bprofile: ", "profile null in a brick without")

# calibration ------------------------------------------------------------------------------------


def calibration_field(path: str, value: Any) -> None:
    whole, dot, _ = path.rpartition(".")
    says = rf"\bcalibration\.{whole if dot else path}\b"
    field(f"calibration.{path}", value, says, content=with_calibration)


for value in (0, -1, 1.0, "50", None):
    calibration_field("images", value)
for value in (-0.5, "1", None):
    calibration_field("loss_before", value)
for value in ("isotonic", "temperature", "none", "beta", None, 1):
    calibration_field("maps.0.method", value)
for value in (0.0, -2.0, "2", None):
    calibration_field("maps.0.slope", value)
for value in ([], [1.0, 2.0], ["0"], [None], 0.0):
    calibration_field("maps.0.x", value)
for value in (1.0, 0.0, None, "0.9"):
    calibration_field("operating.value", value)
for value in ([], [0.5, 0.5], [1.0], [0.0], ["0.5"], None):
    calibration_field("operating.thresholds" if value != [] else "operating", value)
for value in (None, [], {}, 4, "x"):
    field("calibration", value, r"\bcalibration\b", f"calibration {value!r}", with_calibration)
    field("calibration", value, r"\bcalibration\b", f"calibration {value!r} in a brick without")
field("calibration.more", 1, r"\bcalibration\.more\b", content=with_calibration)
field(
    "task.kind",
    "multiclass",
    r"calibration\.maps\.0: expected none, temperature for a multiclass task, got platt",
    "a calibration of another kind of task",
    with_calibration,
)
gram_document(
    "a Gram of a module of two widths",
    lambda d: d["targets"][0].update(in_features=25),
    rf"grams: {MODULE}: expected targets of one width, got \[24, 25\]",
)
gram_document("no document of Grams", lambda d: d.pop("grams"), "gram.*: expected no such tensor")

# digest -----------------------------------------------------------------------------------------
STATED: str = Parts.of(valid()).document["digest"]
KEY = f'"digest":"{STATED}"'
ALTERED = rf"digest: expected {STATED}, .*got %s; the file was altered or damaged"


def stated(name: str, value: Any, got: str) -> None:
    def mutation() -> bytes:
        parts = Parts.of(valid())
        parts.document["digest"] = value
        return parts.pack()

    case(f"digest {name}", mutation, ALTERED % got)


case("without digest", lambda: without("digest").pack(), ALTERED % "none")
stated("null", None, "none")
stated("of another brick", "0" * 64, f"'{'0' * 64}'")
stated("in upper case", STATED.upper(), f"'{STATED.upper()}'")
stated("cut short", STATED[:-1], f"'{STATED[:-1]}'")
stated("empty", "", "''")
stated("a number", 5, "5")
stated("a list", [STATED], rf"\['{STATED}'\]")
stated("an object", {"sha256": STATED}, r"\{'sha256': .*")
text("digest twice", lambda t: t.replace('"digest":', '"digest":"","digest":', 1), "a key stands")
text("digest in front", lambda t: f"{{{KEY},{t[1:].replace(KEY + ',', '', 1)}", SPELLING)


def unstated(name: str, change: Callable[[Parts], object]) -> None:
    """Refuse a sound brick that is not the one whose digest the file states."""

    def mutation() -> bytes:
        parts = Parts.of(valid())
        change(parts)
        return parts.pack()

    case(
        name, mutation, rf"digest: expected (?!{STATED})\w+, .*got '{STATED}'; the file was altered"
    )


unstated("another label", lambda p: p.document["task"]["labels"].reverse())
unstated("another setting", lambda p: p.document["settings"].update(seed=1))
unstated("a head with a bit turned", lambda p: flip(p.tensors["head.weight"]))
unstated("singular values with a bit turned", lambda p: flip(p.tensors[S]))
unstated("two tensors swapped", lambda p: swap(p.tensors, S, "delta.blocks.0.attn.v.S"))


def flip(values: np.ndarray) -> None:
    values.view(np.uint32).flat[-1] ^= 1


def swap(tensors: dict[str, np.ndarray], one: str, other: str) -> None:
    tensors[one], tensors[other] = tensors[other], tensors[one]


# header entries ---------------------------------------------------------------------------------
WHOLE = "tensors: expected a whole"
broken_entries: dict[str, dict[str, Any]] = {
    "that overlaps another": {"data_offsets": [4, 12]},
    "beyond the file": {"data_offsets": [2**40, 2**40 + 8]},
    "at the end of the address space": {"data_offsets": [2**64 - 8, 2**64 - 1]},
    "with offsets beyond 64 bits": {"data_offsets": [2**64, 2**64 + 8]},
    "before the file": {"data_offsets": [-8, 0]},
    "with offsets turned round": {"data_offsets": [8, 0]},
    "with half an offset": {"data_offsets": [0.5, 8.5]},
    "with one offset": {"data_offsets": [0]},
    "with three offsets": {"data_offsets": [0, 4, 8]},
    "with offsets in text": {"data_offsets": "0:8"},
    "of more values than its bytes": {"shape": [2_000_000_000]},
    "of a size beyond 64 bits": {"shape": [2**33, 2**33]},
    "of a negative size": {"shape": [-2]},
    "of half a size": {"shape": [1.5]},
    "of very many dimensions": {"shape": [1] * 100_000},
    "of an unknown type": {"dtype": "F31"},
    "without a type": {"dtype": None},
}
for name, values in broken_entries.items():
    says = "tensors: expected a whole|: expected shape|header: .* is not a 64-bit integer"
    entries(f"an entry {name}", entry(S, **values), says)
for dtype in ("F4", "F6_E2M3", "F8_E8M0", "F8_E4M3", "BF16", "C64", "U16", "BOOL"):
    entries(
        f"an entry of type {dtype}", entry(S, dtype=dtype), "tensors: |: expected float32, got "
    )
entries("an entry without a shape", lambda h: h[S].pop("shape"), rf"\b{S}: expected exactly dtype")
entries("an entry with more to say", entry(S, note="x"), rf"\b{S}: expected exactly dtype, shape")
entries("an entry that is text", lambda h: h.update({S: "F32"}), rf"\b{S}: expected exactly dtype")


def gap() -> bytes:
    def widen(header: dict[str, Any]) -> None:
        last = max(header.values(), key=lambda e: e["data_offsets"][1])
        last["data_offsets"] = [offset + 4 for offset in last["data_offsets"]]

    return Parts.of(valid()).with_entries(widen) + bytes(4)


def shared() -> bytes:
    def alias(header: dict[str, Any]) -> None:
        header[S]["data_offsets"] = header["delta.blocks.0.attn.v.S"]["data_offsets"]

    return Parts.of(valid()).with_entries(alias)


case("a gap between tensors", gap, WHOLE)
case("two tensors on the same bytes", shared, WHOLE)


def claims(rows: int, rank: int) -> bytes:
    """A document whose target would need `rows * rank` floats, and the tensors as they were."""
    parts = Parts.of(valid())
    parts.document["targets"][0] |= {"rows": [0, rows], "in_features": rows, "rank": rank}
    return parts.with_entries(
        lambda header: header[U].update(shape=[rows, rank], data_offsets=[0, 4 * rows * rank])
    )


case("half a gigabyte that is not there", lambda: claims(1 << 17, 1024), WHOLE)


@pytest.mark.parametrize("name", CASES)
def test_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    mutation, says = CASES[name]
    path = tmp_path / "x.brick.safetensors"
    path.write_bytes(mutation())
    with pytest.raises(BrickError, match=f"(?s){says}") as caught:
        load_brick(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message) < 10_000
    assert message.replace("\n  - ", "").isprintable()


def test_there_are_at_least_forty_hostile_files() -> None:
    contents = {mutation() for mutation, _ in CASES.values()}
    assert len(contents) == len(CASES) >= 40


def test_restating_a_sound_brick_changes_nothing() -> None:
    assert Parts.of(valid()).restate().pack() == Parts.of(valid()).pack()


def test_another_problem_is_named_before_the_digest() -> None:
    parts = Parts.of(valid())
    parts.document["digest"] = "0" * 64
    parts.tensors["head.bias"][0] = np.nan
    with pytest.raises(
        BrickError, match=r"^x: head\.bias: expected finite numbers, got NaN[^\n]*$"
    ):
        brick_from_bytes(parts.pack(), "x")


def test_taking_apart_and_packing_alone_keeps_the_brick() -> None:
    packed = Parts.of(valid()).pack()
    assert brick_from_bytes(packed, "x").digest == brick_from_bytes(valid(), "x").digest


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrickError, match=r"x: expected a brick file, found nothing there"):
        load_brick(tmp_path / "x")


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrickError, match=r"expected a brick file, got a folder or dev"):
        load_brick(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="needs a device")
def test_device_is_refused_before_it_is_read() -> None:
    with pytest.raises(BrickError, match=r"^/dev/null: expected a brick file, got a fol"):
        load_brick("/dev/null")


def test_file_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(BrickError, match=r"x: expected at most 1,073,741,824 bytes, got 1,073,741"):
        load_brick(path)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told in kilobytes there")
@pytest.mark.parametrize(
    "name",
    [
        "half a gigabyte that is not there",
        "an entry of more values than its bytes",
        "targets.0.rank is 1000000000000",
        "header claims 9223372036854775808 bytes",
        "4,096 targets on the same rows",
    ],
)
def test_claims_allocate_nothing(name: str) -> None:
    import resource

    content = CASES[name][0]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BrickError):
        brick_from_bytes(content, "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_all_problems_come_in_one_error() -> None:
    parts = Parts.of(valid())
    parts.tensors["head.bias"][0] = np.nan
    parts.tensors[S] = parts.tensors[S][::-1].copy()
    del parts.tensors["delta.blocks.0.attn.v.U"]
    with pytest.raises(BrickError, match=r"^x: 3 problems\n") as caught:
        brick_from_bytes(parts.pack(), "x")
    assert str(caught.value).count("\n  - ") == 3


def test_more_problems_than_fit_are_counted() -> None:
    parts = Parts.of(valid())
    for i in range(100):
        parts.tensors[f"extra.{i}"] = np.zeros(1, np.float32)
    with pytest.raises(BrickError, match="and 80 more") as caught:
        brick_from_bytes(parts.pack(), "x")
    assert str(caught.value).count("\n  - ") == MAX_PROBLEMS + 1


def test_several_bad_files_come_in_one_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BrickError, match="2 problems") as caught:
        load_bricks([tmp_path / "a", tmp_path / "b"])
    assert all(f"{tmp_path / name}: header: " in str(caught.value) for name in ("a", "b"))


def test_one_bad_file_of_several_is_named(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(valid())
    (tmp_path / "bad").write_bytes(b"")
    with pytest.raises(BrickError, match=r"^\S*/bad: header: "):
        load_bricks([tmp_path / "good", tmp_path / "bad"])


def test_file_laid_out_in_another_way_has_the_same_digest() -> None:
    parts = Parts.of(valid())
    parts.tensors = dict(reversed(parts.tensors.items()))
    packed = parts.pack()
    assert packed != valid()
    assert brick_from_bytes(packed, "x").digest == brick_from_bytes(valid(), "x").digest
