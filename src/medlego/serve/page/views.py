"""Answers, bricks and edits as the templates show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from medlego.bricks import Brick, BrickSignature
from medlego.data import Kind
from medlego.errors import SignatureError
from medlego.generalist import Lineage, Trust, state
from medlego.prediction import OOD_LIMIT, Answer, Found, Route
from medlego.serve.reload import Model

CALIBRATION = {
    "calibrated": "Calibrated on validation images: taken at their word, such answers are right "
    "about as often as the probability says.",
    "stale": "Not calibrated: the calibration in the brick was fitted to the brick alone, not to "
    "this merge.",
    "none": "Not calibrated: read probabilities as an order, not as chances.",
}

_GATES = {None: "not checked", True: "passed", False: "failed"}


@dataclass(frozen=True)
class LabelRow:
    """One label's probability in [0, 1], and its threshold, if it has one."""

    label: str
    prob: float
    threshold: float | None
    chosen: bool


@dataclass(frozen=True)
class BrickRow:
    """A brick and who vouches for it; `trusted` is None where nobody checked."""

    task: str
    digest: str
    coefficient: float | None
    data: str
    images: str
    licence: str
    signed: str
    trusted: bool | None


@dataclass(frozen=True)
class TaskCard:
    """One task's answer, with the bricks that gave it."""

    task: str
    about: str
    labels: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    calibration: str
    atypical: bool
    bricks: tuple[BrickRow, ...]


@dataclass(frozen=True)
class Abstention:
    """Why no task answers, and its OOD score for each, nearest first."""

    reason: str
    limit: float
    ood_scores: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ImageCard:
    """Everything that is said of one image."""

    tasks: tuple[TaskCard, ...]
    abstention: Abstention | None
    warning: str


@dataclass(frozen=True)
class EntryRow:
    """One entry of the lineage, by its number."""

    number: int
    action: str
    tasks: str
    when: str
    by: str
    gate: str
    now: bool


def image_card(model: Model, found: Found, trust: Trust | None) -> ImageCard:
    """One image's answers by one state of a generalist."""
    route = found.route
    silent = not found.answers and route is not None
    return ImageCard(
        tasks=tuple(_task_card(model, answer, route, trust) for answer in found.answers),
        abstention=_abstention(route) if silent and route is not None else None,
        warning="" if route is None or silent else _sentence(route.reason),
    )


def brick_rows(bricks: Sequence[Brick], model: Model, trust: Trust | None) -> tuple[BrickRow, ...]:
    """Bricks with what vouches for them."""
    numbers = {item.digest: item.coefficient for item in model.generalist.recipe.bricks}
    rows = []
    for brick in bricks:
        signed, trusted = signer(brick, model.signatures.get(brick.digest), trust)
        images = sum(brick.card.images.get("train", {}).values())
        rows.append(
            BrickRow(
                task=brick.task.name,
                digest=brick.digest,
                coefficient=numbers.get(brick.digest),
                data=brick.card.data or "not stated",
                images=f"{images:,}" if images else "not stated",
                licence=brick.card.licence or "not stated",
                signed=signed,
                trusted=trusted,
            )
        )
    return tuple(rows)


def signer(
    brick: Brick, signature: BrickSignature | None, trust: Trust | None
) -> tuple[str, bool | None]:
    """Who signed a brick in words, and whether that holds; None where there is nothing to check."""
    if signature is None:
        return "not signed", None if trust is None else False
    if trust is None:
        keys = ", ".join(f"{key[:12]}…" for key, _ in signature.signatures)
        return f"key {keys}; not checked, since this service trusts no key", None
    try:
        return trust.check_brick(brick, signature, datetime.now(UTC)).name, True
    except SignatureError as error:
        return str(error), False


def entry_rows(lineage: Lineage, names: dict[str, str]) -> tuple[EntryRow, ...]:
    """The lineage, newest first; `names` are bricks' tasks by digest."""
    present = state(lineage)
    rows = []
    for number, entry in reversed(list(enumerate(lineage))):
        parts = [f"+ {names.get(digest, digest[:12])}" for digest in entry.added]
        parts += [f"− {names.get(digest, digest[:12])}" for digest in entry.removed]
        rows.append(
            EntryRow(
                number=number,
                action=entry.action if entry.to is None else f"{entry.action} to {entry.to}",
                tasks=", ".join(parts),
                when=entry.when or "not stated",
                by=entry.by or "not stated",
                gate=_GATES[None if entry.gate is None else entry.gate.get("passed")],
                now=number == present,
            )
        )
    return tuple(rows)


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
            return "asked by one alone"
        points = round(100 * (self.here - self.there), 1)
        return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def changes(here: ImageCard, there: ImageCard) -> tuple[Change, ...]:
    """Every label that one of two states has a probability for."""
    ours, theirs = _by_label(here), _by_label(there)
    keys = dict.fromkeys([*ours, *theirs])
    return tuple(Change(*key, ours.get(key), theirs.get(key)) for key in keys)


def _by_label(card: ImageCard) -> dict[tuple[str, str], float]:
    return {(task.task, row.label): row.prob for task in card.tasks for row in task.rows}


def percent(prob: float) -> str:
    """A probability for people; never 0 % or 100 %, which no model knows."""
    if prob < 0.001:
        return "< 0.1 %"
    if prob > 0.999:
        return "> 99.9 %"
    return f"{100 * prob:.1f} %"


def _task_card(model: Model, answer: Answer, route: Route | None, trust: Trust | None) -> TaskCard:
    task = answer.task
    limited = task.labels[-len(answer.thresholds) :] if answer.thresholds else ()
    limits = dict(zip(limited, answer.thresholds, strict=True))
    if task.kind is Kind.MULTILABEL and not limits:
        limits = dict.fromkeys(task.labels, 0.5)
    rows = [
        LabelRow(label, prob, limits.get(label), label in answer.labels)
        for label, prob in zip(task.labels, answer.probs, strict=True)
    ]
    if task.kind is not Kind.ORDINAL:
        rows.sort(key=lambda row: -row.prob)
    stated = [part for part in (task.modality, task.body_part) if part]
    return TaskCard(
        task=task.name,
        about=", ".join([str(task.kind), *stated]),
        labels=answer.labels,
        rows=tuple(rows),
        calibration=CALIBRATION[answer.state],
        atypical=route is not None and task.name in route.atypical,
        bricks=brick_rows(model.running.bricks(task.name), model, trust),
    )


def _abstention(route: Route) -> Abstention:
    nearest = sorted(route.ood_scores.items(), key=lambda pair: pair[1])
    return Abstention(_sentence(route.reason), OOD_LIMIT, tuple(nearest))


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""
