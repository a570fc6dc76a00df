"""How fast merges are, beside PEFT's, at the shapes of ViT-B.

Eight adapters of rank 4 on 24 separate Linear(768, 768) (PEFT cannot adapt the row slices of a
fused qkv). Both sides start from the same factors in memory, ours already in canonical form, as
a brick's file holds it. Runs of all take turns, and medians are reported: of wall time, which
the ratio is of, and of processor time, which tells more where other work shares the machine. At
full rank every merged delta of `linear` must equal the peer's, or the script fails. PEFT's
`ties_svd`, the peer of `core-ties`, trims the full matrices and cuts the result to rank 32: the
same idea at the same density, and another result.

Peak memory is read in processes of their own: for a merge of eight, less that of a process which
only imports and builds the same inputs; for the merge of many brick files, of the whole process.

    python -m benchmarks.merge_speed [--repeats N] [--stream N] [--results DIR]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from benchmarks.common import RESULTS, write_result
from benchmarks.merge_inputs import (
    ADAPTERS,
    BRICKS,
    COEFFICIENT,
    FULL_RANK,
    LAYERS,
    NAMES,
    RANK,
    WIDTH,
    make_bricks,
    make_factors,
    make_peer,
    write_bricks,
)
from benchmarks.merge_many import own_peak_mib
from benchmarks.timing import CORES, Runs, alternate
from medlego import assemble
from medlego.bricks import Brick, LowRank
from medlego.merge import METHODS, Merged, TaskVector, calibrate_singular_values
from medlego.merge.methods.ties import DENSITY
from medlego.support import one_thread

TOLERANCE = 1e-4
STREAMED = 1000
SIDES = ("ours", "peer")
OFF_FACTORS = ("ties", "dare", "dare-ties", "lora-lego", "regmean")
"""Methods that form out × in, the one that iterates, and the one that also needs Grams."""
KINDS = ("svd", "ties_svd")
PEERS = {kind: f"PEFT add_weighted_adapter(combination_type={kind!r})" for kind in KINDS}
SPINS = "counts on an idle machine only: OpenMP's threads spin while they wait"
OTHER = "not the same result: the peer trims full matrices, and cuts to this rank"


@dataclass(frozen=True)
class Row:
    """One row of the result: what ran on our side, and on the peer's where there is one."""

    name: str
    ours: str
    method: str
    peer: str | None = None
    note: str | None = None
    rank: int = FULL_RANK


ROWS = (
    Row("merge, full rank", "linear", "linear", "svd 32"),
    Row("merge, full rank, the peer on all cores", "linear", "linear", "svd 32, all cores", SPINS),
    Row("merge, cut to rank 4", "lego", "lego", "svd 4", rank=RANK),
    Row("assemble(): validation, merge, digests", "assemble", "linear", "svd 32"),
    Row("merge, core-ties", "core-ties", "core-ties", "ties_svd 32", OTHER),
    Row(
        "merge, core-ties, the peer on all cores",
        "core-ties",
        "core-ties",
        "ties_svd 32, all cores",
        f"{OTHER}; {SPINS}",
    ),
    *(
        Row(f"merge, {name}", name, name)
        for name in METHODS
        if name not in (*OFF_FACTORS, "linear", "lego", "core-ties")
    ),
    Row("calibrate_singular_values() after linear", "svc", "linear"),
)


def our_merge(vectors: list[TaskVector], method: str) -> Merged:
    """The merge on one thread, as `assemble` runs it."""
    with one_thread():
        return METHODS[method](vectors, [COEFFICIENT] * BRICKS)


def our_calibration(merged: Merged, vectors: list[TaskVector]) -> Merged:
    """The step that `--svc` adds."""
    with one_thread():
        return calibrate_singular_values(merged, vectors, [COEFFICIENT] * BRICKS)


def our_assembly(bricks: list[Brick]) -> Mapping[str, LowRank]:
    """Everything that `assemble` does: validation, merge, digests of all bricks, recipe."""
    fresh = [replace(brick) for brick in bricks]  # a digest is kept by the brick it is of
    return assemble(fresh, "linear", coefficients=COEFFICIENT).deltas


def peer_merge(model: PeftModel, rank: int, kind: str = "svd") -> None:
    """PEFT's own way: dense deltas, their sum or TIES, then a dense SVD, layer by layer."""
    density = {"density": DENSITY} if kind == "ties_svd" else {}
    model.add_weighted_adapter(
        ADAPTERS,
        [COEFFICIENT] * BRICKS,
        "merged",
        combination_type=kind,
        svd_rank=rank,
        **density,
    )


def peer_deltas(model: PeftModel) -> dict[str, Tensor]:
    """What the merged adapter adds to each layer."""
    layers: Any = model.base_model.model
    return {name: layers[name].get_delta_weight("merged").detach() for name in NAMES}


def measure(repeats: int) -> tuple[dict[str, Runs], dict[str, float]]:
    """All runs by what ran, and the largest relative difference per peer's run."""
    factors = make_factors()
    bricks, peer = make_bricks(factors), make_peer(factors)
    vectors: list[TaskVector] = [brick.deltas for brick in bricks]
    whole = our_merge(vectors, "linear")
    differences: dict[str, float] = {}

    def compare(name: str) -> None:
        if not name.startswith(KINDS):
            return
        if name.startswith("svd") and name not in differences:
            ours = our_merge(vectors, "lego") if name == "svd 4" else whole
            differences[name] = difference(ours.deltas, peer_deltas(peer))
        peer.delete_adapter("merged")

    methods = [name for name in METHODS if name not in OFF_FACTORS]
    taking_turns: dict[str, Callable[[], Any]] = {
        **{name: partial(our_merge, vectors, name) for name in methods},
        "svc": lambda: our_calibration(whole, vectors),
        "assemble": lambda: our_assembly(bricks),
        "svd 32": lambda: peer_merge(peer, FULL_RANK),
        "svd 4": lambda: peer_merge(peer, RANK),
        "ties_svd 32": lambda: peer_merge(peer, FULL_RANK, "ties_svd"),
    }
    times = alternate(taking_turns, 1, repeats, compare)
    # By themselves: threads that OpenMP keeps spinning would disturb the runs above.
    alone = {
        "svd 32, all cores": lambda: peer_merge(peer, FULL_RANK),
        "ties_svd 32, all cores": lambda: peer_merge(peer, FULL_RANK, "ties_svd"),
    }
    return times | alternate(alone, CORES, repeats, compare), differences


