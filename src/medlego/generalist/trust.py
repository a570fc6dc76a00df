"""Who may sign what: an allow-list of public keys with roles, expiry and revocation."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from medlego.bricks import Brick, BrickSignature, PublicKey
from medlego.data import Plain
from medlego.errors import SignatureError
from medlego.generalist.lineage import Entry
from medlego.support import FrozenModel, load_toml

Role = Literal["brick", "edit"]
"""What a key may vouch for: bricks, or the entries of a lineage."""

SKEW = timedelta(hours=1)
"""How far the clocks of two editors may differ."""


class TrustedKey(FrozenModel):
    """One `[[key]]` of a trust file."""

    name: Annotated[Plain, Field(min_length=1, max_length=200)]
    public: str
    """Base64 of the 32 bytes, as `medlego keys show` prints it."""
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    expires: date | None = None
    """Last day on which the key is accepted, UTC."""
    revoked: date | None = None
    """Day on which it was found unfit; nothing by it is accepted any more, whenever it was made."""

    @field_validator("public")
    @classmethod
    def _sound(cls, text: str) -> str:
        PublicKey.parse(text)
        return text

    @property
    def key(self) -> PublicKey:
        """What checks the signatures."""
        return PublicKey.parse(self.public)

    @property
    def end(self) -> datetime | None:
        """From when on nothing new by it is accepted."""
        if self.revoked is not None:
            return datetime.combine(self.revoked, time.min, UTC)
        return None if self.expires is None else datetime.combine(self.expires, time.max, UTC)

    def refusal(self, role: Role, when: datetime) -> str | None:
        """Why the key is not accepted for something of that moment; None where it is."""
        if self.revoked is not None:
            return f"key {self.name!r} was revoked on {self.revoked}"
        if self.end is not None and when > self.end:
            return f"key {self.name!r} expired after {self.expires}"
        if role not in self.roles:
            return f"key {self.name!r} may sign {', '.join(self.roles)}, not {role}"
        return None


class Trust(FrozenModel):
    """A trust file."""

    key: tuple[TrustedKey, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> Trust:
        """Read a TOML file of `[[key]]` tables.

        Raises:
            SignatureError: no such file, not TOML, or fields that are wrong, all together.
        """
        trust = load_toml(cls, path, SignatureError, "a trust file")
        ids = [trusted.key.id for trusted in trust.key]
        if len(set(ids)) < len(ids):
            raise SignatureError(f"{path}: expected each key once, got one twice; merge the two")
        return trust

    def check_brick(
        self, brick: Brick, signature: BrickSignature | None, now: datetime
    ) -> TrustedKey:
        """The trusted key that vouches for a brick now.

        Args:
            brick: must be what was signed, to the last bit.
            signature: what lay beside it, if anything.
            now: decides what has expired.

        Raises:
            SignatureError: unsigned, signed for another brick, by nobody who is trusted with
                bricks, by an expired or revoked key, or altered.
        """
        subject = f"brick {brick.task.name!r} {brick.digest[:12]}"
        if signature is None:
            raise SignatureError(f"{subject}: expected a signature beside it, found none")
        if signature.digest != brick.digest:
            raise SignatureError(
                f"{subject}: expected a signature of this brick, got one of "
                f"{signature.digest[:12]}…; the brick was altered after it was signed"
            )
        reasons = []
        for key_id, _ in signature.signatures:
            trusted, reason = self._judged(key_id, "brick", now, signature.signed_by)
            if trusted is not None and not reason:
                return trusted
            reasons.append(reason)
        raise SignatureError(
            f"{subject}: expected a trusted signature, got none: " + "; ".join(reasons)
        )

    def lineage_problems(self, lineage: Sequence[Entry], now: datetime) -> list[str]:
        """Entries that no trusted editor signed.

        An entry counts as made at the time that it states, or now where it states none, so a key
        that has expired since still vouches for its older entries; a revoked one for none.
        """
        problems = []
        latest = datetime(1970, 1, 1, tzinfo=UTC) + SKEW
        for number, entry in enumerate(lineage):
            made = now if entry.when is None else datetime.fromisoformat(entry.when)
            if made < latest - SKEW or made > now + SKEW:
                problems.append(
                    f"lineage.{number}.when: expected a time from the entry before it to now, "
                    f"got {entry.when}"
                )
            latest, reason = max(latest, made), "it is unsigned"
            if entry.signature:
                key_id = entry.signature.get("key", "")
                _, reason = self._judged(key_id, "edit", made, partial(_signed_by, entry))
            if reason:
                problems.append(
                    f"lineage.{number}: expected the signature of a trusted editor: {reason}"
                )
        return problems

    def undated(self, lineage: Sequence[Entry], now: datetime) -> list[str]:
        """Entries that nothing but a key that has ended since dates before its end.

        The chain proves that an entry was there before those that follow it. So a later entry by a
        key that is trusted now, dated before that end, is another editor's word for the time.
        """
        notes = []
        for trusted in self.key:
            if (end := trusted.end) is None or now <= end:
                continue
            own = [
                n for n, e in enumerate(lineage) if (e.signature or {}).get("key") == trusted.key.id
            ]
            vouched = [n for n, entry in enumerate(lineage) if self._witnesses(entry, end, now)]
            if alone := [n for n in own if n > max(vouched, default=-1)]:
                numbers = ", ".join(map(str, alone))
                notes.append(
                    f"entries {numbers} by key {trusted.name!r}, which ended on {end.date()}: the "
                    f"chain proves their order, and their own dates alone that they are older; "
                    f"the digest of entry {alone[-1]}, noted elsewhere by then, would show it"
                )
        return notes

    def _witnesses(self, entry: Entry, end: datetime, now: datetime) -> bool:
        if entry.when is None or entry.signature is None:
            return False
        holds = partial(_signed_by, entry)
        _, reason = self._judged(entry.signature.get("key", ""), "edit", now, holds)
        return not reason and datetime.fromisoformat(entry.when) <= end

    def _judged(
        self, key_id: str, role: Role, when: datetime, holds: Callable[[PublicKey], bool]
    ) -> tuple[TrustedKey | None, str]:
        """The key of an id, and why a signature by it does not count, empty where it does."""
        for trusted in self.key:
            if trusted.key.id == key_id:
                broken = f"the signature by {trusted.name!r} does not hold; it was altered"
                refusal = trusted.refusal(role, when)
                return trusted, refusal or ("" if holds(trusted.key) else broken)
        return None, f"key {key_id[:12]}… is not in the trust file"


def _signed_by(entry: Entry, key: PublicKey) -> bool:
    try:
        value = base64.b64decode((entry.signature or {}).get("value", ""), validate=True)
    except ValueError:
        return False
    return key.verifies(value, entry.unsigned)
