"""MeLo's LoRA files (github.com/JamesQFreeman/LoRA-ViT, arXiv:2311.08236)."""

from __future__ import annotations

import re
from pathlib import Path

from medlego.base import Base, depth
from medlego.bricks import Brick, Card
from medlego.data import Task
from medlego.errors import InteropError
from medlego.exchange.formats.shared import LoraPair, make_brick, read_adapter_tensors
from medlego.support import shown


def import_melo(path: str | Path, base: Base, task: Task, *, alpha: int) -> Brick:
    """Read a MeLo file as a brick.

    It holds `w_a_NNN` (r, d) and `w_b_NNN` (d, r), two pairs a block, q's and then v's, and
    `fc_{d}in_{c}out`, the classifier's weight. It says neither α nor the base, and has no bias: the
    brick's is zero, and its card says so. MeLo scales by α // r, an integer division: α = 6 at
    r = 4 is a scale of 1, and any α below r switches the adapter off.

    Args:
        path: the safetensors file.
        base: the model that the adapter was trained on.
        task: labels in the classifier's order.
        alpha: as given to MeLo's class, above 0.

    Raises:
        InteropError: other tensors, another number of blocks or width than the base's, or an α
            that MeLo would turn into a scale of zero.
    """
    path = Path(path)
    tensors = read_adapter_tensors(path)
    factors = {n: t for n, t in tensors.items() if re.fullmatch(r"w_[ab]_\d{3,}", n)}
    heads = [n for n in tensors if re.fullmatch(r"fc_\d+in_\d+out", n)]
    if unknown := sorted(tensors.keys() - factors.keys() - set(heads)):
        raise InteropError(
            f"{path}: {shown(unknown[0])}: expected w_a_NNN, w_b_NNN and fc_…in_…out of MeLo's "
            "timm form, got another tensor"
        )
    if len(heads) != 1:
        raise InteropError(f"{path}: expected one classifier fc_…in_…out, got {len(heads)}")
    blocks = depth(base.module)
    expected = {f"w_{part}_{number:03d}" for part in "ab" for number in range(2 * blocks)}
    if factors.keys() != expected or any(
        factor.ndim != 2 or not factor.numel() for factor in factors.values()
    ):
        raise InteropError(
            f"{path}: expected {4 * blocks} factors for the {blocks} blocks of {base.ref.name}, "
            f"got {len(factors)}; is this the right base?"
        )
    rank = len(factors["w_a_000"])
    scale = _scale(alpha, rank)
    pairs = [
        LoraPair([target], factors[f"w_b_{n:03d}"], factors[f"w_a_{n:03d}"], float(scale))
        for n, target in enumerate(base.targets(("q", "v")))
    ]
    settings = {"imported": "melo", "lora_rank": rank, "lora_alpha": alpha, "lora_scale": scale}
    card = Card(data="imported from a MeLo file, which keeps no bias of its classifier: zero here")
    return make_brick(base, task, pairs, tensors[heads[0]], None, settings, card)


def _scale(alpha: int, rank: int) -> int:
    if alpha < 1:
        raise InteropError(f"alpha: expected a whole number above 0, got {alpha}")
    if (scale := alpha // rank) < 1:
        raise InteropError(
            f"alpha: expected at least the rank {rank}, got {alpha}; MeLo scales by alpha // r, "
            "which is then 0: the adapter did nothing in training either"
        )
    return scale