def difference(ours: Mapping[str, LowRank], peers: Mapping[str, Tensor]) -> float:
    """Largest Frobenius distance of a layer's deltas, relative to the peer's."""
    return max(
        float(torch.linalg.matrix_norm(ours[name].dense() - delta))
        / float(torch.linalg.matrix_norm(delta))
        for name, delta in peers.items()
    )


def in_a_process(script: str, *words: str) -> list[float]:
    """The numbers that a script prints in a fresh process."""
    command = [sys.executable, "-m", f"benchmarks.{script}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def peak_mib(side: str) -> float:
    """What a merge adds to the peak of a process that builds one side's inputs."""
    (merging,) = in_a_process("merge_speed", "--memory", side, "--merge")
    (building,) = in_a_process("merge_speed", "--memory", side)
    return merging - building


def report_memory(side: str, merging: bool) -> None:
    """Body of that process: print its peak."""
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
    print(own_peak_mib())


def stream_row(count: int) -> dict[str, Any]:
    """One run of `merge_files` on as many files."""
    with tempfile.TemporaryDirectory() as folder:
        write_bricks(Path(folder), count)
        wall, processor, peak = in_a_process("merge_many", folder)
    return {
        "name": f"merge_files(): reading, validation, merge of {count:,} bricks",
        "method": "linear",
        "seconds": wall,
        "processor_seconds": processor,
        "threads": 1,
        "bricks": count,
        "rank": min(WIDTH, count * RANK),
        "process_peak_mib": peak,
        "note": "one run; the peak is the whole process's, libraries included",
    }


def make_row(
    row: Row,
    times: Mapping[str, Runs],
    differences: Mapping[str, float],
    memory: Mapping[str, float],
) -> dict[str, Any]:
    """A row's numbers."""
    wall, processor = map(list, zip(*times[row.ours], strict=True))
    made: dict[str, Any] = {
        "name": row.name,
        "method": row.method,
        "seconds": median(wall),
        "seconds_range": [min(wall), max(wall)],
        "processor_seconds": median(processor),
        "threads": 1,
        "rank": row.rank,
    }
    if row.peer is not None:
        peer_wall, peer_processor = map(list, zip(*times[row.peer], strict=True))
        made |= {
            "peer": PEERS[row.peer.split()[0]],
            "peer_seconds": median(peer_wall),
            "peer_seconds_range": [min(peer_wall), max(peer_wall)],
            "peer_processor_seconds": median(peer_processor),
            "peer_threads": CORES if "all cores" in row.peer else 1,
            "ratio": median(peer_wall) / median(wall),
            "processor_ratio": median(peer_processor) / median(processor),
        }
    if row.peer is not None and row.peer in differences:
        made["largest_relative_difference"] = differences[row.peer]
    if row.note:
        made["note"] = row.note
    if row.ours == "linear":
        made |= {"peak_mib": memory["ours"], "peer_peak_mib": memory["peer"]}
    return made


def show(row: Mapping[str, Any]) -> None:
    """A line for whoever waits."""
    text = f"{row['name']}: {row['seconds']:.4f} s ({row['processor_seconds']:.4f} processor)"
    if "peer" in row:
        text += f", peer {row['peer_seconds']:.3f} s, {row['ratio']:.0f} times"
        text += f" ({row['processor_ratio']:.0f} in processor time)"
    if "largest_relative_difference" in row:
        text += f", differing by {row['largest_relative_difference']:.1e}"
    if "process_peak_mib" in row:
        text += f", peak {row['process_peak_mib']:.0f} MiB"
    print(text)


def main() -> None:
    """Measure, check and write `results/merge_speed.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stream", type=int, default=STREAMED, help="bricks of the long merge")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    parser.add_argument("--memory", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--merge", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        report_memory(arguments.memory, arguments.merge)
        return
    load = os.getloadavg()
    memory = {side: peak_mib(side) for side in SIDES}
    streamed = stream_row(arguments.stream)
    times, differences = measure(arguments.repeats)
    rows = [*(make_row(row, times, differences, memory) for row in ROWS), streamed]
    for row in rows:
        show(row)
    print(f"peak memory above inputs: {memory['ours']:.1f} MiB, peer {memory['peer']:.1f} MiB")
    worst = max(differences["svd 32"], differences["svd 32, all cores"])
    if not worst <= TOLERANCE:
        sys.exit(f"full-rank deltas: expected equal to {TOLERANCE:g}, differ by {worst:.2g}")
    write_result(
        "merge_speed",
        rows,
        seeds=[0],
        folder=arguments.results,
        versions={"peft": version("peft")},
        setting={
            "bricks": BRICKS,
            "rank": RANK,
            "targets": LAYERS,
            "shape": [WIDTH, WIDTH],
            "repeats": arguments.repeats,
            "density": DENSITY,
            "load_average": load,
            "memory": "peak resident memory of a process that merges once, less that of one that "
            "builds the same inputs and does not; MiB",
        },
    )


if __name__ == "__main__":
    main()
