"""How fast an exact merge is, beside PEFT's, at the shapes of ViT-B.

Eight adapters of rank 4 on 24 separate Linear(768, 768) (PEFT cannot adapt the row slices of a
fused qkv). Both sides start from the same factors in memory, ours already in canonical form, as
a brick's file holds it. Runs of the two alternate, and medians are reported: of wall time, which
the ratio is of, and of processor time, which tells more where other work shares the machine. At
full rank every merged delta must equal the peer's, or the script fails.

Each side's peak memory is read in a process of its own, less that of a process which only
imports and builds the same inputs.

    python -m benchmarks.merge_speed [--repeats N]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from benchmarks.common import write_result
from medlego import assemble
from medlego.base import BaseRef
from medlego.brick import Brick, Card, Head
from medlego.lowrank import LowRank
from medlego.merge import METHODS, TaskVector
from medlego.targets import Target
from medlego.task import Kind, Task
from medlego.threads import one_thread

WIDTH, LAYERS, BRICKS, RANK, ALPHA = 768, 24, 8, 4, 8
FULL_RANK = BRICKS * RANK
COEFFICIENT = BRICKS**-0.5
NAMES = [f"layer{number}" for number in range(LAYERS)]
ADAPTERS = [f"adapter{number}" for number in range(BRICKS)]
TOLERANCE = 1e-4
SIDES = ("ours", "peer")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Factors = dict[str, dict[str, tuple[Tensor, Tensor]]]


def make_factors(seed: int = 0) -> Factors:
    """B (out, rank) and A (rank, in) of every adapter and layer."""
    generator = torch.Generator().manual_seed(seed)
    return {
        adapter: {
            name: (
                torch.randn(WIDTH, RANK, generator=generator) / WIDTH**0.5,
                torch.randn(RANK, WIDTH, generator=generator) / WIDTH**0.5,
            )
            for name in NAMES
        }
        for adapter in ADAPTERS
    }


def make_bricks(factors: Factors) -> list[Brick]:
    """The adapters as bricks of nine classes each."""
    ref = BaseRef(
        name="vit_base_patch16_224",
        fingerprint="0" * 64,
        image_size=224,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        parameters=85_798_656,
        features=WIDTH,
    )
    targets = tuple(Target(name, name, 0, WIDTH, WIDTH) for name in NAMES)
    labels = tuple(f"label{number}" for number in range(9))
    return [
        Brick(
            base=ref,
            task=Task(name=adapter, kind=Kind.MULTICLASS, labels=labels),
            targets=targets,
            deltas={n: LowRank.from_factors(*f, ALPHA / RANK) for n, f in layers.items()},
            head=Head(torch.zeros(9, WIDTH), torch.zeros(9)),
            settings={},
            card=Card(),
        )
        for adapter, layers in factors.items()
    ]


def make_peer(factors: Factors) -> PeftModel:
    """The adapters in PEFT, on a model of as many linear layers."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=NAMES, use_rslora=False)
    layers = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH, bias=False) for name in NAMES})
    model = get_peft_model(layers, config, adapter_name=ADAPTERS[0])
    for adapter in ADAPTERS[1:]:
        model.add_adapter(adapter, config)
    for adapter, by_layer in factors.items():
        for name, (B, A) in by_layer.items():
            layer = model.base_model.model[name]
            layer.lora_B[adapter].weight.data = B.clone()
            layer.lora_A[adapter].weight.data = A.clone()
    return model


def our_merge(vectors: list[TaskVector], method: str) -> Mapping[str, LowRank]:
    """The merge on one thread, as `assemble` runs it."""
    with one_thread():
        return METHODS[method].merge(vectors, [COEFFICIENT] * BRICKS, None).deltas


def our_assembly(bricks: list[Brick]) -> Mapping[str, LowRank]:
    """Everything that `assemble` does: validation, merge, digests of all bricks, recipe."""
    fresh = [replace(brick) for brick in bricks]  # a digest is kept by the brick it is of
    return assemble(fresh, "linear", coefficients=COEFFICIENT).deltas


def peer_merge(model: PeftModel, rank: int) -> None:
    """PEFT's own way to the same delta: dense sum, then a dense SVD, layer by layer."""
    model.add_weighted_adapter(
        ADAPTERS, [COEFFICIENT] * BRICKS, "merged", combination_type="svd", svd_rank=rank
    )


