"""Values as JSON can spell them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel


def plain(value: Any) -> Any:
    """A value in dictionaries, lists, text and finite numbers; NaN and infinity become null.

    A value with `as_dict` says itself what it comes to; other data classes do so by field.
    """
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return plain_fields(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def plain_fields(value: Any) -> dict[str, Any]:
    """A data class by field, each as `plain` has it."""
    return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
