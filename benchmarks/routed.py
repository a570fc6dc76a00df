"""End to end, the task unknown: routed and merged generalists over the mixed test images.

    python -m benchmarks.routed [--seeds 0 1 2] [--only-val]

An image that is sent to another task, or to none, counts as wrong. The divisor of every normalised
score is the plainly trained specialist that was told the task. Joint training's row is the one
that `benchmarks.merge_quality` measured on the same images.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from benchmarks.bricks import get_brick, train_all
from benchmarks.common import RESULTS, SETS, arguments, base, dataset, write_result
from benchmarks.models import SIZE, Merge, alone, probe
from benchmarks.parallel import in_processes
from benchmarks.routing import of_set, router
from benchmarks.scoring import (
    Contender,
    Probs,
    draw,
    facts,
    inputs,
    make_row,
)
from medlego.bricks import STEM_BLOCKS, Brick, fit_profile
from medlego.generalist import assemble
from medlego.merge import AUTO
from medlego.metrics import point_scores
from medlego.prediction import Engine

STEMS = {"svd": 0, "stem1": 1, "stem3": 3}
"""Kinds of bricks and the leading blocks that they leave alone."""
MIXED = 64
CONTROL = "specialists, plain, task told"


@cache
def reached(name: str, split: str) -> np.ndarray:
    """Which images of a set are sent to its task, (N,)."""
    routing = router(tuple(SETS), STEM_BLOCKS)
    routes = routing.routes(routing.ood_scores(of_set(name, split, STEM_BLOCKS)))
    return np.array([name in route.tasks for route in routes])


def unknown(answers: Probs) -> Probs:
    """The same answers where the image is sent to its task, wrong ones elsewhere."""

    def probs(seed: int, name: str, split: str) -> np.ndarray:
        data = dataset(name)
        wrong = data.task.rules.wrong_answers(data.split(split).labels)
        routed: np.ndarray = np.where(
            reached(name, split)[:, None], answers(seed, name, split), wrong
        )
        return routed

    return probs


def contenders(
    kinds: tuple[str, ...], seeds: tuple[int, ...], stem_seeds: tuple[int, ...]
) -> list[Contender]:
    """The table's lines."""
    merged = Merge("svd", "linear", AUTO).probs
    lines = [
        Contender("linear probes on the frozen base, task told", "-", False, probe, seeds[:1]),
        Contender(CONTROL, "-", False, alone("svd"), seeds),
        Contender("merged, task told", AUTO, False, merged, seeds),
        Contender("merged, task unknown", AUTO, False, unknown(merged), seeds),
        Contender(
            "routed by a scout, task unknown", "-", False, unknown(alone("svd")), seeds, True
        ),
    ]
    for kind in kinds[1:]:
        rank = max(d.rank for d in get_brick("btc_mri", kind, stem_seeds[0], SIZE).deltas.values())
        what = f"a stem of {STEMS[kind]} (rank {rank})"
        specialists, sent = f"specialists with {what}, task told", f"routed by {what}, task unknown"
        lines.append(Contender(specialists, "-", False, alone(kind), stem_seeds))
        lines.append(Contender(sent, "-", False, unknown(alone(kind)), stem_seeds))
    return lines


def with_profile(brick: Brick) -> Brick:
    """As `train` would have made it."""
    profile = fit_profile(of_set(brick.task.name, "train", STEM_BLOCKS), blocks=STEM_BLOCKS)
    return replace(brick, profile=profile)


