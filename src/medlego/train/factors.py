"""The trainable factors of a brick: SVD-LoRA with orthonormal vectors, or plain LoRA."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from medlego.base import Target
from medlego.bricks import LowRank, attach
from medlego.train.settings import TrainSettings


class Factors(Protocol):
    """Trainable factors of every target."""

    by_target: dict[str, tuple[nn.Parameter, ...]]

    def attach(self, module: nn.Module) -> nn.Module:
        """A copy of a module that carries them."""
        ...

    def groups(self) -> list[dict[str, object]]:
        """Optimiser groups with their rates."""
        ...

    def retract(self) -> None:
        """Bring the factors back to their constraint after a step."""
        ...

    def deltas(self) -> dict[str, LowRank]:
        """The canonical deltas as they stand."""
        ...


class SvdFactors:
    """ΔW = U diag(S) Vh. U and Vh start random orthonormal, S at zero.

    After each step U and Vh are pulled back to orthonormal by QR, with the signs that keep
    them continuous. Source: our reading of Med-LEGO, docs/maths.md, section 2.
    """

    def __init__(self, targets: Sequence[Target], settings: TrainSettings, device: str) -> None:
        generator = torch.Generator().manual_seed(settings.seed)
        self._targets, self._settings = tuple(targets), settings
        self.by_target: dict[str, tuple[nn.Parameter, ...]] = {}
        for target in targets:
            out, width = target.shape
            U = _orthonormal(torch.randn(out, settings.rank, generator=generator))
            V = _orthonormal(torch.randn(width, settings.rank, generator=generator))
            tensors = (U, torch.zeros(settings.rank), V.T.contiguous())
            self.by_target[target.name] = tuple(nn.Parameter(t.to(device)) for t in tensors)

    def attach(self, module: nn.Module) -> nn.Module:
        """A copy of a module that carries them."""
        return attach(module, self._targets, self.by_target)

    def groups(self) -> list[dict[str, object]]:
        """Singular vectors without decay, singular values with."""
        factors = self.by_target.values()
        vectors = [p for U, _, Vh in factors for p in (U, Vh)]
        values = [S for _, S, _ in factors]
        rates = self._settings
        return [
            {"params": vectors, "lr": rates.learning_rate, "weight_decay": 0.0},
            {"params": values, "lr": rates.singular_rate, "weight_decay": rates.weight_decay},
        ]

    @torch.no_grad()
    def load(self, deltas: Mapping[str, LowRank]) -> None:
        """Start from these deltas, of the same targets and rank."""
        for name, parts in self.by_target.items():
            delta = deltas[name]
            for part, value in zip(parts, (delta.U, delta.S, delta.Vh), strict=True):
                part.copy_(value)

    @torch.no_grad()
    def set_out_from(self, deltas: Mapping[str, LowRank]) -> None:
        """Start from the leading directions of these deltas, of any rank.

        Where one has fewer than this rank, random directions with singular value zero are left; a
        target that has none stays at zero.
        """
        for name, (U, S, Vh) in self.by_target.items():
            if (delta := deltas.get(name)) is not None:
                count = min(len(S), delta.rank)
                left = torch.cat([delta.U[:, :count].to(U), U[:, count:]], dim=1)
                right = torch.cat([delta.Vh[:count].to(Vh), Vh[count:]])
                U.copy_(_orthonormal(left))
                Vh.copy_(_orthonormal(right.T).T)
                S[:count] = delta.S[:count].to(S)

    @torch.no_grad()
    def retract(self) -> None:
        """Re-orthonormalise, all matrices of one shape in one batch."""
        tall: dict[tuple[int, ...], list[tuple[nn.Parameter, bool]]] = {}
        for U, _, Vh in self.by_target.values():
            tall.setdefault(tuple(U.shape), []).append((U, False))
            tall.setdefault(tuple(Vh.T.shape), []).append((Vh, True))
        for members in tall.values():
            stacked = torch.stack([p.T if turned else p for p, turned in members])
            for (parameter, turned), Q in zip(members, _orthonormal(stacked), strict=True):
                parameter.copy_(Q.T if turned else Q)

    def deltas(self) -> dict[str, LowRank]:
        """Canonical form of U diag(S) Vh."""
        return _canonical(self.by_target)


class LoraFactors:
    """Plain LoRA, ΔW = B A with B = 0 and A random at the start, alpha = rank.

    Source: Hu et al. 2021, arXiv:2106.09685.
    """

    def __init__(self, targets: Sequence[Target], settings: TrainSettings, device: str) -> None:
        generator = torch.Generator().manual_seed(settings.seed)
        self._targets, self._settings = tuple(targets), settings
        self.by_target: dict[str, tuple[nn.Parameter, ...]] = {}
        for target in targets:
            out, width = target.shape
            bound = math.sqrt(1 / width)
            A = (torch.rand(settings.rank, width, generator=generator) * 2 - 1) * bound
            tensors = (torch.zeros(out, settings.rank), A)
            self.by_target[target.name] = tuple(nn.Parameter(t.to(device)) for t in tensors)

    def attach(self, module: nn.Module) -> nn.Module:
        """A copy of a module that carries them."""
        return attach(module, self._targets, self.by_target)

    def groups(self) -> list[dict[str, object]]:
        """Both factors with one rate and decay."""
        both = [p for pair in self.by_target.values() for p in pair]
        rates = self._settings
        return [{"params": both, "lr": rates.learning_rate, "weight_decay": rates.weight_decay}]

    @torch.no_grad()
    def load(self, deltas: Mapping[str, LowRank]) -> None:
        """Start from these deltas, of the same targets and rank, σ shared evenly."""
        for name, (B, A) in self.by_target.items():
            delta = deltas[name]
            root = delta.S.sqrt()
            B.copy_(delta.U * root)
            A.copy_(root[:, None] * delta.Vh)

    def retract(self) -> None:
        """Plain LoRA has no constraint."""

    def deltas(self) -> dict[str, LowRank]:
        """Canonical form of B A."""
        return _canonical(self.by_target)


def left_and_right(parts: tuple[nn.Parameter, ...]) -> tuple[Tensor, Tensor]:
    """A delta in training as a product: left (out, rank), scaled, and right (rank, in)."""
    return parts[0] * parts[1] if len(parts) == 3 else parts[0], parts[-1]


@torch.no_grad()
def _canonical(by_target: Mapping[str, tuple[nn.Parameter, ...]]) -> dict[str, LowRank]:
    deltas = {}
    for name, parts in by_target.items():
        left, right = left_and_right(parts)
        deltas[name] = LowRank.from_factors(left.cpu(), right.cpu())
    return deltas


def _orthonormal(tall: Tensor) -> Tensor:
    """Q of the QR with a positive diagonal of R, so that an orthonormal input comes back."""
    Q, R = torch.linalg.qr(tall)
    sign = torch.where(torch.diagonal(R, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(Q)
    result: Tensor = Q * sign.unsqueeze(-2)
    return result
