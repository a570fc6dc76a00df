"""What verbs check of their options before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from medlego.errors import MedLegoError, SettingsError, SignatureError, raise_all

if TYPE_CHECKING:
    from medlego.bricks import Brick, BrickSignature


def need_extra(extra: str, *modules: str) -> None:
    """Refuse to go on without the libraries of an extra.

    Raises:
        SettingsError: one is missing.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        raise SettingsError(
            f"{extra}: expected its libraries, found no {', '.join(missing)}; "
            f"pip install 'medlego[{extra}]'"
        )


def read_pairs(flag: str, form: str, texts: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping.

    Raises:
        SettingsError: a text of another form, or a name twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not (name and value):
            raise SettingsError(f"{flag}: expected {form}, got {text!r}")
        if name in pairs:
            raise SettingsError(f"{flag}: expected each name once, got {name!r} twice")
        pairs[name] = value
    return pairs


def refuse_existing(output: Path, force: bool) -> None:
    """Before any work: no file may lie at `output`, and its folder must exist."""
    if output.is_file() and not force:
        raise SettingsError(
            f"{output}: expected a new file, found one; choose another or pass --force"
        )
    refuse_unwritable(output)


def refuse_unwritable(output: Path) -> None:
    """Before any work: a file can be written at `output`, new or in place of another."""
    if output.is_dir():
        raise SettingsError(f"{output}: expected a file to write, found a folder; name a file")
    if not output.parent.is_dir():
        raise SettingsError(f"{output.parent}: expected a folder, found none; create it first")


def signatures_of(
    paths: Sequence[Path], bricks: Sequence[Brick], trust: Path | None
) -> list[BrickSignature]:
    """The signatures that lie beside brick files; with a trust file every brick must have one."""
    from datetime import UTC, datetime

    from medlego.bricks import signature_beside
    from medlego.generalist import Trust

    accepted = None if trust is None else Trust.load(trust)
    now, signatures, problems = datetime.now(UTC), [], []
    for path, brick in zip(paths, bricks, strict=True):
        try:
            signature = signature_beside(path)
            if accepted is not None:
                accepted.check_brick(brick, signature, now)
        except MedLegoError as error:
            problems.append(str(error))
            continue
        if signature is not None and signature.digest == brick.digest:
            signatures.append(signature)
    raise_all(SignatureError, "signatures", problems)
    return signatures
