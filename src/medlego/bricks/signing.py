"""Ed25519 keys, and detached signatures of bricks.

A signature file is a DSSE envelope (github.com/secure-systems-lab/dsse) around an in-toto
statement (in-toto.io/Statement/v1), as OpenSSF model signing has it; its subject is the brick's
content digest, so a brick stays signed however a file lays it out. docs/FORMAT.md specifies it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BeforeValidator, Field

from medlego.bricks.brick import Brick
from medlego.errors import SignatureError
from medlego.support import (
    FrozenModel,
    NoPickle,
    ShortRepr,
    read_document,
    read_expected,
    spell,
    write_atomically,
)

SIGNATURE_SUFFIX = ".sig.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:medlego:brick-signature:v1"
CONTENT = "medlegoContent"
"""Name of a brick's content digest among the subject's digests."""
MAX_SIGNATURE_BYTES = MAX_KEY_BYTES = 1 << 16
PASSPHRASE = "MEDLEGO_KEY_PASSPHRASE"
"""Environment variable with the passphrase of a private key."""


@dataclass(frozen=True, eq=False, repr=False)
class PublicKey(ShortRepr):
    """Checks signatures; known by the SHA-256 of its 32 bytes."""

    raw: bytes

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def text(self) -> str:
        """Base64 of the 32 bytes."""
        return base64.b64encode(self.raw).decode()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """From base64 of 32 bytes.

        Raises:
            ValueError: anything else.
        """
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError:
            raw = b""
        if len(raw) != 32:
            raise ValueError(f"expected base64 of 32 bytes, got {text[:60]!r}")
        return cls(raw)


@dataclass(frozen=True, eq=False)
class Signer(NoPickle, instead="load its key file there"):
    """Makes signatures with a private key."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """The key that checks them."""
        return PublicKey(self.private.public_key().public_bytes_raw())

    @property
    def id(self) -> str:
        """The public key's."""
        return self.public.id

    def sign(self, message: bytes) -> bytes:
        """64 bytes, the same for the same message."""
        return self.private.sign(message)

    @classmethod
    def new(cls) -> Signer:
        """A fresh key from the system's random numbers."""
        return cls(Ed25519PrivateKey.generate())


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("expected text")
    return base64.b64decode(text, validate=True)


Base64 = Annotated[bytes, BeforeValidator(_decoded)]


class _Subject(FrozenModel):
    name: str
    digest: dict[str, str]


class _Statement(FrozenModel):
    type: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[_Subject, ...], Field(min_length=1, max_length=1)]
    predicateType: Literal["urn:medlego:brick-signature:v1"]  # noqa: N815
    predicate: dict[str, str | None]


class _Signature(FrozenModel):
    keyid: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    sig: Base64


class _Envelope(FrozenModel):
    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815
    payload: Base64
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1, max_length=64)]


@dataclass(frozen=True, eq=False, repr=False)
class BrickSignature(ShortRepr):
    """One or more keys' word for a brick: `signatures` are over `payload`, by key id."""

    payload: bytes
    digest: str
    """Of the brick's content."""
    when: str | None
    """UTC, by the signer's clock; nothing but the signer vouches for it."""
    signatures: tuple[tuple[str, bytes], ...]

    @property
    def made(self) -> datetime | None:
        """`when` as a time in UTC; None where none is stated."""
        try:
            made = datetime.fromisoformat(self.when or "")
        except ValueError:
            return None
        return made if made.tzinfo else made.replace(tzinfo=UTC)

    def signed_by(self, key: PublicKey) -> bool:
        """Whether one of the signatures is this key's."""
        message = _enveloped(self.payload)
        return any(i == key.id and key.verifies(value, message) for i, value in self.signatures)


def sign_brick(brick: Brick, signer: Signer, when: str | None = None) -> BrickSignature:
    """A signature over the brick's content digest.

    Args:
        brick: what is signed: all of its content, card and settings too.
        signer: the key.
        when: UTC, for the record; nothing by default.
    """
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": brick.task.name, "digest": {CONTENT: brick.digest}}],
        "predicateType": PREDICATE,
        "predicate": {"when": when},
    }
    payload = spell(statement)
    signature = signer.sign(_enveloped(payload))
    return BrickSignature(payload, brick.digest, when, ((signer.public.id, signature),))


