"""Make files as the first release wrote them, with the answers it gave; their bytes are committed.

    PYTHONPATH=tests python tests/golden/make_first_release.py

The committed files were written before the packages were rearranged. They must load, and answer
alike, for as long as their format numbers are read. Run this only to add files, never to make a
failing test pass.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from factories import make_base, make_brick, with_calibration, with_grams, with_profile
from medlego.base import Base
from medlego.bricks import (
    SIGNATURE_SUFFIX,
    Brick,
    Card,
    Head,
    RefitHead,
    Signer,
    save_brick,
    save_head,
    save_signature,
    sign_brick,
)
from medlego.exchange import Store
from medlego.generalist import Generalist, add, assemble, remove, undo, update
from medlego.images import Image, from_array
from medlego.prediction import predict
from medlego.train import with_heads

HERE = Path(__file__).parent / "first_release"
SIGNER_SEED = bytes(range(32))


def images() -> list[Image]:
    """Three images of noise, 20 × 24."""
    generator = np.random.default_rng(7)
    return [from_array(generator.integers(0, 256, (20, 24), dtype=np.uint8)) for _ in range(3)]


def bricks() -> dict[str, Brick]:
    """One brick a kind of task, with every optional part on some of them."""
    multiclass = with_profile(with_calibration(make_brick("grade", 1)), center=0.0)
    binary = with_profile(make_brick("nodule", 2, kind="binary"), center=4.0, seed=1)
    multilabel = with_profile(make_brick("findings", 3, kind="multilabel"), center=-4.0, seed=2)
    ordinal = with_grams(make_brick("stage", 4, kind="ordinal"))
    prepared = replace(
        with_profile(make_brick("grade", 5), seed=3),
        settings={"rank": 2, "merge_aware": True, "refit_company": ["0" * 64]},
        card=Card(data="random numbers", images={"train": {"label-0": 5, "label-1": 7}}),
    )
    return {
        "grade": multiclass,
        "nodule": binary,
        "findings": multilabel,
        "stage": ordinal,
        "grade-2": prepared,
    }


def generalists(made: dict[str, Brick]) -> dict[str, Generalist]:
    """A routed one that was edited and undone, and a merged one with a refitted head."""
    routed = assemble([made["grade"], made["nodule"]])
    routed = add(routed, made["findings"])
    routed = update(routed, made["grade-2"])
    routed = undo(remove(routed, "nodule"))
    merged = assemble(
        [made["grade"], made["grade-2"], made["stage"]],
        "ties",
        coefficients=0.5,
        mode="merged",
        slope=0.5,
    )
    head = made["stage"].head
    refit = RefitHead(
        model=merged.recipe.model,
        task=made["stage"].task,
        head=Head(head.weight * 2, head.bias),
        settings={"strength": 1.0},
        card=Card(images={"train": {"label-0": 5}}),
    )
    return {"routed": routed, "merged": with_heads(merged, [refit])}


def answers(generalist: Generalist, base: Base) -> list[list[dict[str, object]]]:
    """Per image what every task answers."""
    predictions = predict(generalist, images(), base=base, every_task=True)
    return [
        [{"task": a.task.name, "labels": list(a.labels), "probs": list(a.probs)} for a in p.answers]
        for p in predictions
    ]


def main() -> None:
    """Write everything anew."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    torch.set_num_threads(1)
    base, made = make_base(), bricks()
    signer = Signer(Ed25519PrivateKey.from_private_bytes(SIGNER_SEED))
    for name, brick in made.items():
        save_brick(brick, HERE / f"{name}.brick.safetensors")
    save_signature(
        sign_brick(made["grade"], signer), HERE / f"grade.brick.safetensors{SIGNATURE_SUFFIX}"
    )
    store = Store(HERE / "store")
    for brick in list(made.values())[:2]:
        store.add(brick)
    (store.path / ".lock").unlink(missing_ok=True)
    expected: dict[str, object] = {
        "bricks": {name: brick.digest for name, brick in made.items()},
        "store": store.digests(),
    }
    for name, generalist in generalists(made).items():
        generalist.save(HERE / name)
        expected[name] = {
            "recipe": generalist.recipe.digest,
            "lineage": generalist.lineage[-1].digest,
            "answers": answers(generalist, base),
        }
        for refit in generalist.heads.values():
            save_head(refit, HERE / f"{name}.head.safetensors")
            expected[f"{name} head"] = refit.digest
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
