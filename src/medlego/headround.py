"""The head round: a merged model goes to a site, the site's refitted head comes back.

Most of what a static merge loses is lost in the heads, which were fitted to other features. Each
site fits its own anew, to the merged features of its own images: a convex problem of
features × labels numbers. No image moves, but the result has seen data, which its lineage says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medlego.base import Base
from medlego.brick import Brick, Card, Head, probabilities, tools_used
from medlego.errors import GeneralistError
from medlego.evaluation import align
from medlego.generalist import Generalist, specialist
from medlego.loading import Inputs
from medlego.metrics import point_scores
from medlego.prediction import Predictor
from medlego.probes import STRENGTHS
from medlego.progress import Progress, silent
from medlego.refithead import RefitHead
from medlego.samples import Dataset, describe
from medlego.task import Kind, Task
from medlego.train.head import explicit, new_head
from medlego.train.losses import Loss, class_weights

MODEL = "merged_model"
"""Setting of an exported brick that holds the digest of the merged model it is."""


def export_model(generalist: Generalist, task: str) -> Brick:
    """The merged model as a brick of one task: what its sites need, without the others' heads.

    Raises:
        GeneralistError: no such task.
    """
    name = generalist.capability(task).task.name
    (reader,) = (held for held in generalist.readers if held.task.name == name)
    return Brick(
        base=generalist.base,
        task=reader.task,
        targets=generalist.targets,
        deltas=generalist.deltas,
        head=reader.head,
        settings={MODEL: generalist.recipe.model},
        grams={},
        card=Card(data="a merged model, exported for a head round"),
    )


def refit_head(
    model: Brick,
    dataset: Dataset,
    *,
    base: Base | None = None,
    device: str = "cpu",
    show: Progress = silent,
) -> RefitHead:
    """Fit a task's head to the merged features of a site's own images.

    Logistic regression on standardised features, classes weighted to balance; fitted on `train`
    for each of several strengths, the best on `val` is kept; `test` stays unread. Ordinal
    tasks keep one direction with thresholds.

    Args:
        model: what `export_model` made.
        dataset: the site's labelled images; labels are matched to the task's by name.
        base: the brick's base; found by fingerprint when left out.
        device: `cpu` or `cuda`, for the features.
        show: called with what is under way.

    Raises:
        GeneralistError: a brick that is no exported model.
        DatasetError: labels that the task does not know.
        BaseError: the base is not to be found.
    """
    merged = model.settings.get(MODEL)
    if not isinstance(merged, str):
        raise GeneralistError(
            f"brick {model.task.name!r}: expected a merged model from medlego head-round export, "
            "got an ordinary brick"
        )
    dataset, _ = align(dataset, model.task)
    base = base or Base.find(model.base)
    predictor = Predictor(specialist(model), base, device=device)
    split: dict[str, Labelled] = {}
    for name in ("train", "val"):
        samples = dataset.split(name)
        pooled = predictor.all_features(Inputs(samples.images, base), show, f"features of {name}")
        split[name] = pooled, samples.labels
    found = choose_head(model.task, split["train"], split["val"])
    labels = model.task.labels
    return RefitHead(
        model=merged,
        task=model.task,
        head=found.head,
        settings={"strength": found.strength},
        card=Card(
            images={name: describe(dataset.split(name), labels) for name in ("train", "val")},
            scores={**found.scores, "loss": found.loss},
            made_with=tools_used(device),
        ),
    )


def fit_head(task: Task, features: Tensor, labels: Tensor, strength: float) -> Head:
    """Minimise the task's balanced loss plus ‖W‖² / (2 · strength · N) on standardised features.

    Args:
        task: decides the loss; unknown labels of a multilabel task are left out.
        features: (N, d), float64.
        labels: as in `Samples.labels`.
        strength: C of logistic regression, inverse regularisation, above zero.

    Returns:
        The head for features as they are, not standardised; float32.
    """
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0).clamp(min=1e-6)
    standard = (features - mean) / spread
    weights = class_weights(task, labels.numpy(), balanced=True).double()
    loss, head = Loss(task, weights), [p.double() for p in new_head(task, features.shape[1], "cpu")]
    parameters = [torch.nn.Parameter(p.detach()) for p in head]
    search = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        weight, bias = explicit(task, parameters)
        value = loss(standard @ weight.T + bias, labels)
        value = value + weight.square().sum() / (2 * strength * len(features))
        torch.autograd.backward(value)
        return value

    search.step(closure)  # type: ignore[no-untyped-call]
    weight, bias = (tensor.detach() for tensor in explicit(task, parameters))
    scaled = weight / spread
    return Head(scaled.float(), (bias - scaled @ mean).float())


Labelled = tuple[Tensor, np.ndarray]
"""Features (N, d) and labels as in `Samples.labels`."""


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A head, the strength it was fitted with, and its scores on val; `loss` is balanced."""

    head: Head
    strength: float
    score: float
    loss: float
    scores: dict[str, float]


def choose_head(task: Task, train: Labelled, val: Labelled) -> FittedHead:
    """Fit a head on train for each of `STRENGTHS`, and keep the best on val."""
    return max(
        (_fit_one(task, train, val, strength) for strength in STRENGTHS),
        key=lambda fitted: (fitted.score, -fitted.loss),
    )


def _fit_one(task: Task, train: Labelled, val: Labelled, strength: float) -> FittedHead:
    head = fit_head(task, train[0].double(), torch.from_numpy(train[1]), strength)
    logits, labels = head.logits(val[0].double()), torch.from_numpy(val[1])
    weights = class_weights(task, train[1], balanced=True).double()
    scores = point_scores(task, probabilities(task, logits).numpy(), val[1])
    by = "auroc" if task.kind is Kind.MULTILABEL else "balanced_accuracy"
    loss = float(Loss(task, weights)(logits, labels))
    rounded = {name: round(value, 6) for name, value in scores.items()}
    return FittedHead(head, strength, scores[by], round(loss, 6), rounded)