def peer_deltas(model: PeftModel) -> dict[str, Tensor]:
    """What the merged adapter adds to each layer."""
    layers = model.base_model.model
    return {name: layers[name].get_delta_weight("merged").detach() for name in NAMES}


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def alternate(
    works: Mapping[str, Callable[[], Any]],
    threads: int,
    repeats: int,
    after: Callable[[str], None],
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of `repeats` runs of each, taking turns; one round before warms up."""
    torch.set_num_threads(threads)
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(repeats + 1):
        for name, work in works.items():
            runs[name].append(timed(work))
            after(name)
        print(f"round {number} of {repeats}: {', '.join(works)}", file=sys.stderr)
    return {name: taken[1:] for name, taken in runs.items()}


def measure(repeats: int) -> tuple[dict[str, list[tuple[float, float]]], dict[str, float]]:
    """Seconds of every run by what ran, and the largest relative difference per peer's run."""
    factors = make_factors()
    bricks, peer = make_bricks(factors), make_peer(factors)
    vectors: list[TaskVector] = [brick.deltas for brick in bricks]
    differences: dict[str, float] = {}

    def compare(name: str) -> None:
        if not name.startswith("svd"):
            return
        method = "lego" if name == "svd 4" else "linear"
        if name not in differences:
            differences[name] = difference(our_merge(vectors, method), peer_deltas(peer))
        peer.delete_adapter("merged")

    taking_turns = {
        "linear": lambda: our_merge(vectors, "linear"),
        "svd 32": lambda: peer_merge(peer, FULL_RANK),
        "lego": lambda: our_merge(vectors, "lego"),
        "svd 4": lambda: peer_merge(peer, RANK),
        "assemble": lambda: our_assembly(bricks),
    }
    times = alternate(taking_turns, 1, repeats, compare)
    # By itself: threads that OpenMP keeps spinning would disturb the runs above.
    alone = {"svd 32, all cores": lambda: peer_merge(peer, FULL_RANK)}
    return times | alternate(alone, CORES, repeats, compare), differences


def difference(ours: Mapping[str, LowRank], peers: Mapping[str, Tensor]) -> float:
    """Largest Frobenius distance of a layer's deltas, relative to the peer's."""
    return max(
        float(torch.linalg.matrix_norm(ours[name].dense() - delta))
        / float(torch.linalg.matrix_norm(delta))
        for name, delta in peers.items()
    )


def peak_mib(side: str, *, merging: bool) -> float:
    """Peak resident memory of a fresh process that builds one side's inputs, and may merge."""
    command = [sys.executable, "-m", "benchmarks.merge_speed", "--memory", side]
    done = subprocess.run(
        command + ["--merge"] * merging, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def report_memory(side: str, merging: bool) -> None:
    """Body of that process: print its peak in KiB."""
    torch.set_num_threads(1)
    factors = make_factors()
    if side == "ours":
        vectors: list[TaskVector] = [brick.deltas for brick in make_bricks(factors)]
        work: Callable[[], Any] = lambda: our_merge(vectors, "linear")  # noqa: E731
    else:
        model = make_peer(factors)
        work = lambda: peer_merge(model, FULL_RANK)  # noqa: E731
    if merging:
        work()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def make_rows(
    times: Mapping[str, list[tuple[float, float]]],
    differences: Mapping[str, float],
    memory: Mapping[str, float],
) -> list[dict[str, Any]]:
    """One row per pair of what ran on our side and on the peer's."""
    pairs = [
        ("merge, full rank", "linear", "svd 32"),
        ("merge, full rank, the peer on all cores", "linear", "svd 32, all cores"),
        ("merge, cut to rank 4", "lego", "svd 4"),
        ("assemble(): validation, merge, digests", "assemble", "svd 32"),
    ]
    rows = []
    for name, ours, peer in pairs:
        ours_wall, ours_processor = zip(*times[ours], strict=True)
        peer_wall, peer_processor = zip(*times[peer], strict=True)
        row = {
            "name": name,
            "method": "lego" if ours == "lego" else "linear",
            "seconds": median(ours_wall),
            "seconds_range": [min(ours_wall), max(ours_wall)],
            "processor_seconds": median(ours_processor),
            "threads": 1,
            "peer": "PEFT add_weighted_adapter(combination_type='svd')",
            "peer_seconds": median(peer_wall),
            "peer_seconds_range": [min(peer_wall), max(peer_wall)],
            "peer_processor_seconds": median(peer_processor),
            "peer_threads": CORES if "all cores" in peer else 1,
            "rank": RANK if ours == "lego" else FULL_RANK,
            "ratio": median(peer_wall) / median(ours_wall),
            "processor_ratio": median(peer_processor) / median(ours_processor),
            "largest_relative_difference": differences[peer],
        }
        if "all cores" in peer:
            row["note"] = "counts on an idle machine only: OpenMP's threads spin while they wait"
        if ours == "linear":
            row |= {"peak_mib": memory["ours"], "peer_peak_mib": memory["peer"]}
        rows.append(row)
    return rows


def main() -> None:
    """Measure, check and write `results/merge_speed.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--merge", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        report_memory(given.memory, given.merge)
        return
    # Before anything large is built here: a child inherits its parent's peak across fork.
    memory = {s: peak_mib(s, merging=True) - peak_mib(s, merging=False) for s in SIDES}
    times, differences = measure(given.repeats)
    rows = make_rows(times, differences, memory)
    for row in rows:
        print(f"{row['name']}: {row['seconds']:.4f} s, {row['peer_seconds']:.3f} s, ", end="")
        print(
            f"{row['ratio']:.0f} times ({row['processor_ratio']:.0f} in processor time), ", end=""
        )
        print(f"differing by {row['largest_relative_difference']:.1e}")
    print(f"peak memory above inputs: {memory['ours']:.1f} MiB, peer {memory['peer']:.1f} MiB")
    worst = max(differences["svd 32"], differences["svd 32, all cores"])
    if not worst <= TOLERANCE:
        sys.exit(f"full-rank deltas: expected equal to {TOLERANCE:g}, differ by {worst:.2g}")
    write_result(
        "merge_speed",
        rows,
        seeds=[0],
        versions={"peft": version("peft")},
        setting={
            "bricks": BRICKS,
            "rank": RANK,
            "targets": LAYERS,
            "shape": [WIDTH, WIDTH],
            "repeats": given.repeats,
            "load_average": os.getloadavg(),
            "memory": "ru_maxrss of a process that merges once, less that of one that builds the "
            "same inputs and does not; MiB",
        },
    )


if __name__ == "__main__":
    main()
