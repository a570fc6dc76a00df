"""The head round: a merged model goes to a site, the site's refitted head comes back.

Most of what a static merge loses is lost in the heads, which were fitted to other features. Each
site fits its own anew, to the merged features of its own images: a convex problem of
features × labels numbers. No image moves, but the result has seen data, which its lineage says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from medlego.base import Base, Inputs
from medlego.bricks import Brick, Card, Head, RefitHead, tools_used
from medlego.data import Dataset, align, describe
from medlego.errors import GeneralistError, raise_all
from medlego.generalist import Generalist, Stamp, append_entry, specialist, stale_head
from medlego.merge import head_conflicts
from medlego.metrics import Aim, point_scores
from medlego.prediction import Predictor
from medlego.support import Progress, silent
from medlego.train.calibrate import fit_calibration
from medlego.train.head_fit import Labelled, choose_head

MODEL = "merged_model"
"""Setting of an exported brick that holds the digest of the merged model it is."""


def export_model(generalist: Generalist, task: str) -> Brick:
    """The merged model as a brick of one task: what its sites need, without the others' heads.

    Raises:
        GeneralistError: no such task, or a generalist that does not answer by one merge.
    """
    if (mode := generalist.recipe.mode) != "merged":
        raise GeneralistError(
            f"mode: expected a generalist that works merged, got {mode}, where no head needs to be "
            "refitted; assemble with --mode merged"
        )
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
    keep_head: bool = False,
    aim: Aim | None = None,
    device: str = "cpu",
    show: Progress = silent,
) -> RefitHead:
    """Fit a task's head, and its calibration, to the merged features of a site's own images.

    Logistic regression on standardised features, classes weighted to balance; fitted on `train`
    for each of several strengths, the best on `val` is kept; `test` stays unread. Ordinal
    tasks keep one direction with thresholds. The calibration is fitted on `val`.

    Args:
        model: what `export_model` made.
        dataset: the site's labelled images; labels are matched to the task's by name.
        base: the brick's base; found by fingerprint when left out.
        keep_head: fit the calibration alone; the head stays as it is, and `train` unread.
        aim: choose thresholds for it, see `fit_calibration`.
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
    used = ("val",) if keep_head else ("train", "val")
    split: dict[str, Labelled] = {}
    for name in used:
        samples = dataset.split(name)
        pooled = predictor.all_features(Inputs(samples.images, base), show, f"features of {name}")
        split[name] = pooled, samples.labels
    val = split["val"]
    head, settings, scores = _head(model, val) if keep_head else _refitted(model, split)
    labels = model.task.labels
    return RefitHead(
        model=merged,
        task=model.task,
        head=head,
        settings=settings,
        card=Card(
            images={name: describe(dataset.split(name), labels) for name in used},
            scores=scores,
            made_with=tools_used(device),
        ),
        calibration=fit_calibration(
            model.task, head.logits(val[0]), val[1], patients=dataset.val.patients, aim=aim
        ),
    )


Fitted = tuple[Head, dict[str, Any], dict[str, float]]
"""A head, what a file says of its fit, and its scores on val."""


def _refitted(model: Brick, split: Mapping[str, Labelled]) -> Fitted:
    found = choose_head(model.task, split["train"], [split["val"]])
    return found.head, {"strength": found.strength}, {**found.scores[0], "loss": found.loss}


def _head(model: Brick, val: Labelled) -> Fitted:
    probs = model.task.rules.probabilities(model.head.logits(val[0].double())).numpy()
    scores = {name: round(s, 6) for name, s in point_scores(model.task, probs, val[1]).items()}
    return model.head, {"kept_head": True}, scores


def with_heads(
    generalist: Generalist, heads: Sequence[RefitHead], *, stamp: Stamp = Stamp()
) -> Generalist:
    """The generalist with heads refitted to it; the lineage says that they have seen data.

    Raises:
        GeneralistError: a head of another merged model or of no task of this one, or two for
            one task; all problems in one message.
    """
    chosen = dict(generalist.heads)
    problems = []
    if generalist.recipe.mode != "merged":
        problems.append(
            f"mode: expected merged, got {generalist.recipe.mode}, which reads no refitted head; "
            "assemble with mode merged"
        )
    for refit in heads:
        name = refit.task.name
        problems += head_conflicts(generalist.recipe, generalist.capabilities, refit)
        if sum(other.task.name == name for other in heads) > 1:
            problems.append(f"head of {name!r}: expected one, got several; choose one")
        chosen[name] = refit
    raise_all(GeneralistError, "heads", problems)
    bricks = tuple(
        item.model_copy(update={"head": chosen[item.task].digest}) if item.task in chosen else item
        for item in generalist.recipe.bricks
    )
    recipe = generalist.recipe.model_copy(update={"bricks": bricks})
    fitted = {stale_head(refit.task.name) for refit in heads}
    stale = tuple(what for what in generalist.lineage[-1].stale if what not in fitted)
    return replace(
        generalist,
        recipe=recipe,
        heads=chosen,
        lineage=append_entry(generalist.lineage, "head-round", recipe, stamp, stale=stale),
        past=generalist.past.plus(recipe, generalist.bricks, list(chosen.values())),
    )
