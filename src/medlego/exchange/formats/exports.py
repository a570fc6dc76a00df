"""A generalist for other runtimes: one plain timm state dict, or one ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from medlego.base import Base, features
from medlego.bricks import Head
from medlego.errors import InteropError
from medlego.exchange.formats.shared import new_folder, write_folder
from medlego.generalist import Generalist

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
    folder = new_folder(folder)
    module = generalist.fold(base)
    heads = [_linear(reader.head) for reader in generalist.readers]
    weights, biases = zip(*heads, strict=True)
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    tensors |= {"head.weight": torch.cat(weights), "head.bias": torch.cat(biases)}
    labels = _labels(generalist, [len(bias) for bias in biases])
    write_folder(folder, {WEIGHTS: save(tensors, metadata={"format": "pt"}), LABELS: labels})


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
    folder = new_folder(folder)
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
    answers = session.run(names, {"pixels": pixels[:1].numpy()})
    worst = max(
        float((torch.from_numpy(a) - b).abs().max()) for a, b in zip(answers, expected, strict=True)
    )
    if not worst <= 1e-4:
        raise InteropError(
            f"onnx: expected onnxruntime's answers within 1e-4, got {worst:.1e}; report it"
        )
    labels = _labels(generalist, [len(task.labels) for task in generalist.tasks])
    write_folder(folder, {GRAPH: content, LABELS: labels})


class _Answering(nn.Module):
    """Pixels in [0, 1] to every task's probabilities, in the recipe's order."""

    def __init__(self, generalist: Generalist, base: Base) -> None:
        super().__init__()
        self.module = generalist.fold(base)
        self._normalise, self._readers = base.normalise, generalist.readers

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, side, side) → (N, labels) per task."""
        pooled = features(self.module, self._normalise(pixels))
        return tuple(r.probabilities(r.head.logits(pooled)) for r in self._readers)


def _linear(head: Head) -> tuple[Tensor, Tensor]:
    """The head as one row a bias: an ordinal head's one direction is repeated."""
    return head.weight.expand(len(head.bias), -1), head.bias


def _labels(generalist: Generalist, counts: Sequence[int]) -> dict[str, Any]:
    """Which outputs are whose, and how they are read."""
    stops = list(accumulate(counts))
    base = generalist.base
    return {
        "recipe": generalist.recipe.digest,
        "base": base.name,
        "image_size": base.image_size,
        "mean": list(base.mean),
        "std": list(base.std),
        "outputs": stops[-1],
        "tasks": [
            {**task.model_dump(mode="json"), "outputs": [stop - count, stop]}
            for task, count, stop in zip(generalist.tasks, counts, stops, strict=True)
        ],
    }
