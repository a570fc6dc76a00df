"""One brick or generalist to a hub on this machine and back: whole and checked, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from factories import make_base, make_bricks
from hubsite import Hub, serve_hub
from medlego.bricks import (
    SIGNATURE_SUFFIX,
    Brick,
    Signer,
    brick_bytes,
    load_brick,
    save_brick,
    save_signature,
    sign_brick,
    signature_beside,
    signature_bytes,
)
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.errors import BrickError, GeneralistError, SignatureError, StoreError
from medlego.evaluation import Facts
from medlego.exchange import Store, from_hub, hub, pull, push, push_to_hub
from medlego.exchange.store import SUFFIX
from medlego.generalist import Generalist, Stamp, Trust, add, assemble, undo

BASE = make_base(depth=1)
A, B, C = make_bricks("abc", BASE)
ADA, EVE = Signer.new(), Signer.new()
PLACE = "clinic/brain"


def trust_in(path: Path, *signers: Signer) -> Path:
    keys = [f'[[key]]\nname = "N{i}"\npublic = "{s.public.text}"\n' for i, s in enumerate(signers)]
    path.write_text("".join(f'{key}roles = ["brick", "edit"]\n' for key in keys))
    return path


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serve_hub(PLACE) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@pytest.fixture
def generalist() -> Generalist:
    """With a past: one brick was added, and another edit was undone."""
    return undo(add(add(assemble([A]), B), C))


def names_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("site")
def test_a_brick_comes_back_as_it_left_with_its_signature(tmp_path):
    save_brick(A, tmp_path / "a")
    save_signature(sign_brick(A, ADA), f"{tmp_path}/a{SIGNATURE_SUFFIX}")
    commit = push_to_hub(tmp_path / "a", PLACE)
    copy = from_hub(PLACE, tmp_path / "b", trust=trust_in(tmp_path / "t.toml", ADA))
    assert (copy.commit, copy.path, copy.signed_by) == (commit, tmp_path / "b", ("N0",))
    assert isinstance(copy.content, Brick)
    assert (tmp_path / "b").read_bytes() == brick_bytes(A)
    signature = signature_beside(tmp_path / "b")
    assert signature is not None
    assert signature.signed_by(ADA.public)


def test_a_push_is_one_commit_of_the_brick_and_its_card(site):
    push_to_hub(A, PLACE, facts=Facts(name="Brain MRI"))
    assert site.commits == [f"Brick a {A.digest[:12]}"]
    assert set(site.files) == {"README.md", f"bricks/{A.digest}{SUFFIX}"}
    card = site.files["README.md"].decode()
    assert card.startswith("---\n")
    assert "library_name: medlego" in card
    assert "Brain MRI" in card
    assert A.digest[:12] in card


@pytest.mark.parametrize("public", [False, True])
def test_a_repository_is_made_private_unless_it_shall_be_public(site, public):
    push_to_hub(A, PLACE, public=public)
    (made,) = site.made
    assert made["visibility"] == ("public" if public else "private")


@pytest.mark.usefixtures("site")
def test_a_generalist_comes_back_whole_with_its_past(tmp_path, generalist):
    push_to_hub(generalist, PLACE)
    copy = from_hub(PLACE, tmp_path / "g")
    back = Generalist.load(tmp_path / "g")
    assert isinstance(copy.content, Generalist)
    assert back.recipe == generalist.recipe == copy.content.recipe
    assert back.lineage == generalist.lineage
    assert copy.content.past.bricks[C.digest].digest == C.digest
    generalist.save(tmp_path / "same")
    assert names_of(tmp_path / "g") == names_of(tmp_path / "same")
    assert (tmp_path / "g").stat().st_mode & 0o777 == 0o755
    assert not list(tmp_path.glob(".*"))


def test_a_newer_brick_takes_the_place_of_the_older_which_its_commit_keeps(site):
    first = push_to_hub(A, PLACE)
    push_to_hub(B, PLACE)
    assert f"bricks/{A.digest}{SUFFIX}" not in site.files
    assert from_hub(PLACE).path.name == f"{B.digest}{SUFFIX}"
    assert from_hub(f"{PLACE}@{first}").path.name == f"{A.digest}{SUFFIX}"
    assert from_hub(PLACE, revision=first).commit == first


def test_what_the_cache_has_of_a_commit_needs_no_network(site, monkeypatch):
    commit = push_to_hub(A, PLACE)
    path = from_hub(PLACE).path
    fetched = list(site.fetched)
    assert from_hub(PLACE).path == path
    assert site.fetched == fetched
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert from_hub(PLACE, revision=commit).path == path


@pytest.mark.usefixtures("site")
def test_the_bricks_of_either_can_be_pulled_into_a_store(tmp_path, generalist):
    push_to_hub(generalist, PLACE)
    store = Store(tmp_path / "store")
    assert set(pull(store, f"hf://{PLACE}")) >= {A.digest, B.digest}


def test_what_is_of_another_kind_is_not_replaced(site, tmp_path, generalist):
    push_to_hub(generalist, PLACE)
    with pytest.raises(StoreError, match="expected one brick's place, got a generalist"):
        push_to_hub(A, PLACE)
    site.files.clear()
    store = Store(tmp_path / "store")
    for brick in (A, B):
        store.add(brick)
    push(store, f"hf://{PLACE}")
    with pytest.raises(StoreError, match="expected one brick's place, got 2 bricks"):
        push_to_hub(A, PLACE)
    with pytest.raises(StoreError, match="expected a generalist's place, got bricks"):
        push_to_hub(generalist, PLACE)
    with pytest.raises(StoreError, match="expected a generalist or one brick, got 2 files"):
        from_hub(PLACE)


def test_two_pushes_at_once_do_not_undo_each_other(site, monkeypatch):
    def late(*_: object) -> None:
        site.commits.append("somebody else's")

    monkeypatch.setattr(hub, "_check_kind", late)
    with pytest.raises(StoreError, match="somebody changed it meanwhile: try again"):
        push_to_hub(A, PLACE)
    assert site.files == {}


def refused(tmp_path: Path, error: type[BaseException], says: str, **options) -> None:
    """Nothing lands, and nothing is left beside."""
    caches = {tmp_path / "hf", tmp_path / "cache"}
    before = set(tmp_path.iterdir()) - caches
    with pytest.raises(error, match=says):
        from_hub(PLACE, tmp_path / "new", **options)
    assert set(tmp_path.iterdir()) - caches == before


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "bricks\\..\\x"])
def test_a_name_that_leads_elsewhere_is_refused(site, tmp_path, name):
    push_to_hub(A, PLACE)
    site.files[name] = b"x"
    refused(tmp_path, StoreError, "expected names below the repository")
    assert site.fetched == []


def test_only_the_files_of_the_format_are_fetched(site, tmp_path):
    push_to_hub(A, PLACE)
    site.files |= {"model.pkl": b"x", "bricks/run.py": b"x", ".gitattributes": b"x"}
    from_hub(PLACE, tmp_path / "new")
    assert {name for name in site.fetched if not name.startswith("bricks/")} == set()
    assert names_of(tmp_path) & {"run.py", "model.pkl"} == set()


@pytest.mark.parametrize("size", [None, (1 << 30) + 1])
def test_a_file_that_is_too_large_or_of_unknown_size_is_not_fetched(site, tmp_path, size):
    push_to_hub(A, PLACE)
    site.sizes[f"bricks/{A.digest}{SUFFIX}"] = size
    refused(tmp_path, StoreError, "expected at most 1,073,741,824 bytes")
    assert site.fetched == []


@pytest.mark.usefixtures("site")
def test_too_many_files_are_not_fetched(tmp_path, monkeypatch):
    push_to_hub(A, PLACE)
    monkeypatch.setattr(hub, "MAX_FILES", 0)
    refused(tmp_path, StoreError, "expected at most 0 files, got 1")
    monkeypatch.setattr(hub, "MAX_BYTES", 99)
    refused(tmp_path, StoreError, "expected at most 99 bytes in all, got ")


def test_a_damaged_brick_does_not_land(site, tmp_path):
    push_to_hub(A, PLACE)
    name = f"bricks/{A.digest}{SUFFIX}"
    site.files[name] = site.files[name][:-1] + b"\x01"
    refused(tmp_path, BrickError, "altered or damaged")


def test_another_brick_under_a_name_does_not_land(site, tmp_path):
    site.files[f"bricks/{A.digest}{SUFFIX}"] = brick_bytes(B)
    says = f"expected the brick that its file names, got {B.digest[:12]}"
    refused(tmp_path, StoreError, says)


def test_a_link_in_place_of_a_brick_does_not_land(site, tmp_path):
    site.files[f"bricks/{A.digest}{SUFFIX}"] = b"../../../etc/passwd"
    refused(tmp_path, BrickError, "expected")


def test_a_generalist_with_other_deltas_does_not_land(site, tmp_path, generalist):
    push_to_hub(generalist, PLACE)
    (name,) = (name for name in site.files if name.startswith("merged/"))
    site.files[name] = site.files[name][:-1] + b"\x01"
    refused(tmp_path, GeneralistError, "merged")


def test_a_generalist_without_one_of_its_bricks_does_not_land(site, tmp_path, generalist):
    push_to_hub(generalist, PLACE)
    del site.files[f"bricks/{A.digest}{SUFFIX}"]
    refused(tmp_path, BrickError, "found nothing there")


@pytest.mark.parametrize("signer", [None, EVE])
@pytest.mark.usefixtures("site")
def test_what_no_trusted_key_signed_does_not_land(tmp_path, signer):
    save_brick(A, tmp_path / "a")
    if signer is not None:
        save_signature(sign_brick(A, signer), f"{tmp_path}/a{SIGNATURE_SUFFIX}")
    push_to_hub(tmp_path / "a", PLACE)
    trust = Trust.load(trust_in(tmp_path / "t.toml", ADA))
    refused(tmp_path, SignatureError, "expected a (trusted )?signature", trust=trust)


@pytest.mark.usefixtures("site")
def test_a_generalist_of_unsigned_bricks_does_not_land_where_trust_is_asked(tmp_path, generalist):
    push_to_hub(generalist, PLACE)
    trust = trust_in(tmp_path / "t.toml", ADA)
    refused(tmp_path, StoreError, "signed", trust=trust)


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("past_signed", [True, False])
def test_bricks_that_undo_can_bring_back_must_be_signed_too(tmp_path, past_signed):
    keyed = Stamp(by="Ada", signer=ADA)
    whole = undo(add(assemble([A], stamp=keyed), B, stamp=keyed), stamp=keyed)
    bricks = [A, B] if past_signed else [A]
    push_to_hub(whole.signed([sign_brick(brick, ADA) for brick in bricks]), PLACE)
    trust = trust_in(tmp_path / "t.toml", ADA)
    if past_signed:
        assert from_hub(PLACE, tmp_path / "new", trust=trust).signed_by == ("N0",)
    else:
        says = f"brick 'b' {B.digest[:12]}: expected a signature beside it, found none"
        refused(tmp_path, SignatureError, says, trust=trust)


def test_what_no_recipe_names_is_neither_fetched_nor_kept(site, tmp_path, generalist):
    push_to_hub(generalist, PLACE)
    (other,) = make_bricks("d", BASE)
    site.files |= {
        f"bricks/{other.digest}{SUFFIX}": brick_bytes(other),
        f"signatures/{other.digest}{SIGNATURE_SUFFIX}": b"{}",
        f"recipes/{other.digest}.json": b"{}",
    }
    copy = from_hub(PLACE, tmp_path / "g")
    assert not [name for name in site.fetched if other.digest in name]
    generalist.save(tmp_path / "same")
    assert names_of(tmp_path / "g") == names_of(tmp_path / "same")
    assert isinstance(copy.content, Generalist)
    assert set(copy.content.past.bricks) == {A.digest, B.digest, C.digest}


@pytest.mark.usefixtures("site")
def test_a_brick_of_a_cached_generalist_that_nobody_signed_is_found(tmp_path):
    keyed = Stamp(by="Ada", signer=ADA)
    push_to_hub(assemble([A], stamp=keyed).signed([sign_brick(A, ADA)]), PLACE)
    path, trust = from_hub(PLACE).path, trust_in(tmp_path / "t.toml", ADA)
    save_brick(B, path / "bricks" / f"{B.digest}{SUFFIX}")
    with pytest.raises(SignatureError, match=f"{B.digest[:12]}: expected a signature beside it"):
        from_hub(PLACE, trust=trust)


def test_a_signature_that_lies_there_is_not_overwritten(site, tmp_path):
    push_to_hub(A, PLACE)
    (tmp_path / f"new{SIGNATURE_SUFFIX}").write_text("mine")
    refused(tmp_path, StoreError, f"new{SIGNATURE_SUFFIX}: expected a new place")
    assert (tmp_path / f"new{SIGNATURE_SUFFIX}").read_text() == "mine"
    assert site.fetched == []


def test_a_signature_of_another_brick_does_not_land(site, tmp_path):
    push_to_hub(A, PLACE)
    name = f"signatures/{A.digest}{SIGNATURE_SUFFIX}"
    site.files[name] = signature_bytes(sign_brick(B, ADA))
    from_hub(PLACE, tmp_path / "new")
    assert name in site.fetched
    assert not (tmp_path / f"new{SIGNATURE_SUFFIX}").exists()


@pytest.mark.usefixtures("site")
def test_other_files_in_a_cached_folder_are_passed_over():
    push_to_hub(A, PLACE)
    path = from_hub(PLACE).path
    for name in (".DS_Store", f"._{path.name}"):
        (path.parent / name).write_bytes(b"x")
    assert from_hub(PLACE).path == path


@pytest.mark.usefixtures("site")
def test_a_cached_folder_without_its_brick_is_refused():
    push_to_hub(A, PLACE)
    from_hub(PLACE).path.unlink()
    with pytest.raises(StoreError, match="expected one brick, got 0; delete the folder"):
        from_hub(PLACE)


def test_a_line_that_breaks_leaves_nothing(site, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    push_to_hub(A, PLACE)
    site.cut = 100
    refused(tmp_path, StoreError, PLACE)


@pytest.mark.usefixtures("site")
def test_an_interrupted_download_leaves_nothing(tmp_path, generalist):
    push_to_hub(generalist, PLACE)

    def stop(what: str, done: int, _total: int) -> None:
        if what == "downloading" and done == 2:
            raise KeyboardInterrupt("enough")

    refused(tmp_path, KeyboardInterrupt, "enough", show=stop)


def test_a_commit_that_is_none_is_refused(site, tmp_path):
    push_to_hub(A, PLACE)
    site.sha = "../../elsewhere"
    refused(tmp_path, StoreError, "expected a commit's digest")


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_another_commit_than_the_pinned_one_is_refused(site, tmp_path, case):
    push_to_hub(A, PLACE)
    asked = "ab" * 20
    says = f"expected commit {asked}, got {site.head}; check the address"
    refused(tmp_path, StoreError, says, revision=case(asked))
    assert site.fetched == []


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "private or not there: hf auth login"), (403, "your token may not"), (404, "check the")],
)
def test_what_one_may_not_see_is_said_with_the_way_in(site, tmp_path, status, says):
    site.status = status
    refused(tmp_path, StoreError, says)
    with pytest.raises(StoreError, match=says):
        push_to_hub(A, PLACE)


@pytest.mark.usefixtures("site")
def test_what_lies_there_is_not_overwritten(tmp_path):
    push_to_hub(A, PLACE)
    (tmp_path / "new").write_text("mine")
    with pytest.raises(StoreError, match="expected a new place, found something there"):
        from_hub(PLACE, tmp_path / "new")
    assert (tmp_path / "new").read_text() == "mine"


@pytest.mark.parametrize("text", ["brain", "a/b/c", "../x", "a/..", "a/b c", "https://x/y", ""])
def test_an_address_of_another_form_is_refused_without_a_network(text):
    with pytest.raises(StoreError, match="expected hf://OWNER/NAME"):
        from_hub(text)


@pytest.mark.parametrize("revision", ["a..b", "../x", "a b", "a?x=1", "a%2e", "a#b", "v1\n"])
def test_a_revision_of_another_form_is_refused_without_a_network(revision):
    with pytest.raises(StoreError, match="expected a branch, a tag or a commit"):
        from_hub(PLACE, revision=revision)
    with pytest.raises(StoreError, match="expected a branch, a tag or a commit"):
        from_hub(f"{PLACE}@{revision}")


def test_two_revisions_at_once_are_refused_without_a_network():
    with pytest.raises(StoreError, match="expected one revision, got 'v2' too; leave one out"):
        from_hub(f"{PLACE}@v1", revision="v2")


def test_the_commands_say_commit_and_signer(site, tmp_path, capsys):
    save_brick(A, tmp_path / "a")
    save_signature(sign_brick(A, ADA), f"{tmp_path}/a{SIGNATURE_SUFFIX}")
    assert run_app(app, ["hub", "push", str(tmp_path / "a"), PLACE]) == 0
    assert f"commit {site.head}" in capsys.readouterr().out
    assert run_app(app, ["hub", "pull", PLACE, "-o", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert f"wrote {tmp_path}/b: brick {A.digest[:12]} of commit {site.head}" in said
    assert "no signature was checked" in said
    trust = trust_in(tmp_path / "t.toml", ADA)
    words = ["hub", "pull", PLACE, "-o", str(tmp_path / "c"), "--trust", str(trust)]
    assert run_app(app, words) == 0
    assert "signed by N0" in capsys.readouterr().out
    assert load_brick(tmp_path / "c").digest == A.digest
