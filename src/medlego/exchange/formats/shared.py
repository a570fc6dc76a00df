"""What readers and writers of others' formats share: LoRA pairs become a brick, folders are new."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medlego.base import TARGET_KINDS, Base, Target
from medlego.bricks import Brick, Card, Head, LowRank
from medlego.data import KINDS, Task
from medlego.errors import BrickError, InteropError
from medlego.merge import numerical_rank
from medlego.support import SafetensorsFile, write_atomically

MAX_ADAPTER_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class LoraPair:
    """One LoRA pair on one linear map of the base, or on some of its output rows.

    The delta is scale · B · A, with B (out, r) and A (r, in); the rows of B are those of the
    targets one after the other.
    """

    targets: Sequence[Target]
    B: Tensor
    A: Tensor
    scale: float

    def deltas(self) -> dict[str, LowRank]:
        """The delta of each target.

        Raises:
            InteropError: shapes that do not fit the targets, or a rank that is no saving.
        """
        rows = [target.shape[0] for target in self.targets]
        columns = self.targets[0].in_features
        if self.B.shape != (sum(rows), len(self.A)) or self.A.shape[1:] != (columns,):
            raise InteropError(
                f"{self.targets[0].module}: expected factors ({sum(rows)}, r) and (r, {columns}), "
                f"got {tuple(self.B.shape)} and {tuple(self.A.shape)}; is this the right base?"
            )
        deltas = {}
        for target, B in zip(self.targets, torch.split(self.B, rows), strict=True):
            try:
                delta = LowRank.from_factors(B, self.A, scale=self.scale)
            except BrickError as error:
                raise InteropError(f"{target.name}: {error}") from error
            # of a pair on a fused map, directions that only the other slices use
            deltas[target.name] = delta.truncate(max(1, numerical_rank(delta.S)))[0]
        return deltas


def read_adapter_tensors(path: Path) -> dict[str, Tensor]:
    """A foreign safetensors file's tensors, as float32; its metadata is left alone.

    Raises:
        InteropError: no such file, not safetensors, or numbers that are not finite.
    """
    file = SafetensorsFile.read(path, MAX_ADAPTER_BYTES, InteropError, "a safetensors file")
    floats = {name: tensor.float() for name, tensor in file.tensors().items()}
    if bad := [name for name, tensor in floats.items() if not torch.isfinite(tensor).all()]:
        raise InteropError(f"{path}: {bad[0]}: expected finite numbers, got NaN or infinity")
    return floats


def make_brick(
    base: Base,
    task: Task,
    pairs: Iterable[LoraPair],
    weight: Tensor,
    bias: Tensor | None,
    settings: Mapping[str, Any],
    card: Card,
) -> Brick:
    """A brick of pairs and a classifier.

    Args:
        base: what they were trained on.
        task: labels in the classifier's order.
        pairs: on targets of the base.
        weight, bias: (outputs, features) and (outputs,), softmax for one label per image;
            two outputs of a binary task become one, exactly. No bias is zero.
        settings: for the record.
        card: where it comes from.

    Raises:
        InteropError: shapes that do not fit, two pairs on one target, or a rank that is no
            saving.
    """
    deltas: dict[str, LowRank] = {}
    for pair in pairs:
        of_pair = pair.deltas()
        if twice := sorted(deltas.keys() & of_pair.keys()):
            raise InteropError(f"{twice[0]}: expected one pair, got two")
        deltas |= of_pair
    targets = tuple(
        t for t in base.targets(TARGET_KINDS) if t.name in deltas and deltas[t.name].norm() > 0
    )
    if not targets:
        raise InteropError("adapter: expected deltas above zero, got none; was it trained?")
    return Brick(
        base=base.ref,
        task=task,
        targets=targets,
        deltas={target.name: deltas[target.name] for target in targets},
        head=_head(task, base.ref.features, weight, bias),
        settings=dict(settings),
        card=card,
    )


def new_folder(folder: str | Path) -> Path:
    """A folder's path, where nothing is or an empty folder.

    Raises:
        InteropError: something is there.
    """
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InteropError(f"{path}: expected a new folder, found one; choose another")
    return path


def write_folder(folder: Path, files: Mapping[str, bytes | Mapping[str, Any]]) -> None:
    """Make a folder of files, each written atomically; documents as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if not isinstance(content, bytes):
            content = (json.dumps(content, indent=2) + "\n").encode()
        write_atomically(folder / name, content)


def _head(task: Task, features: int, weight: Tensor, bias: Tensor | None) -> Head:
    rows, outputs = task.head_shape[0], len(task.labels)
    if not task.rules.linear:
        linear = ", ".join(name for name, kind in KINDS.items() if kind.linear)
        raise InteropError(f"kind: expected one of {linear}, got {task.kind}")
    if weight.ndim != 2 or weight.shape[1] != features or len(weight) not in (outputs, rows):
        raise InteropError(
            f"classifier: expected ({outputs}, {features}) for {outputs} labels, got "
            f"{tuple(weight.shape)}; name as many labels as it has outputs, in its order"
        )
    whole = torch.zeros(len(weight)) if bias is None else bias
    if whole.shape != (len(weight),):
        raise InteropError(
            f"classifier: expected a bias ({len(weight)},), got {tuple(whole.shape)}"
        )
    if rows == 1 and len(weight) == 2:
        # softmax over two logits is the sigmoid of their difference
        return Head((weight[1:] - weight[:1]).clone(), (whole[1:] - whole[:1]).clone())
    return Head(weight.clone(), whole.clone())
