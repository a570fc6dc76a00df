"""A made-up family: separate query, key and value, other names, no class token, mean pooling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medlego.base.family import Dimensions, Family, Rows

NAME = "toy"
_QKV = ("query", "key", "value")


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        linears = {name: nn.Linear(width, width) for name in (*_QKV, "output")}
        self.attention = nn.ModuleDict(linears)
        self.attention["softmax"] = nn.Softmax(dim=-1)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        part, normed = self.attention, self.first_norm(tokens)
        q, k, v = (part[name](normed).unflatten(-1, (2, -1)).transpose(1, 2) for name in _QKV)
        weights = part["softmax"](q @ k.mT / q.shape[-1] ** 0.5)
        tokens = tokens + part["output"]((weights @ v).transpose(1, 2).flatten(2))
        return tokens + self.narrow(F.gelu(self.widen(self.second_norm(tokens))))


class ToyTransformer(nn.Module):
    """32 px, patch 8, width 24, two registers, two blocks."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, width, 8, 8)
        self.registers = nn.Parameter(torch.zeros(1, 2, width))
        self.places = nn.Parameter(torch.zeros(1, width, 4, 4))
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(_Block(width) for _ in range(2))})
        self.last = nn.LayerNorm(width)


class ToyFamily(Family):
    """All that a new family takes."""

    description = "a toy transformer"
    blocks = "encoder.layers"
    maps: ClassVar[Mapping[str, Rows]] = {
        "q": Rows("attention.query"),
        "k": Rows("attention.key"),
        "v": Rows("attention.value"),
        "proj": Rows("attention.output"),
        "fc1": Rows("widen"),
        "fc2": Rows("narrow"),
    }
    patch_convolution = "cut"
    resampled = ("places",)

    def owns(self, module: nn.Module) -> bool:
        return isinstance(module, ToyTransformer)

    def dimensions(self, module: Any) -> Dimensions:
        return Dimensions(8 * module.places.shape[-1], 8, 2, module.places.shape[1])

    def resize(self, module: Any, image_size: int) -> None:
        size = (image_size // 8, image_size // 8)
        module.places = nn.Parameter(F.interpolate(module.places, size, mode="bilinear"))

    def embed(self, module: Any, inputs: Tensor) -> Tensor:
        patches = (module.cut(inputs) + module.places).flatten(2).mT
        return torch.cat([module.registers.expand(len(inputs), -1, -1), patches], dim=1)

    def pool(self, module: Any, tokens: Tensor) -> Tensor:
        return module.last(tokens[:, 2:].mean(dim=1))

    def pooled_tokens(self, _module: Any) -> slice:
        return slice(2, None)

    @contextmanager
    def attention(self, module: Any) -> Iterator[list[nn.Module]]:
        yield [block.attention["softmax"] for block in self.block_list(module)]
