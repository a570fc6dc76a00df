"""What the results' page says of learning a new task from a generalist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.adapt_rows import MEAN
from benchmarks.markdown import interval, table

_READ = (
    "Test splits, at the epoch that validation chose, mean over seeds; intervals are bootstraps "
    "over test images, differences are paired."
)


def _adapt(document: dict[str, Any]) -> str:
    rows, setting = document["rows"], document["setting"]
    parts = [
        f"### {f'{few} images a class' if few else 'All images'}\n\n"
        + _table([row for row in rows if row["few"] == few], few)
        for few in dict.fromkeys(row["few"] for row in rows)
    ]
    return (
        "Each set as the new task of a generalist made of the other four. "
        f"{_READ} *Chosen on validation* is what `adapt` returns: the best of "
        f"{', '.join(setting['starts_by_default'])}. *Target*: the first epoch whose test score "
        f"reaches {setting['target']:.0%} of the plain start's final one. *Plain, the best of "
        "three* trains the plain start three times on the same few images and takes the best on "
        "validation: what a choice gains by itself.\n\n"
        f"Trained on {_devices(document)}. {_beside(document['other_device'])}\n\n"
        "![test scores against epochs](results/adapt-epochs-112px.png)\n\n"
        "![test scores against images](results/adapt-images-112px.png)\n\n" + "\n".join(parts)
    )


def _devices(document: Mapping[str, Any]) -> str:
    return " and ".join(f"{m['device']} (torch {m['torch']})" for m in document["trained_with"])


def _beside(other: Mapping[str, Any]) -> str:
    if not other["runs"]:
        return f"No run was trained on {other['device']} too."
    return (
        f"{other['runs']} of the runs were trained on {other['device']} too: the scores here are "
        f"{other['mean_difference']:+.3f} off on average, "
        f"{other['mean_absolute_difference']:.3f} in absolute value."
    )


def _table(rows: list[dict[str, Any]], few: int) -> str:
    repeated = any("minus_repeated" in row for row in rows)
    lines = [
        [
            row["new"],
            row["start"] + (f" ({', '.join(row['chosen'])})" if "chosen" in row else ""),
            str(row.get("images", "")),
            interval(row["balanced_accuracy"]),
            interval(row["minus_plain"]),
            *([interval(row["minus_repeated"]) if "minus_repeated" in row else ""] * repeated),
            ", ".join(f"{score:.3f}" for score in row.get("per_seed", [])),
            *([] if few else _epochs(row)),
        ]
        for row in rows
    ]
    heads = ["new task", "start", "images", "balanced accuracy", "− plain"]
    heads += ["− the best of three plain"] * repeated + ["by seed"]
    heads += [] if few else ["epochs to target by seed", "of the mean curve"]
    return table(heads, lines) + "\n"


def _epochs(row: Mapping[str, Any]) -> list[str]:
    """The cells of epochs to the target."""
    if row["new"] == MEAN:
        return ["", ""]
    epochs = [*row["epochs_to_target"], row["epochs_to_target_of_mean"]]
    *seeds, mean = ["-" if number is None else str(number) for number in epochs]
    return [", ".join(seeds), mean]


def _budgets(document: dict[str, Any]) -> str:
    rows, setting = document["rows"], document["setting"]
    lines = [
        [
            str(row["epochs"]),
            row["new"],
            row["start"],
            interval(row["balanced_accuracy"]),
            interval(row["minus_plain"]),
            {True: "yes", False: "no", None: ""}[row.get("reaches_target")],
        ]
        for row in rows
    ]
    whole = ", ".join(
        f"{n} {interval(score)}" for n, score in setting["plain_in_all_epochs"].items()
    )
    heads = ["epochs", "new task", "start", "balanced accuracy", "− plain", "reaches the target"]
    return (
        "As `adapt` on all images, but with so few epochs, over which the learning rate falls. "
        f"{_READ} *Target*: {setting['target']:.0%} of what the plain start comes to in all its "
        f"epochs ({whole}). Trained on {_devices(document)}.\n\n"
        "![test scores against epochs given](results/adapt-budgets-112px.png)\n\n"
        + table(heads, lines)
    )


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "adapt": _adapt,
    "adapt_budgets": _budgets,
}
