"""What medlego asks of a kind of vision transformer; `families` lists the kinds that there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn


class Rows(NamedTuple):
    """A linear map of a block by its path in there: its output rows, or one of equal shares."""

    path: str
    share: int = 0
    shares: int = 1


class Dimensions(NamedTuple):
    """Of a module as it stands: sides in pixels, tokens before the patches', pooled features."""

    image_size: int
    patch_size: int
    prefix: int
    features: int


class Family(ABC):
    """A kind of vision transformer, without state: every method is handed the module.

    The module is a base's own or an adapted copy of it, whose linear maps may be wrapped. Its
    blocks are a list; tokens are (N, tokens, width), the patches' last, row by row.
    """

    description: ClassVar[str]
    """What it is, for the message that refuses another module."""
    blocks: ClassVar[str]
    """Path of the list of blocks; the first number in a target's path is its block's."""
    maps: ClassVar[Mapping[str, Rows]]
    """Where a block keeps the linear map of each kind in `TARGET_KINDS`."""
    patch_convolution: ClassVar[str]
    """Path of the convolution that embeds the patches."""
    resampled: ClassVar[Sequence[str]]
    """Tensors that `resize` changes: the position embedding."""

    @abstractmethod
    def owns(self, module: nn.Module) -> bool:
        """Whether a module is of this family."""

    @abstractmethod
    def dimensions(self, module: nn.Module) -> Dimensions:
        """Sizes and numbers of tokens and features."""

    @abstractmethod
    def resize(self, module: nn.Module, image_size: int) -> None:
        """Set the input side, in pixels, a multiple of the patch's; positions are resampled."""

    @abstractmethod
    def embed(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """Normalised inputs (N, 3, size, size) → tokens before the first block."""

    @abstractmethod
    def pool(self, module: nn.Module, tokens: Tensor) -> Tensor:
        """Tokens after the last block → (N, features), what a head reads."""

    @abstractmethod
    def pooled_tokens(self, module: nn.Module) -> slice:
        """Which tokens `pool` reads: the class token, or the patches'."""

    @abstractmethod
    def attention(self, module: nn.Module) -> AbstractContextManager[list[nn.Module]]:
        """Per block the submodule that gives the softmax, (N, heads, tokens, tokens).

        Fused attention never forms it, so it is off until the context ends.
        """

    def classifiers(self, module: nn.Module) -> tuple[str, ...]:  # noqa: ARG002
        """Submodules that a file of weights may hold and a base leaves out."""
        return ("head",)

    def block_list(self, module: nn.Module) -> list[Any]:
        """The blocks, first to last."""
        return list(module.get_submodule(self.blocks).children())

    def through(self, module: nn.Module, tokens: Tensor, start: int, stop: int | None) -> Tensor:
        """Tokens through the blocks [start, stop)."""
        for block in self.block_list(module)[start:stop]:
            tokens = block(tokens)
        return tokens
