"""Routes that change bricks: an edit previewed, looked at, then applied or discarded."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request

from medlego.bricks import Brick, BrickSignature, brick_from_bytes, signature_from_bytes
from medlego.generalist import Generalist, Stamp, Trust, add, remove, undo, update
from medlego.serve.auth import PAGE
from medlego.serve.forms import FileContent, Flag, Form, Text, read_form
from medlego.serve.page.html import render
from medlego.serve.page.page import PageOfApp, require_session
from medlego.serve.page.proposals import Edit
from medlego.serve.problem_json import RequestError

router = APIRouter(
    prefix=f"{PAGE}/edit", include_in_schema=False, dependencies=[Depends(require_session)]
)


class EditForm(Form):
    """What to do and by whom, with an uploaded brick and its signature where one is needed."""

    action: Literal["add", "update", "remove", "undo"]
    by: Text = ""
    task: Text = ""
    site: Text = ""
    brick: FileContent = b""
    signature: FileContent = b""
    allow_older: Flag = False


@router.post("/preview")
async def preview(request: Request, page: PageOfApp) -> dict[str, Any]:
    """Evaluate an edit; nothing changes yet."""
    form = await read_form(request, EditForm, page.service.limits)
    stamp = Stamp.now(by=form.by.strip() or None)
    description, edit = await asyncio.to_thread(_requested, form, stamp, page.settings.trust)
    page.proposals.preview(description, edit, stamp)
    return await status(page)


@router.post("/status")
async def status(page: PageOfApp) -> dict[str, Any]:
    """The proposal as it is now."""
    proposal = page.proposals.current
    html = render("proposal.html", proposal=proposal, progress=page.proposals.progress)
    return {"html": html, "status": proposal.status if proposal else ""}


@router.post("/apply")
async def apply(page: PageOfApp, proposal: str = "") -> dict[str, Any]:
    """Replace the present state by the proposed one."""
    await page.proposals.apply(proposal)
    return await status(page)


@router.post("/discard")
async def discard(page: PageOfApp, proposal: str = "") -> dict[str, Any]:
    """Forget the proposal."""
    page.proposals.discard(proposal)
    return await status(page)


def _requested(form: EditForm, stamp: Stamp, trust: Trust | None) -> tuple[str, Edit]:
    """The edit that a form asks for, in words and as a function.

    Raises:
        RequestError: no brick where one is needed.
        MedLegoError: no brick file, no signature, or a brick that no trusted key signed.
    """
    if form.action == "undo":
        return "Undo the last edit", lambda before: _undone(before, stamp, trust)
    if form.action == "remove":
        site = form.site or None
        return (
            f"Remove {form.task}{f' of {site[:12]}…' if site else ''}",
            lambda before: remove(before, form.task, site=site, stamp=stamp),
        )
    if not form.brick:
        raise RequestError(422, ["brick: expected a brick file, got none; choose one"])
    brick, signature = _brick(form, trust)
    older = form.allow_older
    edit, verb = (add, "Add") if form.action == "add" else (update, "Replace this task's brick:")
    return (
        f"{verb} {brick.task.name}, brick {brick.digest[:12]}…",
        lambda before: edit(
            before, brick, signature=signature, allow_older=older, stamp=stamp
        ).signed([signature] if signature else []),
    )


def _undone(before: Generalist, stamp: Stamp, trust: Trust | None) -> Generalist:
    """The state before the last edit; a brick that comes back is checked like a new one."""
    after = undo(before, stamp=stamp)
    present = {brick.digest for brick in before.bricks}
    for brick in after.bricks:
        if trust is not None and brick.digest not in present:
            signature = before.past.signatures.get(brick.digest)
            trust.check_brick(brick, signature, datetime.now(UTC))
    return after


def _brick(form: EditForm, trust: Trust | None) -> tuple[Brick, BrickSignature | None]:
    """The brick and its signature, if it has one."""
    brick = brick_from_bytes(form.brick, "brick")
    signature = signature_from_bytes(form.signature, "signature") if form.signature else None
    if trust is not None:
        trust.check_brick(brick, signature, datetime.now(UTC))
    return brick, signature if signature and signature.digest == brick.digest else None
