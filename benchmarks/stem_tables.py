"""The table of `benchmarks.stem`."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import BASE_NAMES, table

FIRST = "best, val and held out"
"""What the rows of the sets show."""


def stem(document: dict[str, Any]) -> str:
    """A table a base."""
    bases = dict.fromkeys(row["base"] for row in document["rows"])
    parts = [_of_base([row for row in document["rows"] if row["base"] == base]) for base in bases]
    return (
        "Balanced accuracy (odir_fundus: macro AUROC), and in brackets the difference to no stem "
        "with its interval, paired by image, or by patient, case or series where ids are known; "
        "intervals speak of images, not of seeds. The epoch is chosen on val; images held out are "
        "what is left of the train split. kidney_ct is in no mean.\n\n"
        + "\n".join(
            f"{BASE_NAMES[base]}:\n\n{part}" for base, part in zip(bases, parts, strict=True)
        )
    )


def _of_base(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        if row["set"] != "mean":
            images = f"{row['train']} / {row['val']} / {row['held_out']}"
            lines.append([row["set"], images, *(_cell(own[FIRST]) for own in row["stems"])])
            continue
        for view in (name for name, value in row["stems"][0].items() if isinstance(value, dict)):
            cells = [_cell(own[view]) for own in row["stems"]]
            lines.append([f"mean of {len(row['of'])}: {view}", "", *cells])
        seconds = [f"{own['cpu_seconds']:.0f} s" for own in row["stems"]]
        lines.append(["processor time of a training", "", *seconds])
    heads = [f"stem {own['stem']}" for own in rows[0]["stems"]]
    return table(["set", "images: train / val / held out", *heads], lines)


def _cell(own: dict[str, Any]) -> str:
    change, (low, high) = own["minus_first"]["value"], own["minus_first"]["interval"]
    value = f"{own['score']['value']:.3f}"
    if change == low == high == 0:
        return value
    return f"{value} ({change:+.3f} [{low:+.3f}, {high:+.3f}])"


WRITERS = {"stem": stem}
