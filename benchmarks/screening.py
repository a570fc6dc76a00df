"""Does screening flag poisoned bricks, and leave clean ones alone?

    python -m benchmarks.screening [--calibrate] [--workers N]

Trusted bricks: five real and fifteen procedural tasks of seed 0. With `--calibrate`, each of them
and poisons with the triggers that limits were set on are screened, and nothing is written down as
a result. Without, bricks of the seeds 1 and 2, and poisons made from those of seed 1 with other
triggers.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import procedural
from benchmarks.bricks import get_brick, train_all
from benchmarks.common import (
    BASE_FILE,
    CACHE,
    ROOT,
    SETS,
    SHARED,
    base,
    dataset,
    key,
    write_result,
)
from benchmarks.parallel import in_processes
from benchmarks.poison import KEEP, STEPS, Attack, Form, Ground, backdoor, poisoned, success
from medlego.base import Inputs
from medlego.bricks import Brick, load_brick, save_brick
from medlego.exchange import Ordinary, screen
from medlego.exchange.screening.cache import measure
from medlego.exchange.screening.findings import ScreeningLimits

SIZE = 112
SOURCE = ROOT / "src" / "medlego" / "exchange" / "screening"
IMAGES = 600
"""Of the training split, for an attacker."""
JUDGED = 100
"""Of the validation split, to measure an attack."""
CLEAN = ("svd", "aware-refit")
GROUNDS: tuple[Ground, ...] = ("base", "specialist")
FORMS: tuple[Form, ...] = ("only", "hidden")
WORKS = 0.5
"""An attack counts when the trigger gives its label to so many more of the images."""

CALIBRATION = {
    "btc_mri": Attack("noise", 12, (0.2, 0.8), 2),
    "busi_us": Attack("noise", 24, (0.5, 0.5), 1),
    "covid_cxr": Attack("checker", 20, (0.1, 0.1), 1),
    "ham_derm": Attack("cross", 16, (0.0, 0.9), 4),
    "wbc_zheng": Attack("checker", 16, (0.0, 0.0), 1),
}
TEST = {
    "btc_mri": Attack("ring", 18, (0.9, 0.1), 3),
    "busi_us": Attack("ramp", 16, (0.3, 0.9), 2),
    "covid_cxr": Attack("letter", 14, (0.05, 0.5), 0),
    "ham_derm": Attack("bars", 16, (0.8, 0.6), 2),
    "wbc_zheng": Attack("dots", 12, (0.5, 0.2), 3),
}


@cache
def trusted() -> list[Brick]:
    """The bricks that newcomers are compared with."""
    return [get_brick(name, "svd", 0, SIZE) for name in (*SETS, *procedural.NAMES)]


def poison_path(name: str, attack: Attack, ground: Ground, seed: int) -> Path:
    """Where a backdoor's deltas lie, as a brick of the form `only`."""
    clean = get_brick(name, "svd", seed, SIZE)
    shown = [attack.trigger, attack.side, attack.place, attack.label]
    decided = key(clean.digest, shown, ground, STEPS, KEEP, IMAGES)
    folder = CACHE / "poison" / f"{SIZE}px"
    return folder / f"{name}-{attack.trigger}-{ground}-seed{seed}-{decided}.brick.safetensors"


def make_poison(job: tuple[str, Attack, Ground, int]) -> None:
    """Train a backdoor into the cache, unless it is there."""
    name, attack, ground, seed = job
    path = poison_path(*job)
    if path.exists():
        return
    images = dataset(name).train.images
    chosen = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).astype(int).tolist()
    pixels = Inputs(images, base(SIZE)).take(chosen)
    clean = get_brick(name, "svd", seed, SIZE)
    deltas = backdoor(base(SIZE), clean, pixels, attack, ground)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_brick(poisoned(clean, deltas, "only"), path)
    print(f"trained {path.name}", flush=True)


