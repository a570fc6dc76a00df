"""Generalist directories that were damaged or forged: each refused, the file and field named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from factories import make_base, make_brick
from medlego.bricks import Brick, save_brick
from medlego.data.task import Code
from medlego.errors import MedLegoError
from medlego.generalist import Generalist, add, assemble, redo, undo
from medlego.merge import Recipe

UNSTATED = "lineage: expected the recipe's digest"
DOCUMENT, MERGED = "generalist.json", "merged"
FACTOR = "delta.blocks.0.attn.q.U"

Damage = Callable[[Path], object]
CASES: dict[str, tuple[Damage, str]] = {}


def case(name: str, damage: Damage, says: str) -> None:
    assert name not in CASES
    CASES[name] = damage, says


def text(name: str, change: Callable[[str], str], says: str) -> None:
    """Change the document's text."""

    def damage(folder: Path) -> None:
        before = (folder / DOCUMENT).read_text()
        after = change(before)
        assert after != before
        (folder / DOCUMENT).write_text(after)

    case(name, damage, rf"{DOCUMENT}: {says}")


def field(path: str, value: Any, says: str, name: str | None = None) -> None:
    """Set or add one field of the document."""

    def damage(folder: Path) -> None:
        document = json.loads((folder / DOCUMENT).read_text())
        *parents, last = path.split(".")
        place: Any = document
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        place[int(last) if isinstance(place, list) else last] = value
        (folder / DOCUMENT).write_text(json.dumps(document))

    case(name or f"{path} is {value!r:.30}", damage, says)


def without(path: str, says: str) -> None:
    """Take one field of the document away."""

    def damage(folder: Path) -> None:
        document = json.loads((folder / DOCUMENT).read_text())
        *parents, last = path.split(".")
        place = document
        for key in parents:
            place = place[key]
        del place[int(last) if isinstance(place, list) else last]
        (folder / DOCUMENT).write_text(json.dumps(document))

    case(f"without {path}", damage, rf"{DOCUMENT}: {says}")


def merged(
    name: str,
    change: Callable[[dict[str, torch.Tensor]], object],
    says: str,
    metadata: dict[str, str] | None = None,
) -> None:
    """Change the merged deltas and state the digest of what they now are."""

    def damage(folder: Path) -> None:
        before = merged_file(folder)
        tensors = load_file(before)
        change(tensors)
        content = save(tensors, metadata=metadata)
        before.unlink()
        document = json.loads((folder / DOCUMENT).read_text())
        document["merged_sha256"] = digest = hashlib.sha256(content).hexdigest()
        (folder / MERGED / f"{digest}.safetensors").write_bytes(content)
        (folder / DOCUMENT).write_text(json.dumps(document))

    case(name, damage, rf"{MERGED}/[0-9a-f]{{64}}\.safetensors: {says}")


def merged_file(folder: Path) -> Path:
    (file,) = (folder / MERGED).iterdir()
    return file


def swap_bricks(folder: Path) -> None:
    first, second = sorted((folder / "bricks").iterdir())[:2]
    first.write_bytes(second.read_bytes())


# the document -----------------------------------------------------------------------------------
case("no document", lambda d: (d / DOCUMENT).unlink(), f"found no {DOCUMENT}")
text("document cut short", lambda t: t[:-3], "expected a JSON object")
text("document an array", lambda t: f"[{t}]", "expected a JSON object, got list")
text("document with a key twice", lambda t: t.replace("{", '{"format": 1,', 1), ".*twice")
text("document with infinity", lambda t: t.replace('"seed": 0', '"seed": Infinity'), ".*finite")
text("document nested without end", lambda _: "[" * 100_000, "expected JSON of at most 100 levels")
for value in (0, 2, "1", True, None):
    field("format", value, "format: ")
