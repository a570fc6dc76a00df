"""A multipart form to images and words, held in memory and within limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from medlego.serve.limits import ServiceLimits
from medlego.serve.problem_json import RequestError

_MAX_WORD_BYTES = 1024
_FIELDS = ("task", "every_task")
_WORDS = {"true": True, "1": True, "false": False, "0": False, "": False}


@dataclass(frozen=True)
class Asked:
    """What a request asks: contents of files, which tasks, and what else its route knows."""

    images: tuple[bytes, ...]
    task: str | None
    every_task: bool
    more: Mapping[str, str]


SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "additionalProperties": False,
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "description": "PNG, JPEG, TIFF, DICOM or NIfTI files.",
                            "items": {"type": "string", "format": "binary"},
                        },
                        "task": {
                            "type": "string",
                            "description": "Ask this task, whatever an image looks like.",
                        },
                        "every_task": {
                            "type": "boolean",
                            "description": "Ask every task, whatever an image looks like.",
                        },
                    },
                }
            }
        },
    }
}
"""For OpenAPI."""


async def read_form(request: Request, limits: ServiceLimits, more: tuple[str, ...] = ()) -> Asked:
    """Parse a request's body; `more` are fields of words beside those of a prediction.

    Raises:
        RequestError: no multipart form, other fields, or too many or too large images.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise RequestError(415, ["body: expected multipart/form-data, got another type"])
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=limits.images,
        max_fields=len(_FIELDS + more),
        max_part_size=_MAX_WORD_BYTES,
    )
    parser.spool_max_size = limits.request_bytes + 1  # never to a disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        why = f"body: expected a whole form, got another ({error.message})"
        raise RequestError(400, [why]) from None
    try:
        return await _checked(form, limits, more)
    finally:
        await form.close()


async def _checked(form: FormData, limits: ServiceLimits, more: tuple[str, ...]) -> Asked:
    images = [v for k, v in form.multi_items() if k == "images" and isinstance(v, UploadFile)]
    others = [(k, v) for k, v in form.multi_items() if not (k == "images" and v in images)]
    problems = _strangers(others, _FIELDS + more)
    words = {k: v for k, v in others if isinstance(v, str)}
    if not images:
        problems.append("images: expected at least one file, got none")
    if (every := _WORDS.get(words.get("every_task", "").lower())) is None:
        problems.append("every_task: expected true or false, got another word")
    if every and words.get("task"):
        problems.append("every_task: expected it without task, got both; choose one")
    if problems:
        raise RequestError(422, problems)
    if large := [n for n, one in enumerate(images, 1) if (one.size or 0) > limits.image_bytes]:
        most = f"{limits.image_bytes:,}"
        raise RequestError(
            413, [f"image {n}: expected at most {most} bytes, got more" for n in large]
        )
    contents = [await image.read() for image in images]
    return Asked(
        tuple(contents),
        words.get("task") or None,
        bool(every),
        {k: words[k] for k in more if k in words},
    )


def _strangers(others: list[tuple[str, UploadFile | str]], fields: tuple[str, ...]) -> list[str]:
    """Fields that are not known, come twice, or are files where words should be."""
    problems, seen = [], set()
    for key, value in others:
        if key in fields and isinstance(value, str) and key not in seen:
            seen.add(key)
        elif key in fields:
            problems.append(f"{key}: expected one word, got a file or several")
        elif key == "images":
            problems.append("images: expected files, got a field without a file name")
        else:
            problems.append(f"form: expected images, {', '.join(fields)}, got another field")
    return problems