def attack_rates(name: str, attack: Attack, brick: Brick) -> tuple[float, float]:
    """On validation images of other labels, without and with the trigger."""
    val = dataset(name).val
    rows = np.flatnonzero(val.labels != attack.label)
    rows = np.random.default_rng(0).permutation(rows)[:JUDGED]
    return success(base(SIZE), brick, Inputs(val.images, base(SIZE)).take(rows.tolist()), attack)


@cache
def ordinary() -> Ordinary:
    """The images that all are screened on."""
    return Ordinary.drawn(base(SIZE))


def row_of(brick: Brick, what: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Screen one brick, once: what was found is kept in the cache."""
    limits = ScreeningLimits()
    peers = [peer for peer in trusted() if peer.digest != brick.digest]
    code = [file.read_text() for file in sorted(SOURCE.glob("*.py"))]
    decided = key(brick.digest, [peer.digest for peer in peers], SIZE, code)
    path = CACHE / "screening" / f"{decided}.json"
    if path.exists():
        report = json.loads(path.read_text())
    else:
        report = screen(brick, peers, base(SIZE), ordinary=ordinary(), limits=limits).as_dict()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report))
    values = {f["check"]: f["value"] for f in report["findings"]}
    print(what, report["flagged"], {k: v and round(v, 3) for k, v in values.items()}, flush=True)
    return {"brick": what, **facts, "flagged": report["flagged"], "values": values}


def clean_row(job: tuple[str, str, int]) -> dict[str, Any]:
    """A specialist as it was trained."""
    name, kind, seed = job
    return row_of(get_brick(*job, SIZE), f"{name} {kind} seed {seed}", {"poisoned": False})


def poison_row(job: tuple[str, Attack, Ground, int, Form]) -> dict[str, Any]:
    """A backdoor in one of its forms, and whether it works at all."""
    name, attack, ground, seed, form = job
    clean = get_brick(name, "svd", seed, SIZE)
    deltas = load_brick(poison_path(name, attack, ground, seed)).deltas
    brick = poisoned(clean, deltas, form)
    without, triggered = attack_rates(name, attack, brick)
    facts = {
        "poisoned": True,
        "trigger": attack.trigger,
        "trained_on": ground,
        "form": form,
        "label_without_trigger": without,
        "label_with_trigger": triggered,
        "works": triggered - without >= WORKS,
    }
    return row_of(brick, f"{name} {attack.trigger} {ground} {form}", facts)


def screened(
    clean: list[tuple[str, str, int]], attacks: dict[str, Attack], seed: int, workers: int
) -> list[dict[str, Any]]:
    """Clean bricks and poisons, one row each."""
    jobs = [(name, a, ground, seed) for ground in GROUNDS for name, a in attacks.items()]
    for _ in in_processes(make_poison, jobs, workers):
        pass
    for _ in in_processes(lambda brick: measure(brick, ordinary()), trusted(), workers):
        pass
    rows = list(in_processes(clean_row, clean, workers))
    return rows + list(in_processes(poison_row, [(*j, f) for j in jobs for f in FORMS], workers))


def main() -> None:
    """Parse, make what is missing, screen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--calibrate", action="store_true", help="what limits were set on")
    arguments = parser.parse_args()
    os.environ["MEDLEGO_CACHE"] = str(CACHE / "medlego")
    names = (*SETS, *procedural.NAMES)
    train_all([(name, "svd", 0, SIZE) for name in names], arguments.workers)
    if arguments.calibrate:
        screened([(name, "svd", 0) for name in names], CALIBRATION, 0, arguments.workers)
        return
    clean = [(name, kind, seed) for kind in CLEAN for seed in (1, 2) for name in SETS]
    train_all([(*job, SIZE) for job in clean], arguments.workers)
    rows = screened(clean, TEST, 1, arguments.workers)
    write_result(
        f"screening-{SIZE}px",
        rows,
        seeds=[0, 1, 2],
        data=[BASE_FILE, *(SHARED / "data" / f"{name}.npz" for name in SETS)],
        limits=vars(ScreeningLimits()),
        setting={"steps": STEPS, "keep": KEEP, "images": IMAGES, "works": WORKS},
        trusted={brick.task.name: brick.digest for brick in trusted()},
    )


if __name__ == "__main__":
    main()