field("more", 1, "more: ")
field("recipe.more", 1, r"recipe\.more: ")
field("recipe.bricks", [], r"recipe\.bricks: ")
field("recipe.bricks.0.coefficient", "0.5", r"recipe\.bricks\.0\.coefficient: ")
field("recipe.bricks.0.digest", "0" * 63, r"recipe\.bricks\.0\.digest: ")
field("recipe.bricks.0.digest", "../../x", r"recipe\.bricks\.0\.digest: ", "digest leaves DIR")
field("recipe.bricks.0.digest", "0" * 64, UNSTATED, "digest of no brick")
field("recipe.bricks.0.task", "else", UNSTATED)
field("recipe.method", "magic", r"recipe\.method: expected one of linear, lego")
field("recipe.settings", {"density": 0.5}, r"recipe\.method 'linear': density: .*none is known")
field("recipe.settings", {"x": "y"}, r"recipe\.settings\.x\.", "a setting that is no number")
field("recipe.svc", 1, r"recipe\.svc: ")
field("recipe.rank", 0, r"recipe\.rank: ")
field("recipe.seed", 1, UNSTATED)
field("recipe.sites", "size", r"recipe\.sites: ")
field("recipe.sites", "equal", UNSTATED)
field("recipe.mode", "routed", UNSTATED)
for value in ("some", "", None, 1):
    field("recipe.mode", value, r"recipe\.mode: ")
field("lineage", [], "lineage: ")
field("lineage.0.action", "add\x1b[2J", r"lineage\.0\.action: expected 'assemble'")
field("lineage.0.action", "paint", r"lineage\.0\.action: ")
field("lineage.0.previous", "0" * 64, r"lineage\.0: expected to follow nothing, got 0000")
field("lineage.1.by", "Eve", r"lineage\.2: expected to follow .*an entry was changed or is missing")
field("lineage.3.by", "a\n", r"lineage\.3\.by: ", "a name with a line break")
field("lineage.3.when", "yesterday", r"lineage\.3\.when: ")
field("lineage.3.when", "2026-13-01T00:00:00Z", r"lineage\.3\.when: ", "a month that is none")
field("lineage.3.to", 3, r"lineage\.3\.to: expected an earlier entry, got 3")
field("lineage.3.to", None, r"lineage\.3\.to: expected with undo and redo, and only there")
field("lineage.3.to", 0, r"lineage\.3\.recipe: expected that of entry 0")
without("lineage.2", r"lineage\.2: expected to follow .*an entry was changed or is missing")
without("lineage.0", r"lineage\.0: expected to follow nothing")
without("made_on", "made_on: ")
field("relative_loss", 1.5, "relative_loss: ")
field("merged_sha256", "x", "merged_sha256: ")
field("recipe.bricks.0.head", "0" * 63, r"recipe\.bricks\.0\.head: ")
without("recipe.settings", r"recipe\.settings: ")
without("recipe.rank", r"recipe\.rank: ")
without("recipe.seed", r"recipe\.seed: ")
without("recipe.sites", r"recipe\.sites: ")
without("lineage", "lineage: ")


# the merged deltas ------------------------------------------------------------------------------
def turn_a_bit(folder: Path) -> None:
    content = bytearray(merged_file(folder).read_bytes())
    content[-1] ^= 1
    merged_file(folder).write_bytes(content)


case("no merged deltas", lambda d: merged_file(d).unlink(), "expected the merged deltas")
case("merged deltas with a bit turned", turn_a_bit, r"safetensors: expected SHA-256")
merged("a factor too few", lambda t: t.pop(FACTOR), rf"{FACTOR}: missing")
merged("a factor too many", lambda t: t.update(x=torch.zeros(1)), "x: expected no such tensor")
merged("a factor of NaN", lambda t: t[FACTOR].fill_(float("nan")), rf"{FACTOR}: .*finite")
merged("a factor not orthonormal", lambda t: t[FACTOR].mul_(2), rf"{FACTOR}: .*orthonorm")
merged(
    "a factor in another type",
    lambda t: t.update({FACTOR: t[FACTOR].double()}),
    rf"{FACTOR}: expected float32, got float64",
)
merged(
    "a factor of other rows",
    lambda t: t.update({FACTOR: t[FACTOR][:-1].clone()}),
    rf"{FACTOR}: expected shape",
)
merged("metadata", lambda _: None, "expected no __metadata__", {"medlego": "{}"})

