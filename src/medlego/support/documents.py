"""Documents that nobody trusts, as frozen models: every problem of one stands in one error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from medlego.errors import InputError, MedLegoError, raise_all
from medlego.support.fields import field_problems
from medlego.support.strict_json import parse_object, spell, text_problems
from medlego.support.values import ShortRepr

MAX_PROBLEMS = 20
"""Problems of one document that an error names; it counts the rest."""


class FrozenModel(ShortRepr, BaseModel):
    """A pydantic model that nobody changes and that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as problem:
            refuse(InputError, type(self).__name__, field_problems(problem, type(self)))

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # for these words alone

    def spelled(self, *without: str) -> bytes:
        """As JSON in its one spelling, without some of its fields."""
        return spell(self.model_dump(mode="json", exclude=set(without)))


def left_out(**values: Any) -> object:
    """A serialiser that leaves fields out where they have these values, as older files do."""

    @model_serializer(mode="wrap")
    def serialise(self: BaseModel, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {
            name: value
            for name, value in handler(self).items()
            if name not in values or value != values[name]
        }

    return serialise


_Model = TypeVar("_Model", bound=BaseModel)


def read_document(
    model: type[_Model],
    text: bytes,
    *,
    name: str,
    error: type[MedLegoError],
    format: int | None = None,
    place: str = "",
) -> _Model:
    """One JSON document, parsed without leeway and validated in pydantic's strict mode.

    Args:
        model: what its fields must be.
        text: as it stands in the file.
        name: what messages call it, for example the file's path.
        error: the class to raise.
        format: what its field `format` must say before the others are judged.
        place: where in the file it stands, for messages.

    Raises:
        MedLegoError: of the class given: no JSON object, another format, or wrong fields or
            control characters, all together.
    """
    where = f"{name}: {place}" if place else name
    try:
        raw = parse_object(text)
    except ValueError as problem:
        raise error(f"{where}: {problem}") from problem
    stated = raw.get("format")
    if format is not None and (type(stated) is not int or stated != format):
        raise error(
            f"{name}: format: expected {format}, got {stated!r:.40}; "
            "read it with the medlego that wrote it"
        )
    try:
        document = model.model_validate_json(text, strict=True)
    except ValidationError as problem:
        refuse(error, name, field_problems(problem, model))
        raise
    refuse(error, name, text_problems(raw))
    return document


def read_fields(
    model: type[_Model], fields: Mapping[str, Any], *, name: str, error: type[MedLegoError]
) -> _Model:
    """Plain values, from flags or TOML, as a model.

    Raises:
        MedLegoError: of the class given: unknown or wrong fields, all together.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as problem:
        refuse(error, name, field_problems(problem, model))
        raise


def refuse(error: type[MedLegoError], name: str, problems: Sequence[str]) -> None:
    """As `raise_all`, at most `MAX_PROBLEMS` of them: a forged file may have any number."""
    more = len(problems) - MAX_PROBLEMS
    rest = [f"and {more} more"] if more > 0 else []
    raise_all(error, name, [*problems[:MAX_PROBLEMS], *rest])
