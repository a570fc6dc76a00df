"""The head round: a merged model goes to a site, the site's refitted head comes back.

Most of what a static merge loses is lost in the heads, which were fitted to other features. Each
site fits its own anew, to the merged features of its own images: a convex problem of
features × labels numbers. No image moves, but the result has seen data, which its lineage says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medlego.base import Base, Inputs
from medlego.bricks import Brick, Card, RefitHead, tools_used
from medlego.data import Dataset, Samples, align, describe
from medlego.errors import GeneralistError, raise_all
from medlego.generalist import Generalist, Stamp, append_entry, specialist, stale_head
from medlego.merge import head_conflicts
from medlego.metrics import Aim, check_aim, point_scores
from medlego.prediction import Backbone, features_of
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
    reader = generalist.reader(task)
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
    check_aim(aim, model.task)
    dataset, _ = align(dataset, model.task)
    base = base or Base.find(model.base)
    backbone = Backbone.of(specialist(model), base, device)
    labelled: dict[str, Labelled] = {}
    read: dict[str, Samples] = {}
    mended: Counter[str] = Counter()
    for name in ("val",) if keep_head else ("train", "val"):
        samples, inputs = Inputs.of(dataset.split(name), base)
        read[name] = samples
        mended += Counter(inputs.mended())
        pooled = features_of(backbone.features, inputs, show, f"features of {name}")
        labelled[name] = pooled, samples.labels
    head, (pooled, truth) = model.head, labelled["val"]
    settings: dict[str, Any] = {"kept_head": True}
    if keep_head:
        probs = model.task.rules.probabilities(head.logits(pooled.double())).numpy()
        scores = {n: round(s, 6) for n, s in point_scores(model.task, probs, truth).items()}
    else:
        fitted = choose_head(model.task, labelled["train"], [labelled["val"]])
        head, settings = fitted.head, {"strength": fitted.strength}
        scores = {**fitted.scores[0], "loss": fitted.loss}
    labels = model.task.labels
    return RefitHead(
        model=merged,
        task=model.task,
        head=head,
        settings=settings,
        card=Card(
            images={name: describe(samples, labels) for name, samples in read.items()},
            scores=scores,
            made_with=tools_used(device),
            mended=dict(mended),
        ),
        calibration=fit_calibration(
            model.task, head.logits(pooled), truth, patients=read["val"].patients, aim=aim
        ),
    )


def with_heads(
    generalist: Generalist, heads: Sequence[RefitHead], *, stamp: Stamp = Stamp()
) -> Generalist:
    """The generalist with heads refitted to it; the lineage says that they have seen data.

    Raises:
        GeneralistError: a head of another merged model or of no task of this one, or two for
            one task; all problems in one message.
    """
    read = dict(generalist.heads)
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
        read[name] = refit
    raise_all(GeneralistError, "heads", problems)
    bricks = tuple(
        item.model_copy(update={"head": read[item.task].digest}) if item.task in read else item
        for item in generalist.recipe.bricks
    )
    recipe = generalist.recipe.model_copy(update={"bricks": bricks})
    refitted = {stale_head(refit.task.name) for refit in heads}
    stale = tuple(what for what in generalist.lineage[-1].stale if what not in refitted)
    return replace(
        generalist,
        recipe=recipe,
        heads=read,
        lineage=append_entry(generalist.lineage, "head-round", recipe, stamp, stale=stale),
        past=generalist.past.plus(recipe, generalist.bricks, list(read.values())),
    )