# the bricks -------------------------------------------------------------------------------------
case("a brick gone", lambda d: next((d / "bricks").iterdir()).unlink(), "found nothing there")
case("two bricks swapped", swap_bricks, "the directory was changed")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = make_base()
    bricks = [make_brick(f"task-{i}", seed=i, base=base) for i in range(3)]
    folder = tmp_path_factory.mktemp("whole") / "g"
    redo(undo(add(assemble(bricks[:2]), bricks[2]))).save(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_damaged_directory_is_refused(name: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "g"
    shutil.copytree(whole, folder)
    assert Generalist.load(folder).recipe == Generalist.load(whole).recipe
    damage, says = CASES[name]
    damage(folder)
    with pytest.raises(MedLegoError, match=f"(?s){says}") as caught:
        Generalist.load(folder)
    assert str(folder) in str(caught.value)


# several sites of one task ----------------------------------------------------------------------
def restate(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the recipe and state the digest of what it now is."""
    document = json.loads((folder / DOCUMENT).read_text())
    change(document["recipe"])
    recipe = Recipe.model_validate_json(json.dumps(document["recipe"]))
    assert len(document["lineage"]) == 1
    document["lineage"][-1]["recipe"] = recipe.digest
    (folder / DOCUMENT).write_text(json.dumps(document))


def exchange(brick: Brick) -> Callable[[Path], None]:
    """Put another brick in the second one's place, under its own digest."""

    def damage(folder: Path) -> None:
        save_brick(brick, folder / "bricks" / f"{brick.digest}.brick.safetensors")
        restate(folder, lambda recipe: recipe["bricks"][1].update(digest=brick.digest))

    return damage


def other_task(**fields: Any) -> Brick:
    brick = make_brick("site", seed=1)
    return replace(brick, task=brick.task.model_copy(update=fields))


CODES = tuple(Code(scheme="SCT", value="1", meaning=f"m{i}") for i in range(3))
SITES: dict[str, tuple[Damage, str]] = {
    "counts that no card states": (
        lambda d: restate(d, lambda r: r.update(sites="counts")),
        r"recipe\.sites: task 'site': expected training counts in every card, got none from site ",
    ),
    "a head at one site only": (
        lambda d: restate(d, lambda r: r["bricks"][0].update(head="0" * 64)),
        r"recipe\.bricks: expected one head for all sites of 'site', got several",
    ),
    "another head at each site": (
        lambda d: restate(
            d, lambda r: [b.update(head=f"{i}" * 64) for i, b in enumerate(r["bricks"])]
        ),
        r"recipe\.bricks: expected one head for all sites of 'site', got several",
    ),
    "one brick as two sites": (
        lambda d: restate(d, lambda r: r["bricks"][1].update(digest=r["bricks"][0]["digest"])),
        "expected once, got 2 times",
    ),
    "a site of another kind": (
        exchange(make_brick("site", seed=1, kind="multilabel")),
        "task 'site': expected kind multiclass as in brick 'site ",
    ),
    "a site with one code for all its labels": (
        exchange(other_task(codes=CODES)),
        "expected each label once, got 'label-0' and 'label-1' and 'label-2' for the same one",
    ),
    "a site of another modality": (exchange(other_task(modality="CT")), "expected MR as in brick"),
    "a site on another base": (
        exchange(make_brick("site", seed=1, base=make_base(1))),
        "brick 'site [0-9a-f]{12}': expected base tiny",
    ),
}


@pytest.mark.parametrize("name", SITES)
def test_damaged_directory_of_several_sites_is_refused(name: str, tmp_path: Path) -> None:
    first = make_brick("site")
    first = replace(first, task=first.task.model_copy(update={"modality": "MR"}))
    folder = tmp_path / "g"
    assemble([first, make_brick("site", seed=1)]).save(folder)
    assert len(Generalist.load(folder).tasks) == 1
    damage, says = SITES[name]
    damage(folder)
    with pytest.raises(MedLegoError, match=f"(?s){says}") as caught:
        Generalist.load(folder)
    assert str(folder) in str(caught.value)