def signature_bytes(signature: BrickSignature) -> bytes:
    """The file's content."""
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(signature.payload).decode(),
        "signatures": [
            {"keyid": key, "sig": base64.b64encode(value).decode()}
            for key, value in signature.signatures
        ],
    }
    return (json.dumps(envelope, indent=2) + "\n").encode()


def save_signature(signature: BrickSignature, path: str | Path) -> None:
    """Write a signature file, atomically."""
    write_atomically(Path(path), signature_bytes(signature))


def load_signature(path: str | Path) -> BrickSignature:
    """Read a signature file; whose it is and whether it holds, `Trust.check_brick` says.

    Raises:
        SignatureError: no file there, or no signature of a brick.
    """
    text = read_expected(Path(path), MAX_SIGNATURE_BYTES, SignatureError, "a signature")
    return signature_from_bytes(text, str(path))


def signature_from_bytes(text: bytes, name: str) -> BrickSignature:
    """A signature file's content; `name` is what errors call it.

    Raises:
        SignatureError: no signature of a brick.
    """
    envelope = read_document(_Envelope, text, name=name, error=SignatureError)
    statement = read_document(
        _Statement, envelope.payload, name=name, error=SignatureError, place="payload"
    )
    (subject,) = statement.subject
    digest = subject.digest.get(CONTENT)
    if digest is None:
        raise SignatureError(f"{name}: expected the digest {CONTENT} of a brick, got none")
    signatures = tuple((s.keyid, s.sig) for s in envelope.signatures)
    return BrickSignature(envelope.payload, digest, statement.predicate.get("when"), signatures)


def signature_beside(path: str | Path) -> BrickSignature | None:
    """The signature that lies beside a brick file, `FILE.sig.json`, if there is one.

    Raises:
        SignatureError: a file there that is no signature.
    """
    file = Path(f"{path}{SIGNATURE_SUFFIX}")
    return load_signature(file) if file.exists() else None


def save_keys(signer: Signer, private: Path, public: Path, passphrase: str | None = None) -> None:
    """Write a new key pair as PEM; the private one can be read by its owner alone.

    Args:
        signer: the key.
        private, public: files that must not exist yet.
        passphrase: encrypts the private key.

    Raises:
        SignatureError: a file is there already.
    """
    if taken := [str(path) for path in (private, public) if path.exists()]:
        raise SignatureError(f"{', '.join(taken)}: expected new files; choose another name")
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    content = signer.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    private.touch(mode=0o600, exist_ok=False)
    private.write_bytes(content)
    key = signer.private.public_key()
    write_atomically(
        public,
        key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    )


def load_signer(path: str | Path) -> Signer:
    """Read a private key; an encrypted one with the passphrase in `$MEDLEGO_KEY_PASSPHRASE`.

    Raises:
        SignatureError: no Ed25519 key in PEM, or a passphrase that is missing or wrong.
    """
    passphrase = os.environ.get(PASSPHRASE)
    content = read_expected(Path(path), MAX_KEY_BYTES, SignatureError, "a key")
    encrypted = b"ENCRYPTED" in content
    if encrypted and not passphrase:
        raise SignatureError(f"{path}: expected its passphrase in ${PASSPHRASE}")
    password = passphrase.encode() if encrypted and passphrase else None
    try:
        key: Any = serialization.load_pem_private_key(content, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            raise SignatureError(f"{path}: expected another passphrase in ${PASSPHRASE}") from None
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(
            f"{path}: expected an Ed25519 private key in PEM; make one with medlego keys new"
        )
    return Signer(key)


def load_public_key(path: str | Path) -> PublicKey:
    """Read a public key.

    Raises:
        SignatureError: no Ed25519 key in PEM.
    """
    content = read_expected(Path(path), MAX_KEY_BYTES, SignatureError, "a key")
    try:
        key: Any = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{path}: expected an Ed25519 public key in PEM")
    return PublicKey(key.public_bytes_raw())


def _enveloped(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what the signature is made over."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
