"""Every way of merging the five real specialists in one table, beside controls and ceilings.

    python -m benchmarks.merge_quality [--seeds 0 1 2] [--only-val] [--methods METHOD …]

With `--methods` only their rows are measured again and put into the committed result, where
`again` then holds their bricks and the default's row on these. Bricks come from
`benchmarks.bricks`. Searched λ are the best of `LAMBDAS` on the validation splits; the test
splits are read once, for the table. The divisor of every normalised score is the plainly trained
specialist.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.bricks import train_all
from benchmarks.common import RESULTS, SETS, arguments, commit, write_result
from benchmarks.models import (
    GRAM_DIRECTIONS,
    KINDS,
    SAME_DELTAS,
    SIZE,
    Merge,
    alone,
    bare,
    bricks,
    mid_probe,
    probe,
)
from benchmarks.parallel import in_processes
from benchmarks.scoring import (
    Contender,
    Probs,
    balanced_accuracy,
    draw,
    facts,
    make_row,
)
from medlego.generalist import default_slope
from medlego.merge import AUTO, METHODS, RULES
from medlego.merge.methods.ties import DENSITY

LAMBDAS = (0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
START = LAMBDAS.index(0.45)
PEFT_KINDS = ("linear", "svd", "ties_svd", "dare_ties_svd")
PLAIN = "specialists, plain"
UNSLOPED = {
    "linear": tuple(RULES),
    "tsv": ("root",),
    "iso-cts": ("root", "norm"),
    "core-ties": ("root",),
}
"""Rules that are also tried as they are, all blocks alike; for plain bricks."""
SEARCHED = "best λ on val"


def normalised(probs: Probs, seed: int) -> float:
    """Mean normalised balanced accuracy on validation."""
    return float(
        np.mean(
            [
                balanced_accuracy(probs, seed, name, "val")
                / balanced_accuracy(alone("svd"), seed, name, "val")
                for name in SETS
            ]
        )
    )


@cache
def best_lambda(kind: str, method: str, seed: int) -> float:
    """The λ of `LAMBDAS` with the best mean normalised balanced accuracy on val.

    A climb from the middle, which stops where both neighbours are worse.
    """

    @cache
    def score(place: int) -> float:
        return normalised(scaled(kind, method, LAMBDAS[place]).probs, seed)

    place, before = START, None
    while place != before:
        before = place
        near = range(max(0, place - 1), min(len(LAMBDAS), place + 2))
        place = max(near, key=lambda other: (score(other), other == before))
    return LAMBDAS[place]


def scaled(kind: str, method: str, value: float) -> Merge:
    """A merge with one number for every brick, and the slope that a search takes."""
    known = list(bricks(kind, 0).values())
    slope = default_slope(method, known) if method in METHODS else 0.0
    return Merge(kind, method, value, slope=slope)


def searched(kind: str, method: str) -> Probs:
    """A merge with the λ that is best on validation."""

    def probs(seed: int, name: str, split: str) -> np.ndarray:
        return scaled(kind, method, best_lambda(kind, method, seed)).probs(seed, name, split)

    return probs


def contenders(kinds: tuple[str, ...], every: tuple[int, ...]) -> list[Contender]:
    """The table's lines."""
    lines = controls(kinds, every)
    for kind in kinds:
        lines += [replace(line, group=KINDS[kind]) for line in merges(kind, every, kinds[-1])]
    for peft_kind in PEFT_KINDS:
        method, mean = f"PEFT {peft_kind}", 1 / len(SETS)
        peft_lines = [
            Contender(method, "1/K", False, Merge("svd", method, mean).probs, every),
            Contender(method, SEARCHED, True, searched("svd", method), every),
        ]
        lines += [replace(line, group="PEFT, plain training") for line in peft_lines]
    return lines


def controls(kinds: tuple[str, ...], every: tuple[int, ...]) -> list[Contender]:
    """What a merge has to be measured against."""
    first = every[:1]
    lines = [
        Contender("linear probes on the frozen base", "-", False, probe, first),
        Contender("linear probes, patch tokens after block 6", "-", False, mid_probe, first),
        Contender("base with the specialists' heads", "-", False, bare("svd"), every),
        Contender(PLAIN, "-", False, alone("svd"), every),
    ]
    lines += [
        Contender(
            f"specialists, {KINDS[kind].replace(' training', '')}", "-", False, alone(kind), every
        )
        for kind in kinds
        if kind != "svd"
    ]
    note = "all images in one place, what medlego exists to avoid"
    lines.append(Contender("joint training (ceiling)", "-", True, alone("joint"), first, note=note))
    return [replace(line, group="controls") for line in lines]


