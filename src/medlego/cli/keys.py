"""medlego keys new | show, medlego sign, medlego verify"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medlego.cli.console import Options, emit, say, show_table
from medlego.cli.options import Trusted

app = typer.Typer(
    help="Make Ed25519 keys and entries for trust files.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("new")
def new_command(
    context: typer.Context,
    name: Annotated[Path, typer.Argument(metavar="NAME", help="Files NAME.key and NAME.pub.")],
) -> None:
    """Make a key pair: NAME.key stays with you, NAME.pub is for whoever is to trust you.

    The private key is encrypted where MEDLEGO_KEY_PASSPHRASE is set.
    """
    import os

    from medlego.bricks import PASSPHRASE, Signer, save_keys

    options: Options = context.obj
    signer = Signer.new()
    private, public = Path(f"{name}.key"), Path(f"{name}.pub")
    passphrase = os.environ.get(PASSPHRASE)
    save_keys(signer, private, public, passphrase)
    say(options, f"wrote {private} (keep it secret) and {public}; key {signer.id[:16]}")
    if not passphrase:
        say(options, f"note: {private} is not encrypted; set {PASSPHRASE} to encrypt it")
    emit(options, {"id": signer.id, "private": str(private), "public": str(public)})


@app.command("show")
def show_command(
    context: typer.Context,
    public: Annotated[Path, typer.Argument(metavar="KEY.pub", help="A public key.")],
    name: Annotated[str, typer.Option(help="Whose it is, for the trust file.")] = "",
    role: Annotated[
        list[str] | None, typer.Option(help="brick or edit; repeatable. brick by default.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Last day, as 2027-12-31.")] = None,
) -> None:
    """Print a public key as an entry for a trust file."""
    from medlego.bricks import load_public_key
    from medlego.errors import SignatureError
    from medlego.generalist import Trust
    from medlego.support import parse_tables, read_fields

    options: Options = context.obj
    key = load_public_key(public)
    lines = [
        "[[key]]",
        f"name = {_quoted(name or public.stem)}",
        f"public = {_quoted(key.text)}",
        f"roles = [{', '.join(_quoted(r) for r in role or ['brick'])}]",
        *([f"expires = {expires}"] if expires else []),
    ]
    text = "\n".join(lines)
    complaint = "--expires: expected a day as 2027-12-31"
    fields = parse_tables(text.encode(), SignatureError, complaint)
    read_fields(Trust, fields, name="keys show", error=SignatureError)
    if not options.json:
        print(text)
    emit(options, {"id": key.id, "trust": text})


def sign_command(
    context: typer.Context,
    bricks: Annotated[list[Path], typer.Argument(metavar="BRICK…", help="Brick files.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
) -> None:
    """Sign bricks: BRICK.sig.json lies beside each afterwards."""
    from medlego.bricks import (
        SIGNATURE_SUFFIX,
        load_bricks,
        load_signer,
        save_signature,
        sign_brick,
    )
    from medlego.generalist import utc_now

    options: Options = context.obj
    signer = load_signer(key)
    files = []
    for path, brick in zip(bricks, load_bricks(bricks), strict=True):
        file = Path(f"{path}{SIGNATURE_SUFFIX}")
        save_signature(sign_brick(brick, signer, utc_now()), file)
        say(options, f"wrote {file} (brick {brick.digest[:12]}, key {signer.id[:16]})")
        files.append(str(file))
    emit(options, {"key": signer.id, "signatures": files})


def verify_command(
    context: typer.Context,
    bricks: Annotated[list[Path], typer.Argument(metavar="BRICK…", help="Brick files.")],
    trust: Trusted,
) -> None:
    """Check that each brick is signed by a key that is trusted with bricks today."""
    from datetime import UTC, datetime

    from medlego.bricks import load_bricks, signature_beside
    from medlego.generalist import Trust

    options: Options = context.obj
    allowed, now = Trust.load(trust), datetime.now(UTC)
    facts: list[dict[str, str]] = []
    for path, brick in zip(bricks, load_bricks(bricks), strict=True):
        signature = signature_beside(path)
        by = allowed.check_brick(brick, signature, now)
        when = (signature and signature.when) or "-"
        facts.append({"brick": brick.digest, "file": str(path), "by": by.name, "when": when})
    rows = [(fact["file"], fact["by"], fact["when"], fact["brick"][:12]) for fact in facts]
    show_table(options, ("brick", "signed by", "when", "digest"), rows)
    emit(options, facts)


def _quoted(text: str) -> str:
    """A TOML string."""
    import json

    return json.dumps(text)
