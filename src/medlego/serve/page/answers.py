"""Routes that answer, explain and compare images, one a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request

from medlego.generalist import utc_now
from medlego.prediction import explain, layer, scale
from medlego.serve.auth import PAGE
from medlego.serve.decoding import FittedImage
from medlego.serve.forms import ImageForm, SaliencyForm, read_form
from medlego.serve.page.html import render
from medlego.serve.page.page import PageOfApp, require_session
from medlego.serve.page.pictures import VIEW_SIZE, is_grey, png_uri, view
from medlego.serve.page.views import changes, image_view
from medlego.serve.problem_json import RequestError
from medlego.serve.response_models import PredictionsDocument
from medlego.serve.service import Service, UploadError

router = APIRouter(prefix=PAGE, include_in_schema=False, dependencies=[Depends(require_session)])


@router.post("/answers")
async def answers(request: Request, page: PageOfApp, number: int = 1) -> dict[str, Any]:
    """Answer an image."""
    service, trust = page.service, page.settings.trust
    form = await read_form(request, ImageForm, service.limits)
    async with _in_time(service):
        result = await service.predict(
            form.images, form.task or None, view_size=VIEW_SIZE, identify=True
        )
    (image,), (prediction,) = result.images, result.answers
    html = render(
        "answer.html",
        number=number,
        shown=await asyncio.to_thread(_shown, image),
        when=utc_now(),
        image=image_view(result.model, prediction, trust),
        model=result.model,
    )
    return {"html": html, "document": PredictionsDocument.of(result.model, [prediction])}


@router.post("/saliency")
async def saliency(request: Request, page: PageOfApp) -> dict[str, str]:
    """Map the evidence for a label."""
    service = page.service
    form = await read_form(request, SaliencyForm, service.limits)
    model = service.model
    if form.generalist != model.digest:
        raise RequestError(
            409, ["generalist: expected the one that answered, got a newer one; answer it again"]
        )
    async with _in_time(service):
        (upload,) = form.images
        (image,) = await service.decode_one(upload, [model.base.ref.image_size])
        work = partial(explain, label=form.label, base=model.base)
        (overlay,) = await asyncio.get_running_loop().run_in_executor(
            page.explaining, work, model.generalist, [image], form.task
        )
    # Without the probability, which is the one before calibration.
    caption = f"{form.task}: evidence for {overlay.label}, by {overlay.method}; {scale(overlay)}."
    return {"layer": await asyncio.to_thread(png_uri, layer(overlay)), "caption": caption}


@router.post("/comparison")
async def comparison(request: Request, page: PageOfApp, other: str) -> dict[str, Any]:
    """Answer an image by the present state and by another generalist."""
    service, trust, present = page.service, page.settings.trust, page.service.model
    names = page.comparisons.choices(present.generalist.lineage)
    form = await read_form(request, ImageForm, service.limits)
    async with _in_time(service):
        models = [present, await page.comparisons.model(other, present)]
        sizes = {VIEW_SIZE, *(model.base.ref.image_size for model in models)}
        (upload,) = form.images
        fitted = await service.decode_one(upload, list(sizes), identify=True)
        by_size = dict(zip(sizes, fitted, strict=True))
        predictions = []
        for model in models:
            tasks = model.engine.tasks_to_ask()
            predictions += await service.answer(model, [by_size[model.base.ref.image_size]], tasks)
    image = by_size[VIEW_SIZE]
    html = render(
        "comparison.html",
        shown=await asyncio.to_thread(_shown, image),
        when=utc_now(),
        columns=[
            (name, model, image_view(model, one, trust))
            for name, model, one in zip(
                ("the present state", names[other]), models, predictions, strict=True
            )
        ],
        changes=changes(*predictions),
    )
    documents = {
        side: PredictionsDocument.of(model, [replace(one, applied=image.applied)])
        for side, model, one in zip(("present", "other"), models, predictions, strict=True)
    }
    return {"html": html, "document": documents}


@asynccontextmanager
async def _in_time(service: Service) -> AsyncIterator[None]:
    """Bound the time of an answer; refuse a single image without its number.

    Raises:
        RequestError: it took too long, or the image cannot be read.
    """
    try:
        async with asyncio.timeout(service.limits.answer_s):
            yield
    except TimeoutError:
        raise RequestError(503, ["answer: expected within the time limit, was not"]) from None
    except UploadError as error:
        problems = [problem.removeprefix("image 1: ") for problem in error.problems]
        raise RequestError(422, problems) from None


def _shown(image: FittedImage) -> dict[str, Any]:
    """What the templates show of an image itself; `identity` is on the page and nowhere else."""
    height, width = image.sides
    return {
        "picture": view(image),
        "is_grey": is_grey(image),
        "size": f"{width} × {height} pixels",
        "applied": image.applied,
        "identity": image.identity,
    }
