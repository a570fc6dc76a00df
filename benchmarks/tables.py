"""Write benchmarks/RESULTS.md from the committed JSON; a test compares the two.

python -m benchmarks.tables
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE / "RESULTS.md"

HEAD = """# Results

Written by `python -m benchmarks.tables` from `results/*.json`, where command, commit, seeds,
versions, hardware and data hashes stand. Brackets are 95 % intervals.
"""


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for path in sorted((HERE / "results").glob("*.json")):
        document = json.loads(path.read_text())
        write = _WRITERS[document["name"].split("-")[0]]
        parts.append(f"\n## {document['name']}\n\n`{document['command']}`\n\n{write(document)}")
    return "".join(parts)


def _mini_base(document: dict[str, Any]) -> str:
    columns = ("mini_64px", "random_64px", "mini_minus_random", "deit_tiny_112px")
    names = ("mini, 64 px", "random, 64 px", "difference", "DeiT-Tiny, 112 px")
    rows = [
        [row["set"] + (" (seen without labels)" if row["seen_without_labels"] else "")]
        + [_interval(row[column]) for column in columns]
        for row in document["rows"]
    ]
    return "Balanced accuracy of linear probes on the test splits.\n\n" + _table(
        ["set", *names], rows
    )


def _merge_speed(document: dict[str, Any]) -> str:
    rows = [
        [row["name"], _time(row["seconds"]), *_peer(row), _memory(row)] for row in document["rows"]
    ]
    heads = ["what", "medlego", "peer", "the peer", "its threads", "ratio", "peak MiB, ours / peer"]
    load = ", ".join(f"{x:.1f}" for x in document["setting"]["load_average"])
    notes = [f"- {row['name']}: {row['note']}.\n" for row in document["rows"] if "note" in row]
    return (
        _table(heads, rows)
        + f"\nLoad averages of the machine before the run: {load}.\n\n"
        + "".join(notes)
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _peer(row: dict[str, Any]) -> list[str]:
    if "peer" not in row:
        return ["-"] * 4
    seconds, ratio = f"{row['peer_seconds']:.2f} s", f"{row['ratio']:.0f}"
    return [seconds, row["peer"], str(row["peer_threads"]), ratio]


def _memory(row: dict[str, Any]) -> str:
    if "process_peak_mib" in row:
        return f"{row['process_peak_mib']:.0f}, whole process"
    if "peak_mib" not in row:
        return "-"
    return f"{row['peak_mib']:.0f} / {row['peer_peak_mib']:.0f}"


def _main_job(document: dict[str, Any]) -> str:
    sets = list(document["rows"][0]["sets"])
    rows = [
        [row["method"], row["coefficients"]]
        + [_interval(row["sets"][name]["balanced_accuracy"]) for name in sets]
        + [_interval(row[f"mean_{n}balanced_accuracy"]) for n in ("", "normalised_")]
        + [_interval(row["minus_linear_probes"]), _deviation(row["seed_deviation"])]
        for row in document["rows"]
    ]
    heads = ["method", "coefficients", *sets, "mean", "normalised", "mean − probes", "seeds"]
    notes = [f"- {row['method']}: {row['note']}.\n" for row in document["rows"] if row["note"]]
    return (
        "Balanced accuracy on the test splits. *Normalised*: over the SVD-LoRA specialists, mean "
        "over the sets. *Mean − probes*: paired on the same images. *Seeds*: standard deviation of "
        "the mean over seeds, where there are several.\n\n"
        + _table(heads, rows)
        + "\n"
        + "".join(notes)
    )


_WRITERS = {"mini_base": _mini_base, "merge_speed": _merge_speed, "main_job": _main_job}


def _interval(value: dict[str, Any] | None) -> str:
    if value is None:
        return "-"
    bounds = value.get("interval")
    text = f"{value['value']:.3f}"
    return f"{text} [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else text


def _deviation(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