def merges(kind: str, every: tuple[int, ...], default: str) -> list[Contender]:
    """Every merge of one kind of bricks; of those between plain and default, linear ones only."""
    lines = []
    whole = kind in ("svd", default)
    for method in METHODS if whole else ("linear",):
        auto = Merge(kind, method, AUTO).probs
        chosen = (kind, method) == (default, "linear")
        lines.append(Contender(method, AUTO, False, auto, every, chosen))
        lines.append(Contender(method, SEARCHED, True, searched(kind, method), every))
    for method, rules in UNSLOPED.items():
        if kind == "svd" or method == "linear":
            lines += [
                Contender(method, rule, False, Merge(kind, method, rule).probs, every)
                for rule in rules
            ]
    if whole:
        svc = Merge(kind, "linear", AUTO, svc=True).probs
        lines.append(Contender("linear, then svc", AUTO, False, svc, every))
    if kind not in SAME_DELTAS:
        lines += [
            Contender(f"{m}, head round", AUTO, True, Merge(kind, m, AUTO).refitted, every)
            for m in ("linear", "tsv")
        ]
    return lines


def validated(lines: list[Contender], workers: int) -> list[list[float]]:
    """Every line's normalised validation score by seed, printed; the test splits stay unread."""
    by_line = []

    def score(line: Contender) -> list[float]:
        return [normalised(line.probs, seed) for seed in line.seeds]

    for line, scores in zip(lines, in_processes(score, lines, workers), strict=True):
        shown = " ".join(f"{score:.3f}" for score in scores)
        mean = np.mean(scores)
        print(f"{mean:.3f} ({shown}) {line.method}, {line.coefficients}, {line.group}", flush=True)
        by_line.append(scores)
    return by_line


def run(
    kinds: tuple[str, ...], seeds: tuple[int, ...], workers: int, methods: list[str] | None
) -> None:
    """Choose on the validation splits, evaluate every line on test and write the result."""
    lines = contenders(kinds, seeds)
    if methods is not None:
        needed = [lines[0], *(line for line in lines if line.method == PLAIN or line.default)]
        lines = [*needed, *(line for line in lines if line.method in methods)]
    validation = validated(lines, workers)
    drawn: dict[int, dict[int, Any]] = {}
    for line, scores in zip(lines, in_processes(draw, lines, workers), strict=True):
        print(f"line {len(drawn) + 1} of {len(lines)}", flush=True)
        drawn[id(line)] = scores
    (plain,) = (line for line in lines if line.method == PLAIN)
    (default,) = (line for line in lines if line.default)
    rows = [
        make_row(
            line,
            drawn[id(line)],
            drawn[id(plain)],
            drawn[id(lines[0])][seeds[0]],
            drawn[id(default)],
        )
        for line in lines
    ]
    for line, row, chosen_by in zip(lines, rows, validation, strict=True):
        row["validation"] = [round(score, 4) for score in chosen_by]
        if line.coefficients == SEARCHED:
            kind = next((kind for kind in kinds if KINDS[kind] == line.group), "svd")
            row["lambda"] = {str(seed): best_lambda(kind, line.method, seed) for seed in seeds}
    digests = {
        f"{name} {kind} seed {seed}": brick.digest
        for kind in kinds
        for seed in seeds
        for name, brick in bricks(kind, seed).items()
    }
    if methods is not None:
        if kinds[-1] != list(KINDS)[-1]:  # another default than the table's
            rows = [row | {"minus_default": None} for row in rows]
        put_in_place(rows, methods, bricks=digests, commit=commit())
        return
    write_result(
        f"merge_quality-{SIZE}px",
        rows,
        seeds=list(seeds),
        **facts(SIZE),
        versions={"peft": version("peft")},
        setting={
            "lambdas": LAMBDAS,
            "auto": {name: [method.auto, method.slope] for name, method in METHODS.items()},
            "gram_directions": GRAM_DIRECTIONS,
            "peft_density": DENSITY,
        },
        bricks=digests,
    )


def put_in_place(rows: list[dict[str, Any]], methods: list[str], **facts: Any) -> None:
    """Put some methods' rows into the committed result."""
    path = RESULTS / f"merge_quality-{SIZE}px.json"
    document = json.loads(path.read_text())
    place = {
        (row["group"], row["method"], row["coefficients"]): number
        for number, row in enumerate(document["rows"])
    }
    for row in rows:
        if row["method"] in methods:
            number = place[row["group"], row["method"], row["coefficients"]]
            document["rows"][number] = row | {"note": "measured again, see below"}
    anchors = [row for row in rows if row["method"] not in methods]
    document["again"] = {"methods": methods, **facts, "rows": anchors}
    path.write_text(json.dumps(document, indent=2) + "\n")


def main() -> None:
    """Parse, train what is missing, evaluate."""
    parser = arguments(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    options = parser.parse_args()
    kinds, seeds = tuple(options.kinds), tuple(options.seeds)
    jobs = [(name, kind, seed, SIZE) for kind in kinds for seed in seeds for name in SETS]
    if options.methods is None:
        jobs.append((next(iter(SETS)), "joint", seeds[0], SIZE))
    train_all(jobs, options.workers)
    if options.only_val:
        validated(contenders(kinds, seeds), options.workers)
    else:
        run(kinds, seeds, options.workers, options.methods)


if __name__ == "__main__":
    main()
