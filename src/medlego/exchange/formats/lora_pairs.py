"""From named LoRA pairs and a classifier to a brick: what every import shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medlego.base import TARGET_KINDS, Base, Target
from medlego.bricks import Brick, Card, Head, LowRank
from medlego.data import Kind, Task
from medlego.errors import InteropError, MergeError
from medlego.merge import numerical_rank
from medlego.support import read_expected, read_header, read_tensors

MAX_ADAPTER_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class LoraPair:
    """One LoRA pair on a module of the base, or on some of its output rows.

    The delta is scale · B · A, with B (out, r) and A (r, in).
    """

    module: str
    start: int
    stop: int
    B: Tensor
    A: Tensor
    scale: float


def read_adapter_tensors(path: Path) -> dict[str, Tensor]:
    """A foreign safetensors file's tensors, as float32; its metadata is left alone.

    Raises:
        InteropError: no such file, not safetensors, or numbers that are not finite.
    """
    content = read_expected(path, MAX_ADAPTER_BYTES, InteropError, "a safetensors file")
    try:
        read_header(content)
        tensors = read_tensors(content)
    except ValueError as error:
        raise InteropError(f"{path}: {error}") from error
    found = {name: tensor.float() for name, tensor in tensors.items()}
    if bad := [name for name, tensor in found.items() if not torch.isfinite(tensor).all()]:
        raise InteropError(f"{path}: {bad[0]}: expected finite numbers, got NaN or infinity")
    return found


def make_brick(
    base: Base,
    task: Task,
    pairs: list[LoraPair],
    weight: Tensor,
    bias: Tensor | None,
    settings: Mapping[str, Any],
    card: Card,
) -> Brick:
    """A brick of pairs and a classifier.

    Args:
        base: what they were trained on.
        task: labels in the classifier's order.
        pairs: each on whole modules or rows of them; a pair on a fused qkv is split in three.
        weight, bias: (outputs, features) and (outputs,), softmax for one label per image;
            two outputs of a binary task become one, exactly. No bias is zero.
        settings: for the record.
        card: where it comes from.

    Raises:
        InteropError: modules that the base lacks, shapes that do not fit, or a rank that is no
            saving.
    """
    targets = {target.name: target for target in base.targets(TARGET_KINDS)}
    deltas: dict[str, LowRank] = {}
    for pair in pairs:
        for target in _touched(targets.values(), pair):
            rows = slice(target.start - pair.start, target.stop - pair.start)
            if target.name in deltas:
                raise InteropError(f"{target.name}: expected one pair, got two")
            deltas[target.name] = _delta(target, pair, rows)
    kept = {name: delta for name, delta in deltas.items() if delta.norm() > 0}
    if not kept:
        raise InteropError("adapter: expected deltas above zero, got none; was it trained?")
    chosen = tuple(target for name, target in targets.items() if name in kept)
    return Brick(
        base=base.ref,
        task=task,
        targets=chosen,
        deltas={target.name: kept[target.name] for target in chosen},
        head=_head(task, base.ref.features, weight, bias),
        settings=dict(settings),
        card=card,
    )


def _touched(targets: Iterable[Target], pair: LoraPair) -> list[Target]:
    found = [
        target
        for target in targets
        if target.module == pair.module and pair.start <= target.start and target.stop <= pair.stop
    ]
    if not found or sum(t.stop - t.start for t in found) != pair.stop - pair.start:
        raise InteropError(
            f"{pair.module}: expected an adapted map of the base's blocks (qkv, proj, fc1, fc2), "
            "got another; medlego adapts no others"
        )
    return found


def _delta(target: Target, pair: LoraPair, rows: slice) -> LowRank:
    out, columns = target.shape
    B = pair.B[rows]
    if pair.A.ndim != 2 or B.shape != (out, len(pair.A)) or pair.A.shape[1] != columns:
        raise InteropError(
            f"{target.name}: expected factors ({out}, r) and (r, {columns}), got "
            f"{tuple(B.shape)} and {tuple(pair.A.shape)}; is this the right base?"
        )
    try:
        delta = LowRank.from_factors(B, pair.A, scale=pair.scale)
    except MergeError as error:
        raise InteropError(f"{target.name}: {error}") from error
    # of a pair on a fused map, directions that only the other slices use
    return delta.truncate(max(1, numerical_rank(delta.S)))[0]


def _head(task: Task, features: int, weight: Tensor, bias: Tensor | None) -> Head:
    outputs = len(task.labels)
    wanted = {outputs, 1} if task.kind is Kind.BINARY else {outputs}
    if task.kind is Kind.ORDINAL:
        raise InteropError("kind: expected multiclass, binary or multilabel, got ordinal")
    if weight.ndim != 2 or weight.shape[1] != features or len(weight) not in wanted:
        raise InteropError(
            f"classifier: expected ({outputs}, {features}) for {outputs} labels, got "
            f"{tuple(weight.shape)}; name as many labels as it has outputs, in its order"
        )
    whole = torch.zeros(len(weight)) if bias is None else bias
    if whole.shape != (len(weight),):
        raise InteropError(
            f"classifier: expected a bias ({len(weight)},), got {tuple(whole.shape)}"
        )
    if task.kind is Kind.BINARY and len(weight) == 2:
        # softmax over two logits is the sigmoid of their difference
        return Head((weight[1:] - weight[:1]).clone(), (whole[1:] - whole[:1]).clone())
    return Head(weight.clone(), whole.clone())
