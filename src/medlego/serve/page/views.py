"""Answers, bricks and edits as the templates show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from medlego.bricks import Brick, BrickSignature
from medlego.errors import SignatureError
from medlego.generalist import Entry, Trust
from medlego.prediction import Answer, Prediction, Route
from medlego.serve.reload import Model

CALIBRATION = {
    "calibrated": "Calibrated on validation images: of answers with a probability of 80 %, about "
    "80 % are right.",
    "stale": "Not calibrated: the brick was calibrated alone, not within this merge.",
    "none": "Not calibrated: use the probabilities for ranking only.",
}


@dataclass(frozen=True)
class LabelView:
    """One label's probability in [0, 1], and its threshold, if it has one."""

    label: str
    prob: float
    threshold: float | None
    chosen: bool


@dataclass(frozen=True, eq=False)
class BrickView:
    """A brick and its signature in words; `trusted` is None where nobody checked it."""

    brick: Brick
    signature: str
    trusted: bool | None


@dataclass(frozen=True, eq=False)
class AnswerView:
    """One task's answer, with the bricks that gave it."""

    answer: Answer
    labels: tuple[LabelView, ...]
    atypical: bool
    bricks: tuple[BrickView, ...]

    @property
    def about(self) -> str:
        """The task's kind, and the modality and body part that it states."""
        task = self.answer.task
        return ", ".join(filter(None, [str(task.kind), task.modality, task.body_part]))


@dataclass(frozen=True, eq=False)
class ImageView:
    """Everything that is said of one image; `abstained` is the route of one without answers."""

    answers: tuple[AnswerView, ...]
    abstained: Route | None
    warning: str


def image_view(model: Model, prediction: Prediction, trust: Trust | None) -> ImageView:
    """One image's answers by one state of a generalist."""
    route = prediction.route
    atypical = () if route is None else route.atypical
    answers = tuple(
        AnswerView(
            answer,
            _labels(answer),
            answer.task.name in atypical,
            brick_views(model.engine.bricks(answer.task.name), model, trust),
        )
        for answer in prediction.answers
    )
    return ImageView(
        answers,
        abstained=None if answers else route,
        warning=route.reason if answers and route is not None else "",
    )


def brick_views(
    bricks: Sequence[Brick], model: Model, trust: Trust | None
) -> tuple[BrickView, ...]:
    """Bricks with their signatures."""
    return tuple(
        BrickView(brick, *_signature(brick, model.signatures.get(brick.digest), trust))
        for brick in bricks
    )


def changed_tasks(entry: Entry, names: Mapping[str, str]) -> str:
    """What an entry of the lineage added and removed; `names` are bricks' tasks by digest."""
    added = [f"+ {names.get(digest, digest[:12])}" for digest in entry.added]
    removed = [f"− {names.get(digest, digest[:12])}" for digest in entry.removed]
    return ", ".join(added + removed)


@dataclass(frozen=True)
class Change:
    """One label's probability by two states; None where a state does not ask its task."""

    task: str
    label: str
    here: float | None
    there: float | None

    @property
    def words(self) -> str:
        """The difference in points, here against there."""
        if self.here is None or self.there is None:
            return "answered by one alone"
        points = round(100 * (self.here - self.there), 1)
        return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def changes(here: Prediction, there: Prediction) -> tuple[Change, ...]:
    """Every label that one of two states has a probability for."""
    ours, theirs = _by_label(here), _by_label(there)
    keys = dict.fromkeys([*ours, *theirs])
    return tuple(Change(*key, ours.get(key), theirs.get(key)) for key in keys)


def percent(prob: float) -> str:
    """A probability for people; never 0 % or 100 %, which no model knows."""
    if prob < 0.001:
        return "< 0.1 %"
    if prob > 0.999:
        return "> 99.9 %"
    return f"{100 * prob:.1f} %"


def sentence(words: str) -> str:
    """Words with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def _labels(answer: Answer) -> tuple[LabelView, ...]:
    task = answer.task
    limited = task.labels[-len(answer.thresholds) :] if answer.thresholds else ()
    limits = dict(zip(limited, answer.thresholds, strict=True))
    if not task.rules.exclusive and not limits:
        limits = dict.fromkeys(task.labels, 0.5)
    labels = [
        LabelView(label, prob, limits.get(label), label in answer.labels)
        for label, prob in zip(task.labels, answer.probs, strict=True)
    ]
    if not task.rules.scale:
        labels.sort(key=lambda label: -label.prob)
    return tuple(labels)


def _by_label(prediction: Prediction) -> dict[tuple[str, str], float]:
    return {
        (answer.task.name, label.label): label.prob
        for answer in prediction.answers
        for label in _labels(answer)
    }


def _signature(
    brick: Brick, signature: BrickSignature | None, trust: Trust | None
) -> tuple[str, bool | None]:
    """Who signed a brick, and whether that holds; None where there is nothing to check."""
    if signature is None:
        return "not signed", None if trust is None else False
    if trust is None:
        keys = ", ".join(f"{key[:12]}…" for key, _ in signature.signatures)
        return f"signed with key {keys}, not checked: this service trusts no key", None
    try:
        return f"signed by {trust.check_brick(brick, signature, datetime.now(UTC)).name}", True
    except SignatureError as error:
        return str(error), False
