"""What the results' page says of data sets and their leaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.markdown import table

_DETECTORS = {
    "check": "data check",
    "remembered": "remembered",
    "phash": "pHash",
    "dhash": "dHash",
}


def _leaks(document: dict[str, Any]) -> str:
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in document["rows"]:
        parts.setdefault(row["part"], []).append(row)
    planted = [
        [row["kind"], str(row["twins"]), *(f"{row['recall'][name]:.3f}" for name in _DETECTORS)]
        for row in parts["planted"]
    ]
    different = [
        [row["set"], str(row["images"]), *(str(row["false_alarms"][name]) for name in _DETECTORS)]
        for row in parts["different"]
    ]
    found = [
        [
            row["set"],
            f"{row['images']:,}",
            str(sum(row["leaks"].values())),
            str(row["contradicting_labels"]),
            ", ".join(f"{name} {max(counts)}" for name, counts in row["pairs"].items()) or "-",
        ]
        for row in parts["as they are"]
    ]
    (search,) = parts["search"]
    limits = ", ".join(
        f"{_DETECTORS[name]} {value:g}" for name, value in document["limits"].items()
    )
    return (
        f"Share of planted twins that are found, test splits; limits: {limits}.\n\n"
        + table(["twin", "planted", *_DETECTORS.values()], planted)
        + "\nFalse alarms: different images for which a twin is found.\n\n"
        + table(["set", "images", *_DETECTORS.values()], different)
        + "\nThe real sets as they are.\n\n"
        + table(["set", "images", "leaks", "contradicting labels", "images alike, by split"], found)
        + f"\nCandidates among {search['images']:,} images: {search['seconds']:.1f} s on "
        f"{search['threads']} thread.\n"
    )


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {"leaks": _leaks}
