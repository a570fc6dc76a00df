"""Keys, signatures and trust as a user meets them, on bricks of random numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from factories import make_base, make_brick
from medlego.bricks import Signer, save_brick, save_signature, sign_brick
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.generalist import Generalist

BASE = make_base(depth=1)
BRICKS = {name: make_brick(name, seed=i, base=BASE) for i, name in enumerate("abc")}


def run(*words: object) -> int:
    return run_app(app, [str(word) for word in words])


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """Three bricks, of which a and b are signed by Ada; a trust file that knows her."""
    monkeypatch.delenv("MEDLEGO_KEY_PASSPHRASE", raising=False)
    for name, unsigned in BRICKS.items():
        save_brick(unsigned, tmp_path / f"{name}.brick.safetensors")
    assert run("keys", "new", tmp_path / "ada") == 0
    capsys.readouterr()
    words = ("--name", "Ada", "--role", "brick", "--role", "edit", "--expires", "2099-12-31")
    assert run("keys", "show", tmp_path / "ada.pub", *words) == 0
    (tmp_path / "trust.toml").write_text(capsys.readouterr().out)
    files = [brick(tmp_path, name) for name in "ab"]
    assert run("sign", *files, "--key", tmp_path / "ada.key", "--quiet") == 0
    return tmp_path


def brick(place: Path, name: str) -> Path:
    return place / f"{name}.brick.safetensors"


def assemble(place: Path, names: str, *words: object) -> int:
    trust = ("--require-signed", place / "trust.toml")
    return run("assemble", *(brick(place, n) for n in names), *trust, *words, "-o", place / "g")


def test_an_older_signed_brick_replaces_a_newer_one_only_if_that_is_allowed(place, capsys):
    key, older = Signer.new(), make_brick("a", seed=9, base=BASE)
    save_brick(older, place / "older.brick.safetensors")
    signature = sign_brick(older, key, "2001-01-01T00:00:00Z")
    save_signature(signature, place / "older.brick.safetensors.sig.json")
    assert assemble(place, "ab") == 0
    words = ("edit", "update", place / "g", place / "older.brick.safetensors")
    assert run(*words) == 2
    assert "got one signed at 2001-01-01" in capsys.readouterr().err
    assert run(*words, "--allow-older") == 0
    assert run("edit", "update", place / "g", brick(place, "a"), "--allow-older") == 0
    assert run(*words) == 2
    assert "got one that entry 2 replaced by a newer one" in capsys.readouterr().err


def test_a_signed_brick_is_verified(place, capsys):
    trust = ("--trust", place / "trust.toml")
    assert run("--json", "verify", brick(place, "a"), *trust) == 0
    (fact,) = json.loads(capsys.readouterr().out)
    assert (fact["brick"], fact["by"]) == (BRICKS["a"].digest, "Ada")
    assert run("verify", brick(place, "c"), *trust) == 2
    assert "expected a signature beside it, found none" in capsys.readouterr().err


def test_signed_bricks_are_assembled(place):
    assert assemble(place, "ab") == 0
    names = sorted(path.name for path in (place / "g" / "signatures").iterdir())
    assert names == sorted(f"{BRICKS[n].digest}.sig.json" for n in "ab")


def alter(place: Path) -> None:
    content = bytearray(brick(place, "a").read_bytes())
    content[-1] ^= 1
    brick(place, "a").write_bytes(content)


def exchange(place: Path) -> None:
    brick(place, "a").write_bytes(brick(place, "c").read_bytes())


def say_of_key(place: Path, text: str) -> None:
    with (place / "trust.toml").open("a") as stream:
        stream.write(f"{text}\n")


def expire(place: Path) -> None:
    text = (place / "trust.toml").read_text()
    (place / "trust.toml").write_text(text.replace("2099-12-31", "2020-01-01"))


def sign_as_stranger(place: Path) -> None:
    save_signature(sign_brick(BRICKS["a"], Signer.new()), f"{brick(place, 'a')}.sig.json")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: Path(f"{brick(p, 'a')}.sig.json").unlink(), "beside it, found none"),
        (alter, "the file was altered or damaged"),
        (exchange, "the brick was altered after it was signed"),
        (expire, "key 'Ada' expired after 2020-01-01"),
        (lambda p: say_of_key(p, "revoked = 2026-01-01"), "key 'Ada' was revoked on 2026-01-01"),
        (sign_as_stranger, "is not in the trust file"),
    ],
)
def test_what_nobody_vouches_for_is_not_assembled(place, capsys, damage, says):
    damage(place)
    assert assemble(place, "ab") == 2
    assert says in capsys.readouterr().err
    assert not (place / "g").exists()


def test_an_edit_can_ask_for_signatures_too(place, capsys):
    assert assemble(place, "a") == 0
    words = (place / "g", brick(place, "c"), "--require-signed", place / "trust.toml")
    assert run("edit", "add", *words) == 2
    assert "found none" in capsys.readouterr().err
    assert run("edit", "add", place / "g", brick(place, "b"), *words[2:]) == 0
    assert len(list((place / "g" / "signatures").iterdir())) == 2


def failed(place: Path, capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    capsys.readouterr()
    run("--json", "edit", "verify", place / "g", "--trust", place / "trust.toml", *words)
    return [c["claim"] for c in json.loads(capsys.readouterr().out) if not c["holds"]]


def test_a_lineage_says_who_edited_and_verify_finds_who_did_not_sign(place, capsys):
    key = ("--key", place / "ada.key", "--by", "Ada")
    assert assemble(place, "a", *key) == 0
    assert run("edit", "add", place / "g", brick(place, "b"), *key) == 0
    assert failed(place, capsys) == []
    assert run("edit", "add", place / "g", brick(place, "c")) == 0
    assert failed(place, capsys) == [
        "every brick is signed by a trusted key",
        "every entry of the lineage is signed by a trusted editor",
    ]


def test_verify_tells_what_the_chain_does_not_prove_of_times(place, capsys):
    assert assemble(place, "a", "--key", place / "ada.key") == 0
    expire(place)
    assert failed(place, capsys) == [
        "every brick is signed by a trusted key",
        "every entry of the lineage is signed by a trusted editor",
    ]
    run("--json", "edit", "verify", place / "g", "--trust", place / "trust.toml")
    told = {c["claim"]: c["outcome"] for c in json.loads(capsys.readouterr().out)}
    outcome = told["the chain proves the order of its entries; their times are their signers' word"]
    assert outcome.startswith("entries 0 by key 'Ada', which ended on 2020-01-01")


def test_entries_cut_off_the_end_show_against_a_noted_digest(place, capsys):
    key = ("--key", place / "ada.key")
    assert assemble(place, "a", *key) == 0
    shutil.copytree(place / "g", place / "before")
    assert run("edit", "add", place / "g", brick(place, "b"), *key) == 0
    noted = Generalist.load(place / "g").lineage[-1].digest[:12]
    assert failed(place, capsys, "--last", noted) == []
    shutil.rmtree(place / "g")
    (place / "before").rename(place / "g")
    assert failed(place, capsys) == []
    assert failed(place, capsys, "--last", noted) == [f"the lineage ends with entry {noted}"]


def test_a_key_that_is_there_is_not_overwritten(place, capsys):
    assert run("keys", "new", place / "ada") == 2
    assert "expected new files" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--role", "king"), ("--expires", "soon")])
def test_a_trust_entry_that_is_wrong_is_not_printed(place, capsys, words):
    assert run("keys", "show", place / "ada.pub", *words) == 2
    assert capsys.readouterr().out == ""
