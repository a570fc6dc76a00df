"""A head refitted to the merges that its brick will work in, before any merge is made.

Training fits a head to the brick's own features; in a merge it reads others. Here a site takes the
features of its own images alone and in merges with published bricks, and fits one head to all of
them. Deltas stay as they are, so every site can do this at the same time and the merge has exactly
the features that its head was fitted to. Afterwards the bricks merge without data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from medlego.base import Base, Inputs
from medlego.bricks import IN_MERGE, REFIT_WITH, Brick, brick_names
from medlego.data import Dataset, align
from medlego.errors import SettingsError
from medlego.generalist import assemble, specialist
from medlego.prediction import Backbone, features_of
from medlego.support import Progress, silent
from medlego.train.calibrate import fit_calibration
from medlego.train.head_fit import choose_head

SUBSETS, MAX_SUBSETS = 3, 100


def refit_for_merge(
    brick: Brick,
    dataset: Dataset,
    others: Sequence[Brick],
    *,
    subsets: int = SUBSETS,
    seed: int = 0,
    base: Base | None = None,
    device: str = "cpu",
    show: Progress = silent,
) -> Brick:
    """Refit a brick's head to its features alone and in merges with other bricks.

    Logistic regression on the features of all `train` images in each of several merges (the brick
    alone, all bricks by `linear` with 1/√K, and random choices of them), standardised and with
    classes weighted to balance. The strength is the best on `val` in all these merges, which
    count alike; `test` stays unread.

    Args:
        brick: whose head is refitted.
        dataset: the site's labelled images; labels are matched to the task's by name.
        others: published bricks on the same base; the brick itself may be among them.
        subsets: merges with a random choice of the others, 0 to `MAX_SUBSETS`.
        seed: of those choices.
        base: the brick's base; found by fingerprint when left out.
        device: `cpu` or `cuda`, for the features.
        show: called with what is under way, done and total.

    Returns:
        The brick with the new head. Its settings name the others, its card has the scores on val;
        where it had a calibration, it has one of the new head, alone.

    Raises:
        SettingsError: no other brick, or a number of subsets out of range.
        MergeError: others that do not go together with the brick.
        DatasetError: labels that the task does not know.
        BaseError: the base is not to be found.

    Cost: one forward pass per merge and image, and a convex fit per strength.
    """
    others = [other for other in others if other.deltas_digest != brick.deltas_digest]
    if not others:
        raise SettingsError("others: expected bricks besides the one to refit, got none; add some")
    if not 0 <= subsets <= MAX_SUBSETS:
        raise SettingsError(f"subsets: expected 0 to {MAX_SUBSETS}, got {subsets}")
    dataset, _ = align(dataset, brick.task)
    choices = [others, *_choices(others, subsets, seed)]
    merges = [specialist(brick)]
    merges += [assemble([brick, *choice], slope=0.0) for choice in choices]
    base = base or Base.find(brick.base)
    train_samples, train_inputs = Inputs.of(dataset.train, base)
    val_samples, val_inputs = Inputs.of(dataset.val, base)
    dataset = replace(dataset, train=train_samples, val=val_samples)
    train: list[Tensor] = []
    val: list[Tensor] = []
    for number, merged in enumerate(merges):
        read = Backbone.of(merged, base, device).features
        what = f"merge {number + 1} of {len(merges)}"
        train.append(features_of(read, train_inputs, show, f"{what}, features of train"))
        val.append(features_of(read, val_inputs, show, f"{what}, features of val"))
    labels = np.concatenate([dataset.train.labels] * len(merges))
    fitted = choose_head(
        brick.task, (torch.cat(train), labels), [(pooled, dataset.val.labels) for pooled in val]
    )
    mended = dict(Counter(train_inputs.mended()) + Counter(val_inputs.mended()))
    alone, merged_with_all = fitted.scores[:2]
    scores = alone | {name + IN_MERGE: value for name, value in merged_with_all.items()}
    settings = {
        REFIT_WITH: sorted(other.deltas_digest for other in others),
        "refit_subsets": subsets,
        "refit_seed": seed,
        "refit_strength": fitted.strength,
        "refit_images": len(dataset.train),
    }
    calibration = None
    if (earlier := brick.calibration) is not None:
        calibration = fit_calibration(
            brick.task,
            fitted.head.logits(val[0]),
            dataset.val.labels,
            patients=dataset.val.patients,
            aim=earlier.operating,
            seed=seed,
        )
    return replace(
        brick,
        head=fitted.head,
        calibration=calibration,
        settings={**brick.settings, **settings},
        card=brick.card.model_copy(update={"scores": scores, "mended": mended}),
    )


def refit_notes(bricks: Sequence[Brick]) -> tuple[str, ...]:
    """One sentence for each brick whose head was refitted without some of the other bricks."""
    names = brick_names(bricks)
    notes = []
    for brick, name in zip(bricks, names, strict=True):
        refit_with = brick.settings.get(REFIT_WITH)
        if not isinstance(refit_with, list):
            continue
        known = {brick.deltas_digest, *refit_with}
        missing = [n for b, n in zip(bricks, names, strict=True) if b.deltas_digest not in known]
        if missing:
            notes.append(
                f"the head of {name} was refitted without {', '.join(missing)}; "
                "medlego refit with all of them may gain"
            )
    return tuple(notes)


def _choices(others: Sequence[Brick], count: int, seed: int) -> list[list[Brick]]:
    """Random choices of 1, 2, … and again 1 of the others, never all; each in the given order."""
    if len(others) == 1:
        return []
    generator = torch.Generator().manual_seed(seed)
    choices = []
    for number in range(count):
        order = torch.randperm(len(others), generator=generator).tolist()
        size = 1 + number % (len(others) - 1)
        choices.append([others[i] for i in sorted(order[:size])])
    return choices
