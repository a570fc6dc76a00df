"""What went into an adapted linear map while training: its inputs' second moments, cut short.

A Gram matrix G = (1/n) Σ x xᵀ over all n inputs x of a module is kept as its leading eigenvectors
and eigenvalues and one number for all others: G ≈ V diag(λ) Vᵀ + ρ (I − V Vᵀ). The trace is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from medlego.bricks.content import TensorGroup
from medlego.bricks.lowrank import fix_signs, not_finite, not_orthonormal, off_orthonormal
from medlego.support import ShortRepr

MIN_GRAM_IMAGES = 50
"""Fewer images give no Grams: leading directions could resemble a single image's features."""
MAX_GRAM_DIRECTIONS = 1024
"""Directions that a Gram holds at most."""


@dataclass(frozen=True, eq=False, repr=False)
class Gram(ShortRepr):
    """One module's Gram matrix: vectors (in, N), values (N,), rest (1,), float32.

    The vectors are orthonormal, the values sorted from large to small, none below `rest`, the
    mean of all other eigenvalues (zero where there is no other). `images` says over how many
    images, all tokens of each, the mean was taken.
    """

    vectors: Tensor
    values: Tensor
    rest: Tensor
    images: int

    @classmethod
    def of(cls, moment: Tensor, directions: int, images: int) -> Gram:
        """The `directions` leading eigenpairs of a Gram matrix, or all where it has no more.

        Args:
            moment: (in, in), symmetric, positive semi-definite, float64.
            directions: how many to keep, at least 1.
            images: how many images stand behind it.

        Cost: O(in³).
        """
        values, vectors = torch.linalg.eigh(moment)
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
        leading, others = values[:directions], values[directions:]
        V = vectors[:, :directions].float().contiguous()
        rest = others.mean().reshape(1) if len(others) else values.new_zeros(1)
        return cls(fix_signs(V, leading, V.mT).U, leading.float(), rest.float(), images)

    @property
    def width(self) -> int:
        """Inputs of the module, in."""
        return self.vectors.shape[0]

    @property
    def directions(self) -> int:
        """Directions held, N."""
        return self.vectors.shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """The parts by name."""
        return {"vectors": self.vectors, "values": self.values, "rest": self.rest}


def gram_group(width: int, directions: int, images: int) -> TensorGroup:
    """A Gram's tensors in a file."""
    shapes = {"vectors": (width, directions), "values": (directions,), "rest": (1,)}
    return TensorGroup(shapes, partial(Gram, images=images), gram_problems)


def gram_problems(gram: Gram) -> list[str]:
    """What keeps tensors of the right shapes from being a Gram, one `<part>: <rule>` each."""
    values: list[float] = gram.values.tolist()
    rest, error = float(gram.rest), off_orthonormal(gram.vectors)
    if problems := not_finite({"vectors": error, "values": sum(values), "rest": rest}):
        return problems
    if rest < 0:
        problems.append(f"rest: expected a number not below 0, got {rest:g}")
    if values[-1] < rest or any(after > before for before, after in pairwise(values)):
        problems.append("values: expected values from large to small, none below rest")
    problems += not_orthonormal({"vectors": error})
    if gram.directions == gram.width and rest != 0:
        problems.append(f"rest: expected 0 where all directions are held, got {rest:g}")
    return problems
