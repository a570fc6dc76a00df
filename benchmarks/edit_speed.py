"""How fast a generalist of twenty bricks is edited, beside PEFT's delete and re-merge.

Twenty adapters of rank 4 on 24 separate Linear(768, 768), ViT-B's q and v. Ours is `edit.add` and
`edit.remove` on a generalist in memory: checks, the exact merge in canonical form, recipe, lineage
and the new brick's digest; disk writes apart. PEFT deletes its merged adapter and makes it anew
from the adapters that stay, in three ways: `svd` at full rank, the same deltas in the same form,
which must come out equal; `cat`, the same deltas as long factors, no SVD taken; and `linear`,
which adds factors, and so is another result. One thread each; runs of all take turns.

    python -m benchmarks.edit_speed [--repeats N] [--results DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from peft import PeftModel

from benchmarks.common import RESULTS, write_result
from benchmarks.merge_inputs import LAYERS, NAMES, RANK, WIDTH, make_bricks, make_factors, make_peer
from benchmarks.timing import Runs, alternate
from medlego import assemble
from medlego.generalist import Generalist, add, remove

COUNT = 20
COEFFICIENT = COUNT**-0.5
ADAPTERS = [f"adapter{number}" for number in range(COUNT)]
TOLERANCE = 1e-4
KINDS = ("svd", "cat", "linear")
NOTES = {
    "svd": "the same deltas in the same form",
    "cat": "the same deltas as long factors: no SVD is taken, nothing is cut or compared",
    "linear": "another result: PEFT adds the factors, not the deltas",
}


def peer_merge(model: PeftModel, adapters: Sequence[str], kind: str) -> None:
    """PEFT's merge of adapters that it holds, in the place of the one before."""
    if "merged" in model.peft_config:
        model.delete_adapter("merged")
    model.add_weighted_adapter(
        list(adapters),
        [COEFFICIENT] * len(adapters),
        "merged",
        combination_type=kind,
        svd_rank=len(adapters) * RANK if kind == "svd" else None,
    )


def difference(ours: Generalist, model: PeftModel) -> float:
    """Largest Frobenius distance of a layer's deltas, relative to the peer's."""
    layers: Any = model.base_model.model
    distances = []
    for name in NAMES:
        peer = layers[name].get_delta_weight("merged").detach()
        apart = torch.linalg.matrix_norm(ours.deltas[name].dense() - peer)
        distances.append(float(apart / torch.linalg.matrix_norm(peer)))
    return max(distances)


def measure(repeats: int) -> tuple[dict[str, Runs], dict[str, float]]:
    """All runs by what ran, and the largest relative difference of each of PEFT's."""
    factors = make_factors(0, ADAPTERS)
    bricks, peer = make_bricks(factors), make_peer(factors)
    fewer = assemble(bricks[:-1], coefficients=COEFFICIENT)
    whole = assemble(bricks, coefficients=COEFFICIENT)
    stays = [name for name in ADAPTERS if name != ADAPTERS[3]]
    results = {"add": whole, "remove": remove(whole, ADAPTERS[3])}
    differences: dict[str, float] = {}

    def compare(name: str) -> None:
        action, _, kind = name.partition(" ")
        if kind and name not in differences:
            differences[name] = difference(results[action], peer)

    works: dict[str, Callable[[], Any]] = {
        "add": lambda: add(fewer, replace(bricks[-1])),  # a digest is kept by the brick it is of
        "remove": lambda: remove(whole, ADAPTERS[3]),
    }
    for kind in KINDS:
        works[f"add {kind}"] = partial(peer_merge, peer, ADAPTERS, kind)
        works[f"remove {kind}"] = partial(peer_merge, peer, stays, kind)
    return alternate(works, 1, repeats, compare), differences


def spread(runs: Runs) -> tuple[float, list[float]]:
    """Median and quartiles of wall time."""
    wall = [seconds for seconds, _ in runs]
    low, _, high = quantiles(wall, n=4)
    return median(wall), [low, high]


def make_row(
    action: str, kind: str, times: dict[str, Runs], differences: dict[str, float]
) -> dict[str, Any]:
    """A row's numbers."""
    (ours, quartiles), (peer, peers) = spread(times[action]), spread(times[f"{action} {kind}"])
    what = {"add": "add the twentieth brick", "remove": "remove one of twenty bricks"}
    return {
        "name": what[action],
        "method": "linear",
        "seconds": ours,
        "seconds_quartiles": quartiles,
        "threads": 1,
        "peer": f"PEFT delete_adapter, add_weighted_adapter(combination_type={kind!r})",
        "peer_seconds": peer,
        "peer_seconds_quartiles": peers,
        "peer_threads": 1,
        "ratio": peer / ours,
        "largest_relative_difference": differences[f"{action} {kind}"],
        "note": NOTES[kind],
    }


def main() -> None:
    """Measure, check and write `results/edit_speed.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()
    load = os.getloadavg()
    times, differences = measure(arguments.repeats)
    rows = [make_row(a, kind, times, differences) for a in ("add", "remove") for kind in KINDS]
    for row in rows:
        print(
            f"{row['name']}: {row['seconds'] * 1e3:.1f} ms, {row['peer']} "
            f"{row['peer_seconds'] * 1e3:.1f} ms, {row['ratio']:.1f} times, differing by "
            f"{row['largest_relative_difference']:.1e}"
        )
    worst = max(differences[f"{a} {kind}"] for a in ("add", "remove") for kind in ("svd", "cat"))
    if not worst <= TOLERANCE:
        sys.exit(f"deltas: expected equal to {TOLERANCE:g}, differ by {worst:.2g}")
    write_result(
        "edit_speed",
        rows,
        seeds=[0],
        folder=arguments.results,
        versions={"peft": version("peft")},
        setting={
            "bricks": COUNT,
            "rank": RANK,
            "targets": LAYERS,
            "shape": [WIDTH, WIDTH],
            "repeats": arguments.repeats,
            "load_average": load,
        },
    )


if __name__ == "__main__":
    main()