def exactness(kind: str, seed: int) -> dict[str, Any]:
    """The generalist over all test images shuffled together, beside its specialists."""
    bricks = [with_profile(get_brick(name, kind, seed, SIZE)) for name in SETS]
    engine = Engine(assemble(bricks, mode="routed"), base(SIZE))
    owners = [(name, row) for name in SETS for row in range(len(dataset(name).test))]
    order = np.random.default_rng(seed).permutation(len(owners))
    by_specialist = {name: alone(kind)(seed, name, "test") for name in SETS}
    worst, same = 0.0, 0
    for start in range(0, len(order), MIXED):
        rows = [owners[i] for i in order[start : start + MIXED]]
        pixels = torch.cat([inputs(name, "test", SIZE).take([row]) for name, row in rows])
        batch = engine.run(pixels)
        for answered in batch.answers:
            task = answered.reader.task.name
            for place, probs in zip(answered.rows.tolist(), answered.probs, strict=True):
                name, row = rows[place]
                if name == task:
                    expected = torch.from_numpy(by_specialist[name][row])
                    worst = max(worst, float((probs.double() - expected).abs().max()))
        for (name, row), route in zip(rows, batch.routes, strict=True):
            same += (name in route.tasks) == bool(reached(name, "test")[row])
    return {
        "kind": kind,
        "images": len(owners),
        "largest_difference": float(f"{worst:.2g}"),
        "same_routes": same,
    }


def joint_row() -> dict[str, Any]:
    """Joint training as `benchmarks.merge_quality` measured it."""
    document = json.loads((RESULTS / f"merge_quality-{SIZE}px.json").read_text())
    (joint,) = (row for row in document["rows"] if row["method"] == "joint training (ceiling)")
    fields: dict[str, Any] = {k: v for k, v in joint.items() if k not in ("group", "validation")}
    fields.pop("minus_default", None)
    note = "as merge_quality measured it; all images in one place, what medlego exists to avoid"
    return fields | {"method": "joint training (ceiling), task told", "note": note}


def validated(line: Contender) -> list[float]:
    """Mean balanced accuracy on validation by seed."""
    return [
        float(
            np.mean(
                [
                    point_scores(
                        dataset(name).task,
                        line.probs(seed, name, "val"),
                        dataset(name).val.labels,
                    )["balanced_accuracy"]
                    for name in SETS
                ]
            )
        )
        for seed in line.seeds
    ]


def main() -> None:
    """Parse, train what is missing, evaluate."""
    parser = arguments(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=STEMS, default=list(STEMS))
    parser.add_argument("--stem-seeds", type=int, nargs="+", help="of the stems; the same")
    options = parser.parse_args()
    kinds, seeds = tuple(options.kinds), tuple(options.seeds)
    stem_seeds = tuple(options.stem_seeds or seeds)
    known = {kind: seeds if kind == "svd" else stem_seeds for kind in kinds}
    jobs = [(name, kind, seed, SIZE) for kind in kinds for seed in known[kind] for name in SETS]
    train_all(jobs, options.workers)
    torch.set_num_threads(1)
    lines = contenders(kinds, seeds, stem_seeds)
    for name in SETS:
        for split in ("val", "test"):
            reached(name, split)
    validation = list(in_processes(validated, lines, options.workers))
    for line, scores in zip(lines, validation, strict=True):
        print(f"{np.mean(scores):.4f} {line.method}", flush=True)
    if options.only_val:
        return
    drawn = dict(enumerate(in_processes(draw, lines, options.workers)))
    (plain,) = (number for number, line in enumerate(lines) if line.method == CONTROL)
    rows = [
        make_row(line, drawn[number], drawn[plain], drawn[0][seeds[0]])
        for number, line in enumerate(lines)
    ]
    for row, scores in zip(rows, validation, strict=True):
        row["validation"] = [round(score, 4) for score in scores]
    write_result(
        f"routed-{SIZE}px",
        [*rows, joint_row()],
        seeds=list(seeds),
        **facts(SIZE),
        exactness=[exactness(kind, known[kind][0]) for kind in kinds],
        bricks={
            f"{name} {kind} seed {seed}": get_brick(name, kind, seed, SIZE).digest
            for kind in kinds
            for seed in known[kind]
            for name in SETS
        },
    )


if __name__ == "__main__":
    main()
