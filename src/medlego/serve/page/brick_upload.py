"""An uploaded brick with its signature, and the words beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from medlego.bricks import Brick, BrickSignature, brick_from_bytes, signature_from_bytes
from medlego.generalist import Generalist, Stamp, Trust, add, remove, undo, update
from medlego.serve.limits import ServiceLimits
from medlego.serve.problem_json import RequestError

_FIELDS = ("action", "by", "task", "site")
_FILES = ("brick", "signature")
_MAX_WORD_BYTES = 1024


@dataclass(frozen=True, eq=False)
class AskedEdit:
    """An edit as a person asks for it."""

    words: str
    change: Callable[[Generalist], Generalist]
    stamp: Stamp


async def read_edit(request: Request, limits: ServiceLimits, trust: Trust | None) -> AskedEdit:
    """Parse the form of an edit.

    Raises:
        RequestError: no such form, or a file that is too large.
        MedLegoError: no brick, no signature, or a brick that no trusted key vouches for.
    """
    words, contents = await _form(request, limits)
    stamp = Stamp.now(by=words.get("by", "").strip() or None)
    action, task, site = words.get("action"), words.get("task", ""), words.get("site") or None
    if action == "undo":
        return AskedEdit("Undo the last edit", lambda before: _undone(before, stamp, trust), stamp)
    if action == "remove":
        which = f" of {site[:12]}…" if site else ""
        return AskedEdit(
            f"Remove {task}{which}",
            lambda before: remove(before, task, site=site, stamp=stamp),
            stamp,
        )
    if action not in ("add", "update"):
        raise RequestError(422, ["action: expected add, update, remove or undo, got another"])
    brick, signatures = await asyncio.to_thread(_brick, contents, trust)
    edit = add if action == "add" else update
    verb = "Add" if action == "add" else "Replace with"
    return AskedEdit(
        f"{verb} {brick.task.name}, brick {brick.digest[:12]}…",
        lambda before: edit(before, brick, stamp=stamp).signed(signatures),
        stamp,
    )


async def _form(request: Request, limits: ServiceLimits) -> tuple[dict[str, str], dict[str, bytes]]:
    """Words and contents of files by field."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise RequestError(415, ["body: expected multipart/form-data, got another type"])
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=len(_FILES),
        max_fields=len(_FIELDS),
        max_part_size=_MAX_WORD_BYTES,
    )
    parser.spool_max_size = limits.request_bytes + 1  # never to a disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(
            400, [f"body: expected a whole form, got another ({error.message})"]
        ) from None
    words = {key: value for key, value in form.items() if isinstance(value, str)}
    contents = {k: await v.read() for k, v in form.items() if isinstance(v, UploadFile)}
    await form.close()
    return words, contents


def _undone(before: Generalist, stamp: Stamp, trust: Trust | None) -> Generalist:
    """The state before the last edit; a brick that comes back is vouched for like a new one."""
    after = undo(before, stamp=stamp)
    here = {brick.digest for brick in before.bricks}
    for brick in after.bricks:
        if trust is not None and brick.digest not in here:
            signature = before.past.signatures.get(brick.digest)
            trust.check_brick(brick, signature, datetime.now(UTC))
    return after


def _brick(
    contents: Mapping[str, bytes], trust: Trust | None
) -> tuple[Brick, list[BrickSignature]]:
    """The brick and what vouches for it, if anything does."""
    if not contents.get("brick"):
        raise RequestError(422, ["brick: expected a brick file, got none; choose one"])
    brick = brick_from_bytes(contents["brick"], "brick")
    written = contents.get("signature")
    signature = signature_from_bytes(written, "signature") if written else None
    if trust is not None:
        trust.check_brick(brick, signature, datetime.now(UTC))
    fits = signature is not None and signature.digest == brick.digest
    return brick, [signature] if signature is not None and fits else []
