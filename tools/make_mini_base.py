"""Make the mini base that the package carries.

    python -m tools.make_mini_base --shared ../shared

Six of the DeiT-Tiny's twelve blocks at patch 8 and 64 px, then distilled: the mini base sees an
image at 64 px, the frozen DeiT-Tiny the same image at 128 px, so that both have 8 × 8 patches,
and the mini base's tokens are pulled to the teacher's. The images are procedural (the package's
synthetic modalities and textures) and the train splits of BUSI and BTC, augmented; no other
image and no label is used. A killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from medlego.base import Base
from medlego.base.base import fingerprint
from medlego.base.mini import build_mini
from medlego.data import SYNTHETIC_TASKS, TaskHints, synthetic_image
from medlego.data.readers.npz import read_npz
from medlego.images import fit, from_array
from medlego.support import cache_directory, write_atomically
from medlego.train.augment import Augmentation
from medlego.train.checkpoint import (
    State,
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    write_checkpoint,
)
from tools.textures import leaves

SIZE, TEACHER_SIZE = 64, 128
KEPT_BLOCKS = (0, 2, 4, 6, 8, 11)
TEACHER = "deit_tiny_patch16_224"
REAL_SETS = {"busi_us": 780, "btc_mri": 2000}
REAL_SHARE = 0.5
STRONG = Augmentation(
    flip_horizontal=True, rotation_deg=20, scale=0.25, shift=0.1, gain=0.4, offset=0.2
)
CHECKPOINT_STEPS = 100


def initial(teacher: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mini base cut out of the teacher: 8 px kernels, 8 × 8 positions, every other block."""
    kernel = teacher["patch_embed.proj.weight"]
    position = teacher["pos_embed"]
    grid = position[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    small = F.interpolate(grid, (8, 8), mode="bicubic", antialias=False, align_corners=False)
    tensors = {
        "cls_token": teacher["cls_token"],
        # A 16 px kernel on an image enlarged twice is the sum of each 2 × 2 on the image itself.
        "patch_embed.proj.weight": F.avg_pool2d(kernel, 2) * 4,
        "patch_embed.proj.bias": teacher["patch_embed.proj.bias"],
        "pos_embed": torch.cat([position[:, :1], small.flatten(2).mT], dim=1),
        "norm.weight": teacher["norm.weight"],
        "norm.bias": teacher["norm.bias"],
    }
    for new, old in enumerate(KEPT_BLOCKS):
        prefix = f"blocks.{old}."
        for name, tensor in teacher.items():
            if name.startswith(prefix):
                tensors[f"blocks.{new}.{name.removeprefix(prefix)}"] = tensor
    return tensors


class Pictures:
    """Batches of 128 px images, the same for a step whatever ran before it."""

    def __init__(self, shared: Path, seed: int) -> None:
        self._seed = seed
        self._real = [
            read_npz(shared / "data" / f"{name}.npz", TaskHints()).train.images
            for name in REAL_SETS
        ]

    def batch(self, step: int, size: int) -> Tensor:
        """(size, 3, 128, 128) in [0, 1]: half real and augmented, half procedural."""
        rng = np.random.default_rng((self._seed, step))
        pictures = [fit(self._draw(rng), TEACHER_SIZE) for _ in range(size)]
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        return STRONG(torch.stack(pictures), generator)

    def _draw(self, rng: np.random.Generator):
        if rng.uniform() < REAL_SHARE:
            images = self._real[int(rng.integers(len(self._real)))]
            return images[int(rng.integers(len(images)))]
        if rng.uniform() < 0.5:
            return from_array(leaves(SIZE, rng))
        names = tuple(SYNTHETIC_TASKS)
        name = names[int(rng.integers(len(names)))]
        label = int(rng.integers(len(SYNTHETIC_TASKS[name].labels)))
        return from_array(synthetic_image(name, label, size=SIZE, rng=rng))


def distil(
    student: nn.Module, teacher: Base, pictures: Pictures, arguments: argparse.Namespace
) -> None:
    """Pull the student's tokens to the teacher's, in place."""
    optimiser = torch.optim.AdamW(student.parameters(), lr=arguments.rate, weight_decay=0.05)
    parameters = list(student.parameters())
    learner: Any = student
    backbone: Any = teacher.module
    state, path = State(), arguments.checkpoint
    identity = f"mini {arguments.seed} {arguments.steps} {arguments.batch} {arguments.rate}"
    if (saved := read_checkpoint(path, identity)) is not None:
        state, tensors = saved
        with torch.no_grad():
            for number, parameter in enumerate(parameters):
                parameter.copy_(tensors[f"now.{number}"])
        restore_optimiser(optimiser, tensors)
    began, first, running = time.monotonic(), state.epoch, 0.0
    for step in range(state.epoch, arguments.steps):
        rise = min(1.0, (step + 1) / (0.03 * arguments.steps))
        fall = 0.5 * (1 + math.cos(math.pi * step / arguments.steps))
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * rise * fall
        pixels = teacher.normalise(pictures.batch(step, arguments.batch))
        with torch.no_grad():
            wanted = backbone.forward_features(pixels)
        small = F.interpolate(pixels, (SIZE, SIZE), mode="area")
        got = learner.forward_features(small)
        loss = F.mse_loss(got[:, 1:], wanted[:, 1:]) + F.mse_loss(got[:, 0], wanted[:, 0])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        running = loss.item() if step == first else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == arguments.steps:
            state.epoch = step + 1
            now = {f"now.{i}": p for i, p in enumerate(parameters)}
            write_checkpoint(path, identity, state, now | optimiser_tensors(optimiser))
            pace = (time.monotonic() - began) / (step + 1 - first)
            left = pace * (arguments.steps - step - 1) / 60
            print(f"step {step + 1}: loss {running:.4f}, {left:.0f} min left", flush=True)


def main() -> None:
    """Parse, make, write weights and card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("src/medlego/data"))
    parser.add_argument("--checkpoint", type=Path, default=cache_directory() / "mini_base.partial")
    arguments = parser.parse_args()
    arguments.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    weights = arguments.shared / "bases" / f"{TEACHER}.fp16.safetensors"
    teacher = Base.load(TEACHER, weights=weights, image_size=TEACHER_SIZE)
    native = {k: v.float() for k, v in load_file(weights).items()}
    student = build_mini()
    student.load_state_dict(initial(native))
    distil(student.train(), teacher, Pictures(arguments.shared, arguments.seed), arguments)
    tensors = {k: v.detach().half().contiguous() for k, v in student.state_dict().items()}
    write_atomically(arguments.output / "mini_base.safetensors", save(tensors))
    card = {
        "name": "mini",
        "licence": "apache-2.0",
        "mean": list(teacher.ref.mean),
        "std": list(teacher.ref.std),
        "fingerprint": fingerprint(tensors),
        "made_by": f"tools/make_mini_base.py --steps {arguments.steps} --batch {arguments.batch} "
        f"--rate {arguments.rate} --seed {arguments.seed}",
        "architecture": "vision transformer, 64 px, patch 8, width 192, 6 blocks, 3 heads",
        "derived_from": {
            "model": TEACHER,
            "what": f"initialised from blocks {list(KEPT_BLOCKS)} and distilled from its tokens",
            "licence": "apache-2.0",
            "source": "Touvron et al. 2021, arXiv:2012.12877, trained on ImageNet-1k; weights "
            "as stored by wvfunc/matlab-bit_true-deit_tiny-fix, commit 80f2a914db50",
        },
        "saw": [
            "procedural images drawn by medlego.data.synthetic and tools/textures.py",
            "BUSI breast ultrasound, train split, without labels: W. Al-Dhabyani et al., Data in "
            "Brief 28 (2020) 104863, CC BY 4.0",
            "BTC brain MRI, train split, without labels: S. Bhuvaji et al., Kaggle 2020, doi "
            "10.34740/kaggle/dsv/1183165, MIT as remembered from its page",
        ],
        "not_for": "diagnosis; a small network for trying medlego out",
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_atomically(arguments.output / "mini_base.json", text.encode())


if __name__ == "__main__":
    main()
