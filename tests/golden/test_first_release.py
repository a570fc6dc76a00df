"""What the first release wrote still loads, is the same by digest, and answers alike."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from factories import make_base
from medlego.bricks import brick_bytes, head_bytes, load_brick, load_head, signature_beside
from medlego.exchange import Store
from medlego.generalist import Generalist, verify

HERE = Path(__file__).parent / "first_release"
EXPECTED = json.loads((HERE / "expected.json").read_text())
SCRIPT = runpy.run_path(str(HERE.parent / "make_first_release.py"))


@pytest.mark.parametrize("name", EXPECTED["bricks"])
def test_a_brick_keeps_its_digest_and_its_bytes(name: str) -> None:
    file = HERE / f"{name}.brick.safetensors"
    brick = load_brick(file)
    assert brick.digest == EXPECTED["bricks"][name]
    assert brick_bytes(brick) == file.read_bytes()


def test_a_signature_still_vouches_for_its_brick() -> None:
    file = HERE / "grade.brick.safetensors"
    signature = signature_beside(file)
    assert signature is not None
    assert signature.digest == load_brick(file).digest


def test_a_refitted_head_keeps_its_digest_and_its_bytes() -> None:
    file = HERE / "merged.head.safetensors"
    head = load_head(file)
    assert head.digest == EXPECTED["merged head"]
    assert head_bytes(head) == file.read_bytes()


def test_a_store_lists_and_gives_its_bricks() -> None:
    store = Store(HERE / "store")
    assert store.digests() == EXPECTED["store"]
    labels, problems = store.labels()
    assert problems == []
    assert [label.digest for label in labels] == [
        store.get(label.digest[:12]).digest for label in labels
    ]


@pytest.mark.parametrize("name", ["routed", "merged"])
def test_a_generalist_keeps_its_identity_and_its_history(name: str) -> None:
    generalist = Generalist.load(HERE / name)
    assert generalist.recipe.digest == EXPECTED[name]["recipe"]
    assert generalist.lineage[-1].digest == EXPECTED[name]["lineage"]


@pytest.mark.parametrize("name", ["routed", "merged"])
def test_a_generalist_answers_as_it_did(name: str) -> None:
    answers = SCRIPT["answers"](Generalist.load(HERE / name), make_base())
    for image, expected in zip(answers, EXPECTED[name]["answers"], strict=True):
        assert [(a["task"], a["labels"]) for a in image] == [
            (a["task"], a["labels"]) for a in expected
        ]
        for answer, recorded in zip(image, expected, strict=True):
            np.testing.assert_allclose(answer["probs"], recorded["probs"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["routed", "merged"])
def test_a_generalist_is_still_what_its_recipe_says(name: str) -> None:
    assert [check.claim for check in verify(HERE / name) if not check.holds] == []
