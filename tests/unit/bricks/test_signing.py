"""Signatures and trust: what holds, and everything that must not."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from factories import make_base, make_bricks
from medlego.bricks import (
    PASSPHRASE,
    Brick,
    Signer,
    load_public_key,
    load_signature,
    load_signer,
    save_keys,
    save_signature,
    sign_brick,
    signature_beside,
)
from medlego.errors import SignatureError
from medlego.generalist import Entry, Stamp, Trust, add, assemble, remove

BASE = make_base(depth=1)
A, B = make_bricks("ab", BASE)
ADA, EVE = (Signer(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32)) for i in (1, 2))
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def trusting(*, roles: tuple[str, ...] = ("brick",), **fields: object) -> Trust:
    key = {"name": "Ada", "public": ADA.public.text, "roles": roles, **fields}
    return Trust.model_validate({"key": [key]})


def test_a_brick_signed_by_a_trusted_key_is_accepted():
    assert trusting().check_brick(A, sign_brick(A, ADA), NOW).name == "Ada"


def test_a_signature_is_over_dsses_encoding_of_the_statement(tmp_path):
    """Written from the DSSE and in-toto specifications, with cryptography alone."""
    save_signature(sign_brick(A, ADA, "2026-11-25T10:00:00Z"), tmp_path / "s")
    envelope = json.loads((tmp_path / "s").read_text())
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    encoded = b" ".join(
        [b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload]
    )
    (signature,) = envelope["signatures"]
    key = ed25519.Ed25519PublicKey.from_public_bytes(ADA.public.raw)
    key.verify(base64.b64decode(signature["sig"]), encoded)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "a", "digest": {"medlegoContent": A.digest}}]


def test_a_signature_comes_back_from_its_file(tmp_path):
    save_signature(sign_brick(A, ADA, "2026-11-25T10:00:00Z"), tmp_path / "a.sig.json")
    signature = signature_beside(tmp_path / "a")
    assert signature is not None
    assert (signature.digest, signature.when) == (A.digest, "2026-11-25T10:00:00Z")
    assert signature.signed_by(ADA.public)
    assert signature_beside(tmp_path / "b") is None


def with_another_bit(brick: Brick) -> Brick:
    weight = brick.head.weight.clone()
    weight.view(torch.int32)[0, 0] ^= 1
    return replace(brick, head=replace(brick.head, weight=weight))


REFUSED = {
    "unsigned": (lambda: (trusting(), A, None), "expected a signature beside it, found none"),
    "one bit altered": (
        lambda: (trusting(), with_another_bit(A), sign_brick(A, ADA)),
        "the brick was altered after it was signed",
    ),
    "another brick's": (
        lambda: (trusting(), B, sign_brick(A, ADA)),
        "expected a signature of this",
    ),
    "a stranger's": (lambda: (trusting(), A, sign_brick(A, EVE)), "is not in the trust file"),
    "a stranger's under a trusted id": (
        lambda: (trusting(), A, forged(sign_brick(A, EVE))),
        "the signature by 'Ada' does not hold; it was altered",
    ),
    "expired": (
        lambda: (trusting(expires="2026-11-24"), A, sign_brick(A, ADA)),
        "key 'Ada' expired after 2026-11-24",
    ),
    "revoked": (
        lambda: (trusting(revoked="2030-01-01"), A, sign_brick(A, ADA)),
        "key 'Ada' was revoked on 2030-01-01",
    ),
    "an editor's": (
        lambda: (trusting(roles=("edit",)), A, sign_brick(A, ADA)),
        "key 'Ada' may sign edit, not brick",
    ),
}


def forged(signature):
    ((_, value),) = signature.signatures
    return replace(signature, signatures=((ADA.id, value),))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_vouched_for_is_refused(case):
    make, says = REFUSED[case]
    trust, brick, signature = make()
    with pytest.raises(SignatureError, match=f"brick '.' {brick.digest[:12]}: .*{says}"):
        trust.check_brick(brick, signature, NOW)


def test_a_key_is_accepted_on_its_last_day():
    trust = trusting(expires="2026-11-25")
    assert trust.check_brick(A, sign_brick(A, ADA), NOW).name == "Ada"


def test_one_trusted_signature_among_several_is_enough():
    by_eve, by_ada = sign_brick(A, EVE), sign_brick(A, ADA)
    both = replace(by_eve, signatures=by_eve.signatures + by_ada.signatures)
    assert trusting().check_brick(A, both, NOW).name == "Ada"


def stamped(when: str = "2026-11-25T10:00:00Z", signer: Signer = ADA) -> Stamp:
    return Stamp(when, None, signer)


def lineage(second: Stamp | None = None) -> tuple[Entry, ...]:
    first = assemble([A], stamp=stamped())
    return add(first, B, stamp=second or stamped("2026-11-25T11:00:00Z")).lineage


def problems(entries, **fields: object) -> list[str]:
    return trusting(roles=("edit",), **fields).lineage_problems(entries, NOW)


def test_a_lineage_signed_by_a_trusted_editor_is_sound():
    assert problems(lineage()) == []


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (Stamp("2026-11-25T11:00:00Z"), "it is unsigned"),
        (stamped(signer=EVE), "is not in the trust file"),
        (stamped("2026-11-20T10:00:00Z"), "expected a time from the entry before it to now"),
        (stamped("2027-01-01T10:00:00Z"), "expected a time from the entry before it to now"),
    ],
)
def test_an_entry_that_nobody_vouches_for_is_found(second, says):
    (problem,) = problems(lineage(second))
    assert problem.startswith("lineage.1")
    assert says in problem


def test_a_signature_taken_from_another_entry_does_not_hold():
    first, second = lineage()
    swapped = second.model_copy(update={"signature": first.signature})
    assert "does not hold; it was altered" in problems((first, swapped))[0]


def test_a_key_that_expired_since_vouches_for_its_older_entries_and_a_revoked_one_for_none():
    assert problems(lineage(), expires="2026-11-25") == []
    late = trusting(roles=("edit",), expires="2026-11-25")
    assert late.lineage_problems(lineage(), datetime(2027, 1, 1, tzinfo=UTC)) == []
    assert len(problems(lineage(), expires="2026-11-24")) == 2
    assert len(problems(lineage(), revoked="2026-11-25")) == 2


@pytest.mark.parametrize(
    ("witness", "fields", "alone"),
    [
        (None, {"expires": "2026-11-24"}, "entries 0, 1 by key 'Ada'"),
        (None, {"revoked": "2026-11-25"}, "entries 0, 1 by key 'Ada'"),
        (None, {"expires": "2026-11-25"}, None),
        (None, {}, None),
        ("2026-11-25T11:30:00Z", {"expires": "2026-11-24"}, "entries 0, 1 by key 'Ada'"),
        ("2026-11-24T23:00:00Z", {"expires": "2026-11-24"}, None),
        ("unsigned", {"expires": "2026-11-24"}, "entries 0, 1 by key 'Ada'"),
    ],
)
def test_entries_that_only_a_key_that_ended_dates_are_named(witness, fields, alone):
    """With the witness, an entry by another key that is trusted today."""
    first = assemble([A], stamp=stamped("2026-11-24T10:00:00Z"))
    second = add(first, B, stamp=stamped("2026-11-24T11:00:00Z"))
    entries = second.lineage
    if witness is not None:
        signs = witness != "unsigned"
        stamp = stamped(witness, EVE) if signs else Stamp("2026-11-24T23:00:00Z")
        entries = remove(second, "a", stamp=stamp).lineage
    keys = [
        {"name": name, "public": signer.public.text, "roles": ("edit",), **more}
        for name, signer, more in (("Ada", ADA, fields), ("Eve", EVE, {}))
    ]
    notes = Trust.model_validate({"key": keys}).undated(entries, NOW)
    assert [note.partition(", which ended on")[0] for note in notes] == [alone] * bool(alone)


def test_keys_come_back_from_their_files(tmp_path):
    save_keys(ADA, tmp_path / "k.key", tmp_path / "k.pub")
    assert load_signer(tmp_path / "k.key").id == ADA.id
    assert load_public_key(tmp_path / "k.pub").id == ADA.id
    assert (tmp_path / "k.key").stat().st_mode & 0o077 == 0


def test_keys_overwrite_nothing(tmp_path):
    (tmp_path / "k.pub").touch()
    with pytest.raises(SignatureError, match="expected new files"):
        save_keys(ADA, tmp_path / "k.key", tmp_path / "k.pub")
    assert not (tmp_path / "k.key").exists()


def test_an_encrypted_key_asks_for_its_passphrase(tmp_path, monkeypatch):
    save_keys(ADA, tmp_path / "k.key", tmp_path / "k.pub", "open sesame")
    assert b"ENCRYPTED" in (tmp_path / "k.key").read_bytes()
    monkeypatch.delenv(PASSPHRASE, raising=False)
    with pytest.raises(SignatureError, match="expected its passphrase in"):
        load_signer(tmp_path / "k.key")
    monkeypatch.setenv(PASSPHRASE, "wrong")
    with pytest.raises(SignatureError, match="expected another passphrase"):
        load_signer(tmp_path / "k.key")
    monkeypatch.setenv(PASSPHRASE, "open sesame")
    assert load_signer(tmp_path / "k.key").id == ADA.id


def test_another_kind_of_key_is_refused(tmp_path):
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "k").write_bytes(pem)
    with pytest.raises(SignatureError, match="expected an Ed25519 private key"):
        load_signer(tmp_path / "k")
    with pytest.raises(SignatureError, match="expected an Ed25519 public key"):
        load_public_key(tmp_path / "k")
    with pytest.raises(SignatureError, match="found nothing there"):
        load_signer(tmp_path / "none")


def damaged(change) -> bytes:
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(sign_brick(A, ADA).payload).decode(),
        "signatures": [{"keyid": ADA.id, "sig": "AA=="}],
    }
    change(envelope)
    return json.dumps(envelope).encode()


def payload(text: bytes):
    return lambda envelope: envelope.update(payload=base64.b64encode(text).decode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        damaged(lambda e: e.pop("payload")),
        damaged(lambda e: e.update(payload="???")),
        damaged(lambda e: e.update(payloadType="text/plain")),
        damaged(lambda e: e.update(signatures=[])),
        damaged(lambda e: e.update(more=1)),
        damaged(lambda e: e["signatures"][0].update(keyid="x")),
        damaged(lambda e: e["signatures"][0].update(sig="?")),
        damaged(payload(b"{}")),
        damaged(payload(b"[" * 100_000)),
        damaged(payload(sign_brick(A, ADA).payload.replace(b"medlegoContent", b"sha256"))),
        damaged(payload(sign_brick(A, ADA).payload.replace(b"Statement/v1", b"Statement/v2"))),
    ],
)
def test_a_file_that_is_no_signature_is_refused(content, tmp_path):
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SignatureError, match=str(tmp_path / "s")):
        load_signature(tmp_path / "s")


KEY = f'[[key]]\nname = "Ada"\npublic = "{ADA.public.text}"\nroles = ["brick"]\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[key", "expected a trust file in TOML"),
        (KEY + "more = 1", r"key\.0\.more"),
        (KEY.replace('"brick"', '"king"'), r"key\.0\.roles\.0"),
        (KEY.replace(ADA.public.text, "AAAA"), "expected base64 of 32 bytes"),
        (KEY + 'expires = "soon"', r"key\.0\.expires"),
        (KEY + KEY, "expected each key once"),
    ],
)
def test_a_trust_file_that_is_wrong_is_refused(text, says, tmp_path):
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(SignatureError, match=says):
        Trust.load(tmp_path / "t.toml")


def test_a_trust_file_is_read(tmp_path):
    (tmp_path / "t.toml").write_text(KEY + "expires = 2027-12-31\n")
    (trusted,) = Trust.load(tmp_path / "t.toml").key
    assert (trusted.name, trusted.key.id, str(trusted.expires)) == ("Ada", ADA.id, "2027-12-31")
    with pytest.raises(SignatureError, match="found nothing there"):
        Trust.load(tmp_path / "none")
