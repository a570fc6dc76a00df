"""A generalist for other runtimes: one plain timm state dict, or one ONNX graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from medlego.base import Base, features
from medlego.bricks import Head
from medlego.errors import InteropError
from medlego.generalist import Generalist
from medlego.merge import Capability
from medlego.support import write_atomically

WEIGHTS, LABELS, GRAPH = "model.safetensors", "labels.json", "model.onnx"
OPSET = 18


def export_timm(generalist: Generalist, base: Base, folder: str | Path) -> None:
    """Write the folded weights and all heads as one state dict under timm's names.

    `timm.create_model(name, num_classes=outputs, img_size=side)` loads it strictly. Its outputs are
    the tasks' logits one after the other; `labels.json` says which are whose and how they are read.

    Args:
        generalist: what is exported; its tasks stand in the recipe's order.
        base: the one its bricks stand on.
        folder: to make.

    Raises:
        InteropError: something in the folder's place.
        GeneralistError: another base.
    """
    folder = _new(folder)
    module = generalist.fold(base)
    heads = [_linear(reader.head) for reader in generalist.readers]
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    tensors["head.weight"] = torch.cat([weight for weight, _ in heads]).contiguous()
    tensors["head.bias"] = torch.cat([bias for _, bias in heads]).contiguous()
    counts = [len(bias) for _, bias in heads]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    _write_labels(folder, generalist, counts)


def export_onnx(generalist: Generalist, base: Base, folder: str | Path) -> None:
    """Write the generalist as one ONNX graph: pixels in, every task's probabilities out.

    The input `pixels` is (N, 3, side, side) in [0, 1], N free; normalisation is in the graph. Each
    task is an output of its name, (N, labels). onnxruntime must agree to 1e-4, or nothing is
    written.

    Raises:
        InteropError: onnx, onnxscript or onnxruntime are missing (`pip install medlego[onnx]`),
            something is in the folder's place, or the graph answers otherwise.
        GeneralistError: another base.
    """
    folder = _new(folder)
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InteropError(
            f"onnx: expected onnx, onnxscript and onnxruntime ({error}); "
            "pip install 'medlego[onnx]'"
        ) from error
    model = _Answering(generalist, base).eval()
    side = base.ref.image_size
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    names = [task.name for task in generalist.tasks]
    program = torch.onnx.export(
        model,
        (pixels,),
        input_names=["pixels"],
        output_names=names,
        dynamic_shapes={"pixels": {0: torch.export.Dim("images")}},
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = model(pixels[:1])
    found = session.run(names, {"pixels": pixels[:1].numpy()})
    worst = max(
        float((torch.from_numpy(a) - b).abs().max()) for a, b in zip(found, expected, strict=True)
    )
    if not worst <= 1e-4:
        raise InteropError(
            f"onnx: expected onnxruntime's answers within 1e-4, got {worst:.1e}; report it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / GRAPH, content)
    _write_labels(folder, generalist, [len(task.labels) for task in generalist.tasks])


class _Answering(nn.Module):
    """Pixels in [0, 1] to every task's probabilities, in the recipe's order."""

    mean: Tensor
    std: Tensor

    def __init__(self, generalist: Generalist, base: Base) -> None:
        super().__init__()
        self.module = generalist.fold(base)
        self.readers: Sequence[Capability] = generalist.readers
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(base.ref.mean).view(shape))
        self.register_buffer("std", torch.tensor(base.ref.std).view(shape))
        for number, reader in enumerate(self.readers):
            self.register_buffer(f"weight_{number}", reader.head.weight)
            self.register_buffer(f"bias_{number}", reader.head.bias)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, side, side) → (N, labels) per task."""
        found = features(self.module, (pixels - self.mean) / self.std)
        heads = [
            Head(getattr(self, f"weight_{i}"), getattr(self, f"bias_{i}"))
            for i in range(len(self.readers))
        ]
        return tuple(
            reader.probabilities(head.logits(found))
            for reader, head in zip(self.readers, heads, strict=True)
        )


def _new(folder: str | Path) -> Path:
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InteropError(f"{path}: expected a new folder, found one; choose another")
    return path


def _linear(head: Head) -> tuple[Tensor, Tensor]:
    """The head as one row a bias: an ordinal head's one direction is repeated."""
    return head.weight.expand(len(head.bias), -1), head.bias


def _write_labels(folder: Path, generalist: Generalist, counts: Sequence[int]) -> None:
    tasks: list[dict[str, Any]] = []
    start = 0
    for task, count in zip(generalist.tasks, counts, strict=True):
        facts = task.model_dump(mode="json")
        tasks.append({**facts, "outputs": [start, start + count]})
        start += count
    base = generalist.base
    document = {
        "recipe": generalist.recipe.digest,
        "base": base.name,
        "image_size": base.image_size,
        "mean": list(base.mean),
        "std": list(base.std),
        "outputs": start,
        "tasks": tasks,
    }
    write_atomically(folder / LABELS, (json.dumps(document, indent=2) + "\n").encode())
