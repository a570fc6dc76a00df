"""The README's table of results, from the committed JSON; `python -m tools.pages` puts it there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.markdown import interval, table

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "README.md"
PREPARED = "prepared"
ROWS = {
    "joint training (ceiling), task told": "one model trained on all images in one place",
    "specialists, plain, task told": "specialists, each on its own task",
    "routed by a scout, task unknown": "**medlego, routed**: each image finds its brick",
    PREPARED: "**medlego, merged**: bricks prepared for it",
    "merged, task told": "**medlego, merged**: bricks that never met",
    "linear probes on the frozen base, task told": "linear probes, no bricks",
}
"""What the rows of `routed`, and the default of `merge_quality`, are called for newcomers."""
_PLACE = re.compile(r"(<!-- results -->\n)(.*?)(<!-- end of results -->)", re.DOTALL)


def page() -> str:
    """The README with the table as the results say."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{_table()}\n{place[3]}", PAGE.read_text("utf-8"))


def _table() -> str:
    scores = {row["method"]: row for row in _rows("routed-112px")}
    (scores[PREPARED],) = (row for row in _rows("merge_quality-112px") if row["default"])
    rows = [
        [
            words,
            "found" if name.endswith("unknown") else "told",
            interval(scores[name]["mean_balanced_accuracy"]),
        ]
        for name, words in ROWS.items()
    ]
    return table(["model", "task", "balanced accuracy"], rows)


def _rows(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((HERE / "results" / f"{name}.json").read_text())["rows"]
    return rows
