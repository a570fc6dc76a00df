"""Answers: one task's to one image, all of one image, and one task's to a whole split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from medlego.data import Samples, Task
from medlego.images import warnings_of
from medlego.merge import Capability
from medlego.metrics import OperatingPoint, Sample, State
from medlego.prediction.routing import Route
from medlego.support import ShortRepr, plain_fields, shortened


@dataclass(frozen=True, repr=False)
class Answer(ShortRepr):
    """One task's answer to one image: a probability per label.

    `state` says whether probabilities are calibrated. `thresholds` are those of the second label of
    a binary task, or of each label of a multilabel one; empty where one half is.
    """

    task: Task
    probs: tuple[float, ...]
    state: State = "none"
    thresholds: tuple[float, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The likeliest label, or those above their thresholds where the kind has any."""
        limits = np.array(self.thresholds) if self.thresholds else None
        rules = self.task.rules
        (answer,) = rules.decide(np.array([self.probs]), limits)
        return tuple(self.task.labels[place] for place in rules.places(answer))

    def __repr__(self) -> str:
        return shortened(f"Answer({self._said()})")

    def _said(self) -> str:
        return f"{self.task.name}: {', '.join(self.labels) or 'none of its labels'}"

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "task": self.task.name,
            "kind": str(self.task.kind),
            "labels": list(self.labels),
            "probabilities": dict(zip(self.task.labels, self.probs, strict=True)),
            "calibration": self.state,
            "thresholds": dict(
                zip(self.task.labels[-len(self.thresholds) :], self.thresholds, strict=True)
            )
            if self.thresholds
            else None,
        }


@dataclass(frozen=True, repr=False)
class Prediction(ShortRepr):
    """Every asked task's answer to one image, and where its route leads, if there is one.

    `image` is the image's name, empty where nobody named it; `applied` says what reading it did.
    An image that was not read has a `problem` and no answers.
    """

    image: str = field(repr=False)
    applied: tuple[str, ...]
    answers: tuple[Answer, ...]
    route: Route | None = None
    problem: str | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        said = "; ".join(answer._said() for answer in self.answers)
        return shortened(f"Prediction({said or ('not read' if self.problem else 'no answer')})")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What reading the image had to mend."""
        return warnings_of(self.applied)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return plain_fields(self)


@dataclass(frozen=True, eq=False, repr=False)
class TaskAnswers(ShortRepr):
    """One model's answers to images that are known to be one task's; in memory only.

    `probs` (N, labels), float64, are of every image. `answered` (N,) says which images `predict`
    would send to the task; None for all. `thresholds` are as in `Kind.decide`, `operating` is what
    they were chosen for. `routing` counts where `predict` would send the images.
    """

    probs: np.ndarray
    answered: np.ndarray | None = None
    thresholds: np.ndarray | None = None
    state: State = "none"
    operating: OperatingPoint | None = None
    routing: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, reader: Capability, probs: Tensor) -> TaskAnswers:
        """A reader's probabilities (N, labels)."""
        operating = None if reader.calibration is None else reader.calibration.operating
        return cls(probs.double().numpy(), None, reader.thresholds, reader.state, operating)

    @classmethod
    def read(cls, reader: Capability, features: Tensor) -> TaskAnswers:
        """What a task's head says of pooled features (N, features)."""
        return cls.of(reader, reader.probabilities(reader.head.logits(features)))

    def sample(self, task: Task, samples: Samples) -> Sample:
        """The images that are answered: what scores of probabilities are of."""
        whole = Sample(task, self.probs, samples.labels, samples.patients, self.thresholds)
        return whole if self.answered is None else whole.take(self.answered)

    def scored(self, task: Task, samples: Samples) -> Sample:
        """All images, answered wrongly where they are sent elsewhere."""
        probs = self.probs
        if self.answered is not None:
            wrong = task.rules.wrong_answers(samples.labels, self.thresholds)
            probs = np.where(self.answered[:, None], probs, wrong)
        return Sample(task, probs, samples.labels, samples.patients, self.thresholds)
