"""A calibration: logits of one model to logits of calibrated probabilities.

Every map rises strictly, so it never changes the order of images, nor of labels that exclude each
other. Which labels are answered changes by operating points alone, where somebody chose one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from medlego.data import Task
from medlego.errors import SettingsError
from medlego.support import FrozenModel

MAX_KNOTS = 64
State = Literal["calibrated", "stale", "none"]
"""`stale`: a calibration is there, but was fitted to other logits than these; it is not used."""

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(gt=0, lt=1)]


class LogitMap(FrozenModel):
    """A rising, piecewise linear map: knots (x, y), and one slope before the first and behind the
    last.

    `temperature` has its one knot at (0, 0) and the slope 1 / T; `platt` has one knot; `isotonic`
    several and the slope 1; `none` changes nothing.
    """

    method: Literal["none", "temperature", "platt", "isotonic"]
    slope: Annotated[_Number, Field(gt=0)]
    x: Annotated[tuple[_Number, ...], Field(min_length=1, max_length=MAX_KNOTS)]
    y: Annotated[tuple[_Number, ...], Field(min_length=1, max_length=MAX_KNOTS)]

    @model_validator(mode="after")
    def _fits_method(self) -> LogitMap:
        if len(self.x) != len(self.y) or any(
            b <= a for part in (self.x, self.y) for a, b in pairwise(part)
        ):
            raise ValueError("expected as many x as y, both rising")
        if (len(self.x) > 1) != (self.method == "isotonic"):
            raise ValueError("expected several knots of an isotonic map, one of any other")
        if self.method in ("none", "temperature") and (self.x, self.y) != ((0.0,), (0.0,)):
            raise ValueError(f"expected the knot of a {self.method} map at 0, 0")
        if self.method in ("none", "isotonic") and self.slope != 1:
            raise ValueError(f"expected the slope of a {self.method} map to be 1")
        return self

    def __call__(self, logits: Tensor) -> Tensor:
        """Any shape to the same shape, dtype kept."""
        inner = [(d - b) / (c - a) for (a, b), (c, d) in pairwise(zip(self.x, self.y, strict=True))]
        bends = [after - before for before, after in pairwise([self.slope, *inner, self.slope])]
        mapped = self.y[0] + self.slope * (logits - self.x[0])
        for x, bend in zip(self.x, bends, strict=False):
            mapped = mapped + bend * (logits - x).relu()
        return mapped


class Aim(FrozenModel):
    """What an operating point is chosen for."""

    aim: Literal["sensitivity", "specificity"]
    value: _Share

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Aim | None:
        """The one that training settings state under its name, if any."""
        for aim in ("sensitivity", "specificity"):
            value = settings.get(aim)
            if isinstance(value, float) and 0 < value < 1:
                return cls.model_validate({"aim": aim, "value": value})
        return None


class OperatingPoint(Aim):
    """Thresholds at which each label reached the aim on the validation images.

    One for the second label of a binary task, one for each of a multilabel task; calibrated
    probabilities above them are answers. None where there were too few images to choose one.
    """

    thresholds: tuple[_Share | None, ...]


def check_aim(aim: Aim | None, task: Task) -> None:
    """Refuse operating points of a task that has none.

    Raises:
        SettingsError: labels that exclude each other and are more than two.
    """
    if aim is not None and not task.rules.thresholds:
        raise SettingsError(
            f"{aim.aim}: expected a binary or multilabel task, got {task.kind} {task.name!r}; "
            "leave it out"
        )


class Calibration(FrozenModel):
    """Fitted on validation images to the logits of one brick alone, or of one merge.

    `maps` has one entry per label of a multilabel task, else one for all logits. Losses are mean
    log losses of the validation images, `after` by cross-validation.
    """

    images: Annotated[int, Field(ge=1)]
    maps: tuple[LogitMap, ...]
    loss_before: Annotated[_Number, Field(ge=0)]
    loss_after: Annotated[_Number, Field(ge=0)]
    operating: OperatingPoint | None

    def __call__(self, logits: Tensor) -> Tensor:
        """(N, outputs) → (N, outputs)."""
        if len(self.maps) == 1:
            return self.maps[0](logits)
        columns = [own(logits[:, number]) for number, own in enumerate(self.maps)]
        return torch.stack(columns, dim=1)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """What each map's probability must exceed for its label to be answered.

        Of the operating point; else where the logits' own sign changes.
        """
        zero = torch.zeros((), dtype=torch.float64)
        own = [1 / (1 + math.exp(-float(logit_map(zero)))) for logit_map in self.maps]
        if self.operating is None:
            return tuple(own)
        points = zip(own, self.operating.thresholds, strict=True)
        return tuple(sign if point is None else point for sign, point in points)


def missing_thresholds(aim: Aim | None, calibration: Calibration | None, task: Task) -> str | None:
    """That thresholds were asked for and could not be chosen, in words; None where all were."""
    if aim is None:
        return None
    labels = task.labels[-task.head_shape[1] :]
    point = None if calibration is None else calibration.operating
    chosen = [None] * len(labels) if point is None else point.thresholds
    lacking = [label for label, own in zip(labels, chosen, strict=True) if own is None]
    if not lacking:
        return None
    return (
        f"no threshold for a {aim.aim} of {aim.value:g}: {', '.join(lacking)}; val has too few "
        "images with it or without it"
    )


def calibration_problems(calibration: Calibration, task: Task) -> list[str]:
    """What keeps a calibration from being one of a task."""
    by_logit = task.rules.thresholds
    count = task.head_shape[1] if by_logit else 1
    if len(calibration.maps) != count:
        return [f"maps: expected {count} for this task, got {len(calibration.maps)}"]
    fitting = ("none", "platt", "isotonic") if by_logit else ("none", "temperature")
    problems = [
        f"maps.{number}: expected {', '.join(fitting)} for a {task.kind} task, got {own.method}"
        for number, own in enumerate(calibration.maps)
        if own.method not in fitting
    ]
    if (point := calibration.operating) is not None:
        if not by_logit:
            problems.append(f"operating: expected null for a {task.kind} task")
        elif len(point.thresholds) != count:
            problems.append(f"operating: expected {count} thresholds, got {len(point.thresholds)}")
    return problems
