"""Images answered, explained and compared, one a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import JSONResponse

from medlego.generalist import Trust
from medlego.images import Image
from medlego.prediction import Found, Saliency, explain, scale, tasks_to_ask
from medlego.serve.auth import PAGE
from medlego.serve.decoding import Fitted
from medlego.serve.documents import predictions_document
from medlego.serve.forms import Asked, read_form
from medlego.serve.page.comparisons import Others
from medlego.serve.page.errors import told
from medlego.serve.page.html import render
from medlego.serve.page.pictures import VIEW_SIZE, overlay_layer, view
from medlego.serve.page.views import changes, image_card
from medlego.serve.problem_json import RequestError
from medlego.serve.reload import Model
from medlego.serve.service import Service


def answer_routes(
    service: Service, others: Others, trust: Trust | None, guard: Callable[..., object]
) -> APIRouter:
    """Routes that each take one image; `guard` lets a request in, or raises."""
    router = APIRouter(prefix=PAGE, include_in_schema=False, dependencies=[Depends(guard)])
    # One at a time: a thread that is not waited for any more still computes.
    explaining = ThreadPoolExecutor(1, "medlego-explaining")

    @router.post("/answers")
    async def answers(request: Request, number: int = 1) -> Response:
        sent = await _one_image(request, service)
        async with _in_time(service):
            answered = await service.predict(sent.images, sent.task, view_size=VIEW_SIZE)
        (image,) = answered.views
        return JSONResponse(
            {
                "html": render(
                    "answer.html",
                    number=number,
                    picture=await asyncio.to_thread(view, image),
                    size=_size(image),
                    applied=image.applied,
                    card=image_card(answered.model, answered.found[0], trust),
                    model=answered.model,
                ),
                "document": _document(answered.model, image, answered.found),
            }
        )

    @router.post("/saliency")
    async def saliency(request: Request) -> Response:
        sent = await _one_image(request, service, ("label", "generalist"))
        model, label = service.model, sent.more.get("label")
        if sent.task is None or label is None:
            raise RequestError(422, ["task and label: expected both, got one or none"])
        if sent.more.get("generalist") != model.digest:
            raise RequestError(
                409, ["generalist: expected the one that answered, got a newer; ask it again"]
            )
        async with _in_time(service):
            ((image,),) = await service.read(sent.images, [model.base.ref.image_size])
            asked = partial(explain, label=label, base=model.base)
            (found,) = await asyncio.get_running_loop().run_in_executor(
                explaining, asked, model.generalist, [image], sent.task
            )
        return JSONResponse(
            {"layer": await asyncio.to_thread(overlay_layer, found), "caption": _caption(found)}
        )

    @router.post("/comparison")
    async def comparison(request: Request, other: str) -> Response:
        sent = await _one_image(request, service)
        here = service.model
        async with _in_time(service):
            there = await others.model(other, here)
            sides = [model.base.ref.image_size for model in (here, there)]
            sizes = list(dict.fromkeys((VIEW_SIZE, *sides)))
            (fitted,) = await service.read(sent.images, sizes)
            at = dict(zip(sizes, fitted, strict=True))
            image = at[VIEW_SIZE]
            found = [
                await _answer(service, model, at[side])
                for model, side in zip((here, there), sides, strict=True)
            ]
        words = {choice.key: choice.words for choice in others.choices(here.generalist.lineage)}
        cards = [image_card(m, f, trust) for m, f in zip((here, there), found, strict=True)]
        return JSONResponse(
            {
                "html": render(
                    "comparison.html",
                    picture=await asyncio.to_thread(view, image),
                    size=_size(image),
                    columns=[
                        ("the present state", here, cards[0]),
                        (words[other], there, cards[1]),
                    ],
                    changes=changes(*cards),
                ),
                "document": {
                    "present": _document(here, image, [found[0]]),
                    "other": _document(there, image, [found[1]]),
                },
            }
        )

    return router


@asynccontextmanager
async def _in_time(service: Service) -> AsyncIterator[None]:
    try:
        async with told(), asyncio.timeout(service.limits.answer_s):
            yield
    except TimeoutError:
        raise RequestError(503, ["answer: expected within the time limit, was not"]) from None


async def _one_image(request: Request, service: Service, more: tuple[str, ...] = ()) -> Asked:
    asked = await read_form(request, service.limits, more)
    if len(asked.images) != 1:
        raise RequestError(422, [f"images: expected one, got {len(asked.images)}"])
    return asked


async def _answer(service: Service, model: Model, image: Fitted) -> Found:
    asked = tasks_to_ask(model.running, None, every_task=False)
    return await asyncio.wrap_future(service.batcher.submit(model, image.pixels, asked))


def _document(model: Model, image: Image, found: list[Found]) -> dict[str, Any]:
    return predictions_document(model, [image.applied], found).model_dump(mode="json")


def _caption(found: Saliency) -> str:
    """Without the probability, which is the one before calibration."""
    return f"{found.task.name}: what speaks for {found.label}, by {found.method}; {scale(found)}."


def _size(image: Fitted) -> str:
    height, width = image.sides
    return f"{width} × {height} pixels"
