"""Multipart forms as pydantic models, held in memory and within limits.

FastAPI's own form parameters are read before any dependency, so before the session is checked, and
files beyond 1 MB go to the disk; hence the parser here. The models describe the forms by OpenAPI.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from medlego.serve.limits import ServiceLimits
from medlego.serve.problem_json import RequestError
from medlego.support import shown

_MAX_TEXT_BYTES = 1024
_EXPECTED = {
    "bytes_type": "expected a file, got text or several",
    "extra_forbidden": "expected known fields, got another",
    "missing": "expected a value, got none",
    "string_type": "expected one text, got a file or several",
}


def _no_file(value: object) -> object:
    if isinstance(value, bytes):
        raise PydanticCustomError("string_type", "expected text")
    return value


FileContent = Annotated[bytes, Strict()]
Text = Annotated[str, Strict()]
Flag = Annotated[bool, BeforeValidator(_no_file)]


class Form(BaseModel):
    """Fields that are texts or the contents of files; names of files are not looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PredictForm(Form):
    """Images, and what they are asked."""

    images: list[FileContent] = Field(
        min_length=1, description="PNG, JPEG, TIFF, DICOM or NIfTI files."
    )
    task: Text = Field("", description="Ask this task of every image, whatever its content.")
    every_task: Flag = Field(False, description="Ask every task of every image.")


class ImageForm(Form):
    """One image of the page, and its task, empty where that is detected automatically."""

    images: list[FileContent] = Field(min_length=1, max_length=1)
    task: Text = ""


class SaliencyForm(ImageForm):
    """One image, and the label of a task whose evidence is shown; `generalist` answered it."""

    task: Text = Field(min_length=1)
    label: Text
    generalist: Text


_F = TypeVar("_F", bound=Form)


async def read_form(request: Request, form: type[_F], limits: ServiceLimits) -> _F:
    """Parse a request's body.

    Raises:
        RequestError: no multipart form, wrong fields, or too many or too large images.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise RequestError(
            415, [f"body: expected multipart/form-data, got {shown(kind) or 'no type'}"]
        )
    fields = form.model_fields
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=limits.images if "images" in fields else len(fields),
        max_fields=len(fields),
        max_part_size=_MAX_TEXT_BYTES,
    )
    parser.spool_max_size = limits.request_bytes + 1  # never to a disk
    try:
        parsed = await parser.parse()
    except MultiPartException as error:
        why = f"body: expected a whole form, got another ({error.message})"
        raise RequestError(400, [why]) from None
    try:
        values = await _values(parsed, limits)
    finally:
        await parsed.close()
    try:
        return form.model_validate(
            {k: v if k == "images" or len(v) > 1 else v[0] for k, v in values.items()}
        )
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestError(422, [_sentence(problem) for problem in problems]) from None


async def _values(parsed: FormData, limits: ServiceLimits) -> dict[str, list[str | bytes]]:
    """Texts and contents of files by field; nothing is copied where an image is too large."""
    images = [file for file in parsed.getlist("images") if isinstance(file, UploadFile)]
    most = limits.image_bytes
    if large := [n for n, image in enumerate(images, 1) if (image.size or 0) > most]:
        why = f"expected at most {most:,} bytes, got more"
        raise RequestError(413, [f"image {n}: {why}" for n in large])
    values: dict[str, list[str | bytes]] = {}
    for key, value in parsed.multi_items():
        content = await value.read() if isinstance(value, UploadFile) else value
        values.setdefault(key, []).append(content)
    return values


def _sentence(problem: ErrorDetails) -> str:
    """What is wrong with a field, without what came in."""
    kind, place = problem["type"], ".".join(map(str, problem["loc"]))
    if kind == "extra_forbidden" or not place:
        place = "form"
    return f"{place}: {_EXPECTED.get(kind, problem['msg'])}"
