"""What the service answers, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from medlego.evaluation import brick_facts, generalist_card, generalist_facts
from medlego.prediction import Found
from medlego.serve.reload import Keeper, Model

_CLOSED = ConfigDict(frozen=True, extra="forbid")

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest."""


class AnswerDocument(BaseModel):
    """One task's answer to one image."""

    model_config = _CLOSED

    task: str
    kind: str
    labels: list[str] = Field(description="The likeliest label, or those above their thresholds.")
    probabilities: dict[str, float]
    calibration: str = Field(description="calibrated, none, or stale.")
    thresholds: dict[str, float] | None
    bricks: list[Hex] = Field(description="Bricks whose deltas and heads answered.")


class RouteDocument(BaseModel):
    """Which tasks an image belongs to, by its content."""

    model_config = _CLOSED

    tasks: list[str]
    atypical: list[str]
    probabilities: dict[str, float]
    none: float = Field(description="Probability that the image belongs to no task.")
    ood_scores: dict[str, float]
    reason: str = Field(description="Why no task applies, or what makes the image special.")


class PredictionDocument(BaseModel):
    """The answers to one image; without any, the route's reason says why."""

    model_config = _CLOSED

    image: str = Field(description="Its place among the images sent: image 1, image 2, …")
    applied: list[str] = Field(description="What was done to its pixels while reading it.")
    answers: list[AnswerDocument]
    route: RouteDocument | None


class PredictionsDocument(BaseModel):
    """Answers to the images of one request, in order, all by one state of the generalist."""

    model_config = _CLOSED

    generalist: Hex = Field(description="Digest of the recipe that answered.")
    entry: int = Field(ge=0, description="Number of the lineage's entry that led to it.")
    predictions: list[PredictionDocument]


class SignatureDocument(BaseModel):
    """Who says to have signed a brick; `medlego verify` checks it."""

    model_config = _CLOSED

    keys: list[str]
    when: str | None


class BrickDocument(BaseModel):
    """A brick without its tensors, as `medlego inspect` tells it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    digest: Hex
    task: dict[str, Any]
    signature: SignatureDocument | None


class GeneralistDocument(BaseModel):
    """The generalist as `medlego inspect` tells it, with its model card."""

    model_config = ConfigDict(frozen=True, extra="allow")

    digest: Hex
    entry: int = Field(ge=0)
    base: dict[str, Any]
    mode: str
    recipe: dict[str, Any]
    lineage: list[dict[str, Any]]
    tasks: list[dict[str, Any]]
    card: str = Field(description="The model card, Markdown.")
    problem: str | None = Field(
        description="Why the directory's present state does not answer, where it is broken."
    )


class HealthDocument(BaseModel):
    """Whether the service answers, and with what."""

    model_config = _CLOSED

    status: str = Field(
        description="live or failed; ready, stale (an older state answers, since the directory's "
        "present one is broken) or closed."
    )
    generalist: Hex | None = Field(default=None, description="Digest of the recipe that answers.")


class ProblemDocument(BaseModel):
    """RFC 9457: what was wrong with a request."""

    model_config = _CLOSED

    title: str
    status: int
    problems: list[str]


def predictions_document(
    model: Model, applied: list[tuple[str, ...]], found: list[Found]
) -> PredictionsDocument:
    """Answers as they are sent."""
    return PredictionsDocument(
        generalist=model.digest,
        entry=model.entry,
        predictions=[
            PredictionDocument(
                image=f"image {number}",
                applied=list(steps),
                answers=[
                    AnswerDocument.model_validate(
                        {**answer.as_dict(), "bricks": _digests(model, answer.task.name)}
                    )
                    for answer in one.answers
                ],
                route=None
                if one.route is None
                else RouteDocument.model_validate(one.route.as_dict()),
            )
            for number, (steps, one) in enumerate(zip(applied, found, strict=True), 1)
        ],
    )


def _digests(model: Model, task: str) -> list[str]:
    return [brick.digest for brick in model.running.bricks(task)]


def generalist_document(keeper: Keeper) -> GeneralistDocument:
    """The generalist that answers now."""
    model = keeper.model
    generalist = model.generalist
    facts = generalist_facts(generalist)
    del facts["type"], facts["bricks"]
    return GeneralistDocument(
        **facts,
        entry=model.entry,
        base=generalist.base.model_dump(mode="json"),
        mode=generalist.recipe.mode,
        card=generalist_card(generalist),
        problem=keeper.problem,
    )


def brick_documents(model: Model) -> list[BrickDocument]:
    """Its bricks, in the recipe's order."""
    return [
        BrickDocument(
            **{key: value for key, value in brick_facts(brick).items() if key != "type"},
            signature=None
            if (signature := model.signatures.get(brick.digest)) is None
            else SignatureDocument(
                keys=[key for key, _ in signature.signatures], when=signature.when
            ),
        )
        for brick in model.generalist.bricks
    ]
