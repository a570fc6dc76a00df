"""Tables of `benchmarks.depths` and `benchmarks.membership`."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

from benchmarks.markdown import BASE_NAMES, interval, table


def depths(document: dict[str, Any]) -> str:
    """Which task, then strangers."""
    rows = document["rows"]
    named = [
        [BASE_NAMES[r["base"]], r["named_by"], f"{r['top_1']:.4f}", _worst(r["sets"])]
        for r in rows
        if "named_by" in r
    ]
    judged = [
        [
            BASE_NAMES[r["base"]],
            r["judged_by"],
            *(
                f"{r[which]['auroc']:.3f} ({r[which]['least_auroc']:.3f})"
                if key == "auroc"
                else f"{r[which][key]:.3f}"
                for which in ("far", "near")
                for key in ("auroc", "accepted_at_95", "accepted")
            ),
            f"{r['own_accepted']:.3f}",
        ]
        for r in rows
        if "judged_by" in r
    ]
    of = [f"{which}: {what}" for which in ("far", "near") for what in ("AUROC (least)", *ACCEPTED)]
    return (
        "Validation images of fifteen sets, one draw, no intervals: for choices, not for claims; "
        f"the test split is not read. Distances from {document['folds']} folds by patient. Which "
        "task, by modality and body part, in the covariance that all tasks share:\n\n"
        + table(["base", "statistic after block", "top-1", "worst set"], named)
        + "\nEach set left out in turn: is it refused? Far strangers are sets of whose modality "
        "and body part there is no other, near ones the others. Statistics joined by + add their "
        "z. Accepted: share of strangers where .95 of all known images are, and at the tasks' own "
        f"limits ({document['level']:g} of held-out training images).\n\n"
        + table(["base", "statistic after block", *of, "own accepted"], judged)
    )


ACCEPTED = ("accepted at .95", "accepted at limit")


def _worst(sets: dict[str, float]) -> str:
    name = min(sets, key=sets.__getitem__)
    return f"{name} {sets[name]:.3f}"


def membership(document: dict[str, Any]) -> str:
    """A row a base, size and way to publish."""
    rows = [
        [BASE_NAMES[base], str(size), way, *(interval(row[name]) for row in own for name in TOLD)]
        for (base, size, way), own in groupby(
            document["rows"], key=itemgetter("base", "size", "published")
        )
    ]
    attacks = list(dict.fromkeys(row["attack"] for row in document["rows"]))
    heads = [f"{attack}: {name}" for attack in attacks for name in ("AUC", "TPR at 1 % FPR")]
    return (
        f"Members of {document['cohorts']} cohorts a size against images of other patients, scores "
        "pooled over cohorts; intervals by bootstrap over cohorts. No attack: AUC .5, TPR .01.\n\n"
        + table(["base", "images", "published", *heads], rows)
    )


TOLD = ("auc", "tpr_at_1_percent_fpr")
WRITERS = {"depths": depths, "membership": membership}
