"""The answers of the service, checked by FastAPI and described by OpenAPI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from medlego.bricks import Brick, BrickSignature
from medlego.evaluation import brick_facts
from medlego.prediction import Prediction
from medlego.serve.reload import Model

_CLOSED = ConfigDict(frozen=True, extra="forbid")
_OPEN = ConfigDict(frozen=True, extra="allow")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256, hexadecimal."""


class AnswerDocument(BaseModel):
    """One task's answer to one image."""

    model_config = _CLOSED

    task: str
    kind: str
    labels: list[str] = Field(description="The likeliest label, or those above their thresholds.")
    probabilities: dict[str, float]
    calibration: str = Field(description="calibrated, none, or stale.")
    thresholds: dict[str, float] | None
    bricks: list[Digest] = Field(description="Bricks whose deltas and heads answered.")


class RouteDocument(BaseModel):
    """Which tasks an image belongs to by its content."""

    model_config = _CLOSED

    tasks: list[str]
    atypical: list[str]
    probabilities: dict[str, float]
    none: float = Field(description="Probability that the image belongs to no task.")
    ood_scores: dict[str, float]
    reason: str = Field(description="Why no task applies, or what makes the image special.")


class PredictionDocument(BaseModel):
    """The answers to one image; without any, the route's reason or the problem says why."""

    model_config = _CLOSED

    image: str = Field(description="Its place among the images sent: image 1, image 2, …")
    applied: list[str] = Field(description="What was done to its pixels while reading it.")
    answers: list[AnswerDocument]
    route: RouteDocument | None
    problem: str | None = Field(description="Why the file was not answered at all.")


class PredictionsDocument(BaseModel):
    """Answers to the images of one request, in order, all by one state of the generalist."""

    model_config = _CLOSED

    generalist: Digest = Field(description="Digest of the recipe that answered.")
    entry: int = Field(ge=0, description="Number of the lineage's entry that led to it.")
    predictions: list[PredictionDocument]

    @classmethod
    def of(cls, model: Model, answers: Sequence[Prediction]) -> PredictionsDocument:
        """A model's answers to images, as they are sent."""
        predictions = []
        for number, prediction in enumerate(answers, 1):
            named = replace(prediction, image=f"image {number}")
            document: dict[str, Any] = named.as_dict()
            for answer in document["answers"]:
                answer["bricks"] = [b.digest for b in model.engine.bricks(answer["task"])]
            predictions.append(PredictionDocument.model_validate(document))
        return cls(generalist=model.digest, entry=model.entry, predictions=predictions)


class SignatureDocument(BaseModel):
    """Who claims to have signed a brick; `medlego verify` checks it."""

    model_config = _CLOSED

    keys: list[str]
    when: str | None


class BrickAnswer(BaseModel):
    """A brick without its tensors, as `medlego inspect --json` prints it."""

    model_config = _OPEN

    digest: Digest
    task: dict[str, Any]
    signature: SignatureDocument | None

    @classmethod
    def of(cls, brick: Brick, signature: BrickSignature | None) -> BrickAnswer:
        """A brick with who signed it."""
        signed = None
        if signature is not None:
            keys = [key for key, _ in signature.signatures]
            signed = SignatureDocument(keys=keys, when=signature.when)
        return cls(**brick_facts(brick), signature=signed)


class GeneralistDocument(BaseModel):
    """The generalist as `medlego inspect --json` prints it, with its model card."""

    model_config = _OPEN

    digest: Digest
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
    generalist: Digest | None = Field(
        default=None, description="Digest of the recipe that answers."
    )


class ProblemDocument(BaseModel):
    """RFC 9457: what was wrong with a request."""

    model_config = _CLOSED

    title: str
    status: int
    problems: list[str]
