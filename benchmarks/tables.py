"""Write benchmarks/RESULTS.md from the committed JSON; a test compares the two.

python -m benchmarks.tables
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import (
    adapt_tables,
    data_tables,
    ingest_tables,
    profile_tables,
    routing_tables,
    serve_tables,
    stem_tables,
)
from benchmarks.markdown import deviation, interval, table

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
        + [interval(row[column]) for column in columns]
        for row in document["rows"]
    ]
    return "Balanced accuracy of linear probes on the test splits.\n\n" + table(
        ["set", *names], rows
    )


def _before_after(document: dict[str, Any]) -> str:
    rows = [
        [
            f"{row['benchmark']}: {row['row']}",
            _time(row["peer_seconds"]),
            _time(row["seconds"]),
            interval({"value": row["ratio"], "interval": row["interval"]}),
        ]
        for row in document["rows"]
    ]
    before, after = (document["commits"][side][:7] for side in ("before", "after"))
    return (
        f"Seconds before over seconds after, of {document['rounds']} rounds in turns; above 1 is "
        "faster. The rows of the plain base and of PEFT run no line of ours: they show the "
        "noise.\n\n" + table(["what", before, after, "ratio"], rows)
    )


def _intervals(document: dict[str, Any]) -> str:
    rows = [
        [
            row["sample"],
            row["score"].replace("_", " "),
            *(
                f"{row[f'{way}_holds']:.3f} ({row[f'{way}_width']:.3f})"
                if f"{way}_holds" in row
                else f"{row[f'{way}_passes']:.3f} pass"
                for way in ("interval", "percentiles")
            ),
        ]
        for row in document["rows"]
    ]
    return (
        "Share of 95 % intervals that hold the truth, and their mean width; of gates, how often a "
        "loss beyond the limit passes.\n\n"
        + table(["sample", "score", "medlego", "percentiles of the same draws"], rows)
    )


def _merge_speed(document: dict[str, Any]) -> str:
    rows = [
        [row["name"], _time(row["seconds"]), *_peer(row), _memory(row)] for row in document["rows"]
    ]
    heads = ["what", "medlego", "peer", "the peer", "its threads", "ratio", "peak MiB, ours / peer"]
    load = ", ".join(f"{x:.1f}" for x in document["setting"]["load_average"])
    notes = [f"- {row['name']}: {row['note']}.\n" for row in document["rows"] if "note" in row]
    return (
        table(heads, rows)
        + f"\nLoad averages of the machine before the run: {load}.\n\n"
        + "".join(notes)
    )


def _edit_speed(document: dict[str, Any]) -> str:
    rows = [
        [
            row["name"],
            _time(row["seconds"]),
            row["peer"],
            _time(row["peer_seconds"]),
            f"{row['ratio']:.1f}",
            row["note"],
        ]
        for row in document["rows"]
    ]
    heads = ["what", "medlego", "the peer", "peer", "ratio", "the peer's result"]
    load = ", ".join(f"{x:.1f}" for x in document["setting"]["load_average"])
    return table(heads, rows) + f"\nLoad averages of the machine before the run: {load}.\n"


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
    return _LEGEND + "\n\n" + _scores(document["rows"])


def _merge_quality(document: dict[str, Any]) -> str:
    rows = document["rows"]
    groups = dict.fromkeys(row["group"] for row in rows)
    above = [
        f"{row['method']} ({row['coefficients']}; {row['group']})"
        for row in rows
        if not row["uses_data"]
        and row["group"] != "controls"
        and row["minus_default"]
        and row["minus_default"]["interval"][0] > 0
    ]
    (default,) = (row for row in rows if row["default"])
    parts = [
        f"{_LEGEND} *Mean − default*: paired, beside {default['method']} "
        f"({default['coefficients']}; {default['group']}), which is what `medlego assemble` does "
        "when nothing is said. *Data*: needs images of the tasks at or after the merge.\n\n"
        "Merges without data that are above the default beyond the paired interval: "
        f"{', '.join(above) or 'none'}.\n"
    ]
    for group in groups:
        members = [row for row in rows if row["group"] == group]
        parts.append(f"\n### {group[0].upper()}{group[1:]}\n\n{_scores(members, default=True)}")
    if again := document.get("again"):
        parts.append(_again(again, rows))
    return "".join(parts)


def _again(again: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """What was measured again, with rows that both runs have."""
    place = {(row["group"], row["method"], row["coefficients"]): row for row in rows}
    both = [
        [
            row["method"],
            row["group"],
            interval(place[row["group"], row["method"], row["coefficients"]][_MEAN]),
            interval(row[_MEAN]),
        ]
        for row in again["rows"]
    ]
    return (
        f"\n### Measured again\n\nRows of {' and '.join(again['methods'])} that say so, at "
        f"{again['commit'][:7]}, on bricks trained again with the same seeds; a mean over the sets "
        "of either run:\n\n" + table(["method", "bricks", "table", "again"], both)
    )


_MEAN = "mean_balanced_accuracy"
_LEGEND = (
    "Balanced accuracy on the test splits. *Normalised*: over the plainly trained SVD-LoRA "
    "specialists, mean over the sets. *Mean − probes*: paired on the same images. *Seeds*: "
    "standard deviation of the mean over seeds, where there are several."
)


def _scores(rows: list[dict[str, Any]], *, default: bool = False) -> str:
    """One line per contender; `default` adds where it stands beside the default."""
    sets = list(rows[0]["sets"])
    heads = ["method", "coefficients", *sets, "mean", "normalised", "mean − probes"]
    heads += ["mean − default", "data"] if default else []
    lines = []
    for row in rows:
        line = [row["method"], row["coefficients"]]
        line += [interval(row["sets"][name]["balanced_accuracy"]) for name in sets]
        line += [interval(row[f"mean_{n}balanced_accuracy"]) for n in ("", "normalised_")]
        line += [interval(row["minus_linear_probes"])]
        line += [interval(row["minus_default"]), _yes(row["uses_data"])] if default else []
        lines.append([*line, deviation(row["seed_deviation"])])
    notes = [f"- {row['method']}: {row['note']}.\n" for row in rows if row["note"]]
    return table([*heads, "seeds"], lines) + "\n" * bool(notes) + "".join(notes)


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _in_domain(document: dict[str, Any]) -> str:
    setting, rows = document["setting"], document["rows"]
    sets = list(rows[0]["sets"])
    heads = ["method", "data"]
    for name in sets:
        heads += [name, "− mean site model", "over pooled"]
    lines = []
    for row in rows:
        line = [row["method"], _yes(row["uses_data"])]
        for name in sets:
            scores = row["sets"][name]
            keys = ("balanced_accuracy", "minus_site_models", "over_pooled")
            line += [interval(scores[key]) for key in keys]
        lines.append(line)
    notes = [f"- {row['method']}: {row['note']}.\n" for row in rows if row["note"]]
    return (
        f"Each set shared out over {setting['sites']} sites, label by label (Dirichlet "
        f"{setting['skew']}, at least {setting['least']:.0%} of a label each). Balanced accuracy "
        "on everybody's test split, mean over seeds; differences and ratios are paired.\n\n"
        + table(heads, lines)
        + "\n"
        + "".join(notes)
    )


def _growing(document: dict[str, Any]) -> str:
    sizes = list(document["rows"][0]["kept"])
    rows = [
        [row["curve"], *(interval(row["kept"][size]) for size in sizes)] for row in document["rows"]
    ]
    return (
        "Balanced accuracy of the real sets in a merge over their plainly trained specialists', "
        "test splits, mean over sets, choices of sets and seeds. From 7 bricks on the others are "
        "procedural, and no real brick has met them.\n\n"
        "![what specialists keep as a merge grows](results/growing-112px.png)\n\n"
        + table(["bricks", *sizes], rows)
    )


def _saliency(document: dict[str, Any]) -> str:
    scores = [key for key in document["rows"][0] if key not in ("set", "method")]
    rows = [
        [row["set"], row["method"], *(interval(row.get(score)) for score in scores)]
        for row in document["rows"]
    ]
    return (
        f"{document['images_per_set']} test images a set, their specialists at 112 px. Deletion "
        "and insertion: the likeliest label's probability without the patches that a map ranks "
        "first (less is better), and with them alone (more is better). Correlations: with the map "
        "of a model whose weights are random up to there; near zero is right, and a map that "
        "reads no head keeps 1 there.\n\n" + table(["set", "method", *scores], rows)
    )


def _screening(document: dict[str, Any]) -> str:
    rows = document["rows"]
    clean = [row for row in rows if not row["poisoned"]]
    working = [row for row in rows if row["poisoned"] and row["works"]]
    groups = {"clean": clean}
    for form, name in (("only", "backdoor alone"), ("hidden", "hidden in the specialist")):
        groups[name] = [row for row in working if row["form"] == form]
    idle = [row for row in rows if row["poisoned"] and not row["works"]]
    counted = [
        [name, f"{sum(bool(row['flagged']) for row in members)} of {len(members)}"]
        for name, members in {**groups, "poisons that do not work": idle}.items()
    ]
    shown = ("effect", "push by a patch", "change of other tasks", "push of other tasks by a patch")
    lines = [
        [
            row["brick"],
            *(_rate(row, key) for key in ("label_without_trigger", "label_with_trigger")),
            *(f"{row['values'][check]:.3f}" for check in shown),
            ", ".join(row["flagged"]) or "-",
        ]
        for row in rows
    ]
    heads = ["brick", "its label without trigger", "with trigger", *shown, "flagged"]
    return (
        "Bricks beside twenty trusted ones (seed 0). Poisons: set, trigger, what the backdoor was "
        "trained on, form; `only` is the backdoor under the specialist's head, `hidden` is added "
        "to the specialist. A poison works where its trigger gives its label to at least "
        f"{document['setting']['works']:.0%} more of the validation images of other labels.\n\n"
        + table(["bricks", "flagged"], counted)
        + "\n"
        + table(heads, lines)
    )


def _rate(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.2f}" if row["poisoned"] else "-"


def _calibration(document: dict[str, Any]) -> str:
    names = ("ece", "rms_calibration_error", "brier", "log_loss")
    rows = []
    for row in document["rows"]:
        shown = [interval(row[f"mean_{name}"]) for name in names]
        shown.insert(1, f"{row['mean_ece_floor']:.3f}")
        change = row.get("minus_uncalibrated", {}).get("rms_calibration_error")
        rows.append([row["model"], *shown, interval(change)])
    heads = ["test, mean of sets and seeds", "ECE", "chance's share of it", "RMS error, debiased"]
    heads += ["Brier score", "log loss", "RMS error, change"]
    per_set = [
        [row["model"], *(_mean(scores["rms_calibration_error"]) for scores in row["sets"].values())]
        for row in document["rows"]
    ]
    sets = list(document["rows"][0]["sets"])
    return (
        table(heads, rows)
        + "\nThe plain ECE is biased upwards, and its interval, which draws chance twice, more so: "
        "it may lie above its value.\n\nRMS error by set, mean of seeds:\n\n"
        + table(["model", *sets], per_set)
    )


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3f}"


_WRITERS = {
    "calibration": _calibration,
    "saliency": _saliency,
    "screening": _screening,
    "mini_base": _mini_base,
    "before_after": _before_after,
    "intervals": _intervals,
    "merge_speed": _merge_speed,
    "edit_speed": _edit_speed,
    "main_job": _main_job,
    "merge_quality": _merge_quality,
    "in_domain": _in_domain,
    "growing": _growing,
    **routing_tables.WRITERS,
    **adapt_tables.WRITERS,
    **data_tables.WRITERS,
    **ingest_tables.WRITERS,
    **serve_tables.WRITERS,
    **profile_tables.WRITERS,
    **stem_tables.WRITERS,
}


if __name__ == "__main__":
    PAGE.write_text(page())
