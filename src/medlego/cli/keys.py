"""medlego keys new | show, medlego sign, medlego verify"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from medlego.cli import options
from medlego.cli.terminal import Terminal
from medlego.errors import SignatureError


def new_command(
    terminal: Terminal,
    name: Annotated[Path, Argument(metavar="NAME", help="Files NAME.key and NAME.pub.")],
) -> None:
    """Make a key pair: keep NAME.key secret, give NAME.pub to those who shall trust you.

    The private key is encrypted if MEDLEGO_KEY_PASSPHRASE is set.

    Example:
        medlego keys new radiology
    """
    from medlego.bricks import PASSPHRASE, Signer, save_keys

    signer = Signer.new()
    private, public = Path(f"{name}.key"), Path(f"{name}.pub")
    passphrase = os.environ.get(PASSPHRASE)
    save_keys(signer, private, public, passphrase)
    terminal.say(f"wrote {private} (keep it secret) and {public}; key {signer.id[:16]}")
    if not passphrase:
        terminal.note(f"{private} is not encrypted; set {PASSPHRASE} to encrypt it")
    terminal.emit({"id": signer.id, "private": str(private), "public": str(public)})


def show_command(
    terminal: Terminal,
    public: Annotated[Path, Argument(metavar="KEY.pub", help="A public key.")],
    *,
    name: Annotated[str, Option(help="Its owner, for the trust file.")] = "",
    role: Annotated[
        list[str] | None, Option(help="brick or edit; repeatable. brick by default.")
    ] = None,
    expires: Annotated[str | None, Option(help="Last day, for example 2027-12-31.")] = None,
) -> None:
    """Print a public key as an entry of a trust file.

    Example:
        medlego keys show radiology.pub --name 'Radiology North' --expires 2027-12-31
    """
    from medlego.bricks import load_public_key
    from medlego.generalist import Trust
    from medlego.support import parse_tables, read_fields

    key = load_public_key(public)
    entry = {"name": name or public.stem, "public": key.text, "roles": role or ["brick"]}
    lines = ["[[key]]", *(f"{field} = {json.dumps(value)}" for field, value in entry.items())]
    lines += [f"expires = {expires}"] if expires else []
    text = "\n".join(lines)
    tables = parse_tables(text.encode(), SignatureError, "--expires: expected a day as 2027-12-31")
    read_fields(Trust, tables, name="keys show", error=SignatureError)
    if not terminal.json:
        print(text)
    terminal.emit({"id": key.id, "trust": text})


def sign_command(
    terminal: Terminal,
    bricks: options.BrickFiles,
    key: Annotated[Path, Option(help="Your private key.")],
) -> None:
    """Sign bricks: write BRICK.sig.json beside each.

    Example:
        medlego sign brain.safetensors --key radiology.key
    """
    from medlego.bricks import (
        SIGNATURE_SUFFIX,
        load_bricks,
        load_signer,
        save_signature,
        sign_brick,
    )
    from medlego.generalist import utc_now

    signer = load_signer(key)
    files = []
    for path, brick in zip(bricks, load_bricks(bricks), strict=True):
        file = Path(f"{path}{SIGNATURE_SUFFIX}")
        save_signature(sign_brick(brick, signer, utc_now()), file)
        terminal.say(f"wrote {file} (brick {brick.digest[:12]}, key {signer.id[:16]})")
        files.append(str(file))
    terminal.emit({"key": signer.id, "signatures": files})


def verify_command(
    terminal: Terminal,
    bricks: options.BrickFiles,
    trust: Annotated[Path, Option(help="Trust file: the keys whose signatures count.")],
) -> None:
    """Verify that each brick is signed by a key that is trusted with bricks today.

    Example:
        medlego verify brain.safetensors --trust trust.toml
    """
    from medlego.bricks import load_bricks, signature_beside
    from medlego.generalist import Trust

    accepted, now = Trust.load(trust), datetime.now(UTC)
    facts: list[dict[str, str]] = []
    for path, brick in zip(bricks, load_bricks(bricks), strict=True):
        signature = signature_beside(path)
        by = accepted.check_brick(brick, signature, now)
        when = (signature and signature.when) or "-"
        facts.append({"brick": brick.digest, "file": str(path), "by": by.name, "when": when})
    rows = [(fact["file"], fact["by"], fact["when"], fact["brick"][:12]) for fact in facts]
    terminal.table(("brick", "signed by", "when", "digest"), rows)
    terminal.emit(facts)
