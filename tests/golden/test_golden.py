"""The committed brick: today's code writes these bytes, and docs/FORMAT.md describes them."""

from __future__ import annotations

import hashlib
import re
import runpy
import struct
from pathlib import Path

import pytest
import torch

from brickparts import Parts
from medlego.base.base import fingerprint
from medlego.bricks import brick_bytes, load_brick

HERE = Path(__file__).parent
FILE = HERE / "golden.brick.safetensors"
DIGEST = "4dd343e68ba8c6ddd708e5fc6ad67f5810b75e3b2164e635ce01251d94d1e07f"
FINGERPRINT = "ca0c846d234698e41d222d78ce647a76deb645dfe673b544ce32abe5bfda1aea"
SCRIPT = runpy.run_path(str(HERE / "make_golden.py"))
PAGE = (HERE.parents[1] / "docs" / "FORMAT.md").read_text(encoding="utf-8")
DOCUMENT = Parts.of(FILE.read_bytes()).document
FIELDS = [
    *DOCUMENT,
    *(f"{part}.{name}" for part in ("base", "task", "card") for name in DOCUMENT[part]),
    *(f"targets[].{name}" for name in DOCUMENT["targets"][0]),
]


def test_code_writes_the_golden_bytes() -> None:
    assert brick_bytes(SCRIPT["golden_brick"]()) == FILE.read_bytes()


def test_code_reads_the_golden_digest() -> None:
    assert load_brick(FILE).digest == DIGEST


def test_reading_and_writing_keeps_the_golden_bytes() -> None:
    assert brick_bytes(load_brick(FILE)) == FILE.read_bytes()


def test_golden_delta_is_the_page_s() -> None:
    shown = re.search(r"The delta is U · diag\(S\) · Vh =\n\n((?: +[\d. ]+\n)+)", PAGE)
    assert shown is not None
    rows = [[float(word) for word in line.split()] for line in shown[1].splitlines()]
    delta = load_brick(FILE).deltas["blocks.0.attn.q"].dense()
    torch.testing.assert_close(delta, torch.tensor(rows), rtol=0, atol=0)


def test_golden_fingerprint_is_the_hash_of_the_page_s_bytes() -> None:
    shown = re.search(r"fingerprint is the SHA-256 of\n\n((?: +[0-9a-f ]+\n)+)", PAGE)
    assert shown is not None
    assert hashlib.sha256(bytes.fromhex(shown[1])).hexdigest() == FINGERPRINT
    assert fingerprint(SCRIPT["BASE_TENSORS"]) == FINGERPRINT
    assert load_brick(FILE).base.fingerprint == FINGERPRINT


def test_page_shows_the_golden_document() -> None:
    shown = re.search(r"```json\n(.*)\n```", PAGE)
    assert shown is not None
    assert shown[1] == Parts.of(FILE.read_bytes()).text()


def test_page_shows_the_golden_file_s_beginning() -> None:
    shown = re.search(r"It begins\n\n +([0-9a-f ]+)\n", PAGE)
    assert shown is not None
    assert FILE.read_bytes().startswith(bytes.fromhex(shown[1]))
    assert f"({len(FILE.read_bytes()):,} bytes" in PAGE


def test_page_shows_the_golden_offsets() -> None:
    shown = re.findall(r"\| `([a-z]\S+)` \| (\d+) to (\d+) \|", PAGE)
    entries = Parts.of(FILE.read_bytes()).header
    assert {n: [int(a), int(b)] for n, a, b in shown} == {
        name: entry["data_offsets"] for name, entry in entries.items()
    }


def test_page_s_reader_prints_the_golden_digest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    monkeypatch.chdir(HERE)
    exec(compile(code[1], "FORMAT.md", "exec"), {})
    assert capsys.readouterr().out.strip() == DIGEST
    assert DIGEST in PAGE


@pytest.mark.parametrize("field", FIELDS)
def test_page_names_every_field_of_the_document(field: str) -> None:
    assert f"`{field}`" in PAGE


def test_golden_tensors_are_where_the_header_says() -> None:
    content = FILE.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert content[8 + length :][:8] == bytes.fromhex("00 00 00 40 00 00 00 3f")
