"""Verification: an honest directory holds, and every way to break a claim is found."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from factories import make_base, make_brick, make_bricks
from medlego.bricks import Card, RefitHead, save_brick
from medlego.errors import GeneralistError
from medlego.generalist import (
    Generalist,
    add,
    assemble,
    difference,
    editing,
    remove,
    update,
    verify,
    withdraw,
)
from medlego.generalist.document import BRICKS
from medlego.generalist.merged_file import merged_bytes
from medlego.generalist.verify import TOLERANCE, relative_distance
from medlego.train import with_heads

BASE = make_base(depth=1)
A, B, C = make_bricks("abc", BASE)


def saved(generalist: Generalist, folder: Path) -> Path:
    generalist.save(folder / "g")
    return folder / "g"


def change_document(directory: Path, **fields: object) -> None:
    file = directory / "generalist.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, **fields}))


def exchange_merged(directory: Path, other: Generalist) -> None:
    """Put another merge in the place of this one, as whoever lies about a brick would."""
    content = merged_bytes(other.deltas)
    digest = hashlib.sha256(content).hexdigest()
    (file,) = (directory / "merged").iterdir()
    file.unlink()
    file.with_name(f"{digest}.safetensors").write_bytes(content)
    change_document(directory, merged_sha256=digest)


def failed(directory: Path) -> list[str]:
    return [check.claim for check in verify(directory) if not check.holds]


def test_every_claim_about_an_honest_directory_holds(tmp_path):
    directory = saved(withdraw(add(assemble([A, B]), C), "a"), tmp_path)
    checks = verify(directory)
    assert all(check.holds for check in checks)
    assert len(checks) == 7


def test_deltas_of_a_brick_that_the_recipe_does_not_name_are_found(tmp_path):
    directory = saved(remove(assemble([A, B, C]), "a"), tmp_path)
    exchange_merged(directory, assemble([A, B, C]))
    assert failed(directory) == ["merged anew from these bricks alone, the deltas are the same"]


@pytest.mark.parametrize(("other", "count"), [([B, C], 0), ([A, B, C], 1)])
def test_made_elsewhere_deltas_are_compared_to_a_tolerance(other, count, tmp_path):
    directory = saved(remove(assemble([A, B, C]), "a"), tmp_path)
    exchange_merged(directory, assemble(other))
    change_document(directory, made_on={"torch": "1.0", "machine": "abacus"})
    assert len(failed(directory)) == count
    assert any(f"to {TOLERANCE:g}, since" in check.claim for check in verify(directory))


@pytest.mark.parametrize(
    "place",
    [
        "g/bricks/.{0}.brick.safetensors.abcdefgh.tmp",
        "g/signatures/.{0}.sig.json.abcdefgh.tmp",
        ".g.abcdefgh.tmp/bricks/{0}.brick.safetensors",
        "g/merged/{0}.safetensors",
        "g/heads/{0}.head.safetensors",
    ],
)
def test_what_interrupted_edits_left_is_found_and_the_next_edit_deletes_it(tmp_path, place):
    directory = saved(withdraw(add(assemble([A, B]), C), "a"), tmp_path)
    left = tmp_path / place.format(A.digest)
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"")
    assert failed(directory)[-1] == "interrupted edits left nothing"
    with editing(directory):
        assert all(check.holds for check in verify(directory)), "it may be the editor's own"
        before = Generalist.load(directory)
        remove(before, "c").commit(directory, after=before)
    assert not left.exists()
    assert not failed(directory)


def test_what_is_written_beside_by_others_is_left_alone(tmp_path):
    directory = saved(add(assemble([A, B]), C), tmp_path)
    (tmp_path / ".g.b.abcdefgh.tmp").mkdir()
    (tmp_path / ".g.abcdefgh.tmp").write_bytes(b"a file's")
    (tmp_path / ".gg.abcdefgh.tmp").mkdir()
    (tmp_path / ".g.backup.tmp").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".g.hgfedcba.tmp").symlink_to(tmp_path / "elsewhere")
    (directory / ".card.md.abcdefgh.tmp").write_bytes(b"somebody writes a card")
    before = Generalist.load(directory)
    remove(before, "c").commit(directory, after=before)
    assert len(list(tmp_path.glob(".*.tmp"))) == 5
    assert (directory / ".card.md.abcdefgh.tmp").exists()
    assert not failed(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
def test_a_folder_of_somebody_else_beside_does_not_stop_an_edit(tmp_path):
    directory = saved(add(assemble([A, B]), C), tmp_path)
    (tmp_path / ".g.abcdefgh.tmp").mkdir()
    os.chown(tmp_path / ".g.abcdefgh.tmp", 12345, 12345)
    before = Generalist.load(directory)
    remove(before, "c").commit(directory, after=before)
    assert (tmp_path / ".g.abcdefgh.tmp").exists()
    assert not failed(directory)


def test_heads_of_other_tasks_outlive_a_withdrawal_and_a_lost_one_is_found(tmp_path):
    first = assemble([A, B, C])
    head = RefitHead(first.recipe.model, A.task, A.head, {}, Card())
    directory = saved(withdraw(with_heads(first, [head]), "c"), tmp_path)
    before = Generalist.load(directory)
    add(before, C, after_withdrawal=True, allow_older=True).commit(directory, after=before)
    assert not failed(directory)
    (file,) = (directory / "heads").iterdir()
    file.unlink()
    assert failed(directory) == ["every earlier state can be rebuilt, except withdrawn bricks"]


def test_a_withdrawn_brick_whose_file_is_back_is_found(tmp_path):
    directory = saved(withdraw(assemble([A, B]), "a"), tmp_path)
    save_brick(A, BRICKS.file(directory, A.digest))
    gone = f"brick {A.digest[:12]}, withdrawn in entry 1, is gone"
    assert failed(directory) == [gone, "interrupted edits left nothing"]


@pytest.mark.parametrize("lost", ["bricks", "recipes"])
def test_a_state_that_can_no_longer_be_rebuilt_is_found(lost, tmp_path):
    first = assemble([A, B])
    directory = saved(remove(first, "a"), tmp_path)
    names = {"bricks": BRICKS.file(Path(), A.digest).name, "recipes": f"{first.recipe.digest}.json"}
    (directory / lost / names[lost]).unlink()
    assert failed(directory) == ["every earlier state can be rebuilt, except withdrawn bricks"]


def test_coefficients_that_the_rule_does_not_give_are_found(tmp_path):
    made = assemble([A, B], coefficients=[0.5, 0.6])
    recipe = made.recipe.model_copy(update={"coefficients": "root"})
    entry = made.lineage[0].model_copy(update={"recipe": recipe.digest})
    directory = saved(made, tmp_path)
    change_document(
        directory,
        recipe=recipe.model_dump(mode="json"),
        lineage=[entry.model_dump(mode="json")],
    )
    claims = failed(directory)
    assert claims[0] == "the rule 'root' gives the recipe's coefficients and slope"


def test_a_difference_names_bricks_coefficients_and_targets():
    newer = make_brick("a", seed=9, base=BASE)
    generalist = add(update(assemble([A, B]), newer), C)
    diff = difference(generalist, 0, 2)
    assert [item.digest for item in diff.added] == [newer.digest, C.digest]
    assert [item.digest for item in diff.removed] == [A.digest]
    assert list(diff.coefficients) == [B.digest]
    assert set(diff.by_target) == set(generalist.deltas)
    assert diff.sizes == (
        sum(d.parameters for d in assemble([A, B]).deltas.values()),
        sum(d.parameters for d in generalist.deltas.values()),
    )


def test_the_distance_on_factors_is_that_of_the_dense_deltas():
    a, b = assemble([A, B]), assemble([B, C])
    apart = sum(float((a.deltas[n].dense() - b.deltas[n].dense()).square().sum()) for n in a.deltas)
    whole = sum(float(a.deltas[n].dense().square().sum()) for n in a.deltas)
    assert relative_distance(a.deltas, b.deltas) == pytest.approx((apart / whole) ** 0.5, rel=1e-4)


def test_a_state_is_no_distance_from_itself():
    generalist = add(assemble([A, B]), C)
    diff = difference(generalist, 1, 1)
    assert (diff.added, diff.removed, dict(diff.settings)) == ((), (), {})
    assert diff.relative < 1e-6


def test_a_difference_to_an_entry_that_is_not_there_is_refused():
    with pytest.raises(GeneralistError, match="entry: expected 0 to 0, got 7"):
        difference(assemble([A, B]), 0, 7)
