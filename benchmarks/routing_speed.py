"""What routing and a mixed batch of eight bricks cost, beside the plain base and PEFT.

    python -m benchmarks.routing_speed [--image-size 224] [--batch 16] [--rounds 15] [--device cuda]

ViT-B of random weights, on the CPU on all its threads; eight procedural tasks of different
colours, so that every batch is routed to all eight bricks. PEFT runs a mixed batch of eight
adapters of as many numbers (rank 4 on the fused qkv, since it cannot adapt some of its rows), all
with one head's shape and told which image is whose; it does no routing. All take turns; times are
the fastest of the rounds, since other work on the machine can only add.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
import timm
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from benchmarks import procedural
from benchmarks.common import device_name, write_result
from benchmarks.timing import CORES, alternate, random_base, timed
from medlego.base import Base, Inputs, embed, pool, through
from medlego.bricks import Brick, Card, Head, LowRank, Profile, fit_profile, on_device
from medlego.generalist import assemble
from medlego.prediction import Engine
from medlego.train.profiles import measure_features

NAME = "vit_base_patch16_224"
BRICKS, RANK, LABELS = 8, 4, 9
PROFILED = 64


def make_brick(
    base: Base, name: str, stem: int, seed: int, profile: Profile | None = None
) -> Brick:
    """Random deltas and head; the profile, unless it is given, of a procedural task."""
    generator = torch.Generator().manual_seed(seed)
    data = procedural.dataset(name)
    task = data.task.model_copy(update={"modality": "OT", "body_part": f"PART_{'ABCDEFGH'[seed]}"})
    targets = base.targets(stem=stem)

    def delta(shape: tuple[int, int]) -> LowRank:
        B = torch.randn(shape[0], RANK, generator=generator)
        A = torch.randn(RANK, shape[1], generator=generator)
        return LowRank.from_factors(B, A, 1e-4)

    rows, outputs = task.head_shape
    if profile is None:
        profiled = Inputs(data.train.take(np.arange(PROFILED)).images, base)
        profile = fit_profile(measure_features(base, profiled))
    return Brick(
        base=base.ref,
        task=task,
        targets=targets,
        deltas={target.name: delta(target.shape) for target in targets},
        head=Head(torch.randn(rows, base.ref.features, generator=generator), torch.zeros(outputs)),
        settings={},
        card=Card(),
        profile=profile,
    )


def peer(base: Base) -> nn.Module:
    """Eight adapters in PEFT, of as many numbers as a brick of rank 4 on q and v."""
    names = [f"adapter{number}" for number in range(BRICKS)]
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["qkv"])
    model = timm.create_model(
        NAME, pretrained=False, num_classes=LABELS, img_size=base.ref.image_size
    )
    wrapped = get_peft_model(model, config, adapter_name=names[0])
    for name in names[1:]:
        wrapped.add_adapter(name, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=1e-3)
    return wrapped.eval()


def mixed_images(base: Base, batch: int) -> tuple[torch.Tensor, list[int]]:
    """A shuffled batch with as many validation images of each task, and whose they are."""
    owners = np.random.default_rng(0).permutation(np.arange(batch) % BRICKS).tolist()
    data = [procedural.dataset(name) for name in procedural.NAMES[:BRICKS]]
    inputs = [Inputs(part.val.take(np.arange(batch)).images, base) for part in data]
    return torch.cat([inputs[owner].take([row]) for row, owner in enumerate(owners)]), owners


def works(base: Base, batch: int, device: str) -> tuple[dict[str, Callable[[], Any]], float]:
    """What is timed, from pixels on the device to answers, and the share of images that are sent to
    their own task."""
    pixels, owners = mixed_images(base, batch)
    pixels, frozen = pixels.to(device), on_device(base.module, device)
    names = [f"procedural-{number}" for number in range(BRICKS)]
    bricks = {0: [make_brick(base, name, 0, seed) for seed, name in enumerate(names)]}
    bricks[1] = [
        make_brick(base, name, 1, seed, bricks[0][seed].profile) for seed, name in enumerate(names)
    ]
    stem, scout = (Engine(assemble(bricks[s], mode="routed"), base, device=device) for s in (1, 0))
    merged = Engine(assemble(bricks[0], mode="merged"), base, device=device)
    (task, *_) = merged.readers
    tasks = [brick.task.name for brick in bricks[0]]
    routes = stem.run(pixels).routes
    right = np.mean([tasks[o] in r.tasks for o, r in zip(owners, routes, strict=True)])
    wrapped = peer(base).to(device)
    adapters = [f"adapter{owner}" for owner in owners]

    def plain() -> None:
        with torch.inference_mode():
            pool(frozen, through(frozen, embed(frozen, base.normalise(pixels)), 0))

    def peft() -> None:
        with torch.inference_mode():
            wrapped(base.normalise(pixels), adapter_names=adapters)

    timed_works: dict[str, Callable[[], Any]] = {
        "plain base": plain,
        "routed mixed batch, stem of one block": lambda: stem.run(pixels),
        "routed mixed batch, scout of one block": lambda: scout.run(pixels),
        "merged mode, task given": lambda: merged.run(pixels, [task], route=False),
        "merged mode, routed by a scout": lambda: merged.run(pixels),
        "PEFT, mixed batch": peft,
    }
    return {name: waited_for(work, device) for name, work in timed_works.items()}, float(right)


def waited_for(work: Callable[[], Any], device: str) -> Callable[[], Any]:
    """Work that has ended when the call returns; a GPU runs behind the program."""

    def whole() -> None:
        work()
        if device == "cuda":
            torch.cuda.synchronize()

    return whole


def switching(base: Base, rounds: int, device: str) -> list[float]:
    """Seconds from one attached brick to another: what differs between two whole batches."""
    bricks = [make_brick(base, f"procedural-{n}", 0, n) for n in range(2)]
    engine = Engine(assemble(bricks, mode="routed"), base, device=device)
    mixed = engine._mixed
    rows = torch.zeros(32, dtype=torch.long, device=device)

    def switch() -> None:
        for number in (0, 1):
            mixed._row.adapter = rows + number

    return [timed(waited_for(switch, device))[0] / 2 for _ in range(rounds)]


def main() -> None:
    """Time and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    load = os.getloadavg()
    torch.set_num_threads(CORES)
    base = random_base(NAME, arguments.image_size)
    timed_works, right = works(base, arguments.batch, arguments.device)
    runs = alternate(timed_works, CORES, arguments.rounds, lambda _name: None)
    plain = [wall for wall, _ in runs["plain base"]]
    rows = []
    for name, taken in runs.items():
        walls = [wall for wall, _ in taken]
        rows.append(
            {
                "name": name,
                "seconds": round(min(walls), 4),
                "median_seconds": round(median(walls), 4),
                "images_per_second": round(arguments.batch / min(walls), 2),
                "peer": "plain base",
                "peer_seconds": round(min(plain), 4),
                "ratio": round(min(plain) / min(walls), 4),
                "ratio_of_medians": round(median(plain) / median(walls), 4),
            }
        )
    rows.append(
        {
            "name": "switching an attached brick",
            "seconds": median(switching(base, 99, arguments.device)),
        }
    )
    write_result(
        "routing_speed" if arguments.device == "cpu" else f"routing_speed-{arguments.device}",
        rows,
        seeds=[0],
        versions={"peft": version("peft")},
        setting={
            "base": NAME,
            "image_size": arguments.image_size,
            "batch": arguments.batch,
            "rounds": arguments.rounds,
            "threads": CORES,
            "device": device_name(arguments.device),
            "bricks": BRICKS,
            "rank": RANK,
            "right_routes": right,
            "load_average": load,
        },
    )


if __name__ == "__main__":
    main()
