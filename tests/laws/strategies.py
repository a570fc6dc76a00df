"""Random but repeatable merges: a few bricks' deltas, with holes, ties and zeros on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from medlego.base import BaseRef, Target
from medlego.bricks import Brick, Card, Gram, Head, LowRank
from medlego.data import Task
from medlego.merge import Grams, Merged, Method, TaskVector
from medlego.support import one_thread

SHAPES = {"a": (12, 9), "b": (12, 9), "c": (5, 14), "d": (3, 3)}
"""Targets of the laws: two of one shape, and one so small that ranks soon fill it."""
EVERYTHING = 99
"""A rank that cuts nothing."""
EPS = torch.finfo(torch.float32).eps


def law_settings(max_examples: int) -> settings:
    """The same examples in every run, however slow a busy machine draws them."""
    return settings(
        derandomize=True,
        deadline=None,
        max_examples=max_examples,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@dataclass(frozen=True)
class Case:
    """What a merge takes; `grams` count only for methods that need them."""

    task_vectors: tuple[TaskVector, ...]
    coefficients: tuple[float, ...]
    grams: tuple[Grams, ...] = ()

    def of(self, places: Sequence[int]) -> Case:
        """The bricks at these places alone, in this order."""
        return Case(
            tuple(self.task_vectors[i] for i in places),
            tuple(self.coefficients[i] for i in places),
            tuple(self.grams[i] for i in places),
        )

    @property
    def scale(self) -> float:
        """Σ |c_t| ‖ΔW_t‖ over all targets: what rounding errors are relative to."""
        return sum(
            abs(c) * delta.norm()
            for vector, c in zip(self.task_vectors, self.coefficients, strict=True)
            for delta in vector.values()
        )

    @property
    def atol(self) -> float:
        """Rounding of a float32 merge, generously."""
        return 30 * EPS * self.scale


def random_delta(shape: tuple[int, int], rank: int, seed: int, scale: float = 1.0) -> LowRank:
    """A canonical delta of random directions."""
    return LowRank.from_factors(*random_factors(shape, rank, seed), scale)


def random_factors(shape: tuple[int, int], rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """B (out, rank) and A (rank, in)."""
    generator = torch.Generator().manual_seed(seed)
    out, inside = shape
    return (
        torch.randn(out, rank, generator=generator),
        torch.randn(rank, inside, generator=generator),
    )


def random_gram(width: int, seed: int) -> Gram:
    """A Gram of random leading directions, four at most; its eigenvalues lie between 0.5 and 4."""
    generator = torch.Generator().manual_seed(seed)
    count = min(4, width - seed % 2)
    values = torch.rand(count, generator=generator).sort(descending=True).values * 3 + 1
    vectors = torch.linalg.qr(torch.randn(width, count, generator=generator)).Q
    rest = torch.tensor([0.5 if count < width else 0.0])
    return Gram(vectors.contiguous(), values, rest, images=50)


def random_grams(seed: int) -> Grams:
    """Grams on every target, as of a brick that adapts other rows of the same modules."""
    return {
        n: random_gram(shape[1], seed + place) for place, (n, shape) in enumerate(SHAPES.items())
    }


def zero_delta(shape: tuple[int, int], rank: int = 1) -> LowRank:
    """A canonical delta that changes nothing."""
    return LowRank(torch.eye(shape[0], rank), torch.zeros(rank), torch.eye(rank, shape[1]))


seeds = st.integers(0, 2**31 - 1)
coefficient = st.one_of(
    st.sampled_from((0.0, 1.0, -1.0, 0.5)),
    st.floats(-2, 2, allow_nan=False, width=32, allow_subnormal=False),
)


@st.composite
def deltas(draw: st.DrawFn, shape: tuple[int, int]) -> LowRank:
    """One delta: ordinary, of rank below its form, or zero; large or small."""
    rank = draw(st.integers(1, min(4, *shape)))
    scale = draw(st.sampled_from((1.0, 1e-3, 30.0)))
    match draw(st.sampled_from(("full", "full", "full", "deficient", "zero"))):
        case "zero":
            return zero_delta(shape, rank)
        case "deficient":
            B, A = random_factors(shape, 1, draw(seeds))
            return LowRank.from_factors(B.repeat(1, rank), A.repeat(rank, 1), scale)
        case _:
            return random_delta(shape, rank, draw(seeds), scale)


@st.composite
def cases(draw: st.DrawFn, min_bricks: int = 1) -> Case:
    """One to four bricks, each on some of the targets; a brick may stand in it twice."""
    vectors: list[TaskVector] = []
    for _ in range(draw(st.integers(min_bricks, 4))):
        if vectors and draw(st.integers(0, 5)) == 0:
            vectors.append(vectors[-1])
            continue
        names = draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=4, unique=True))
        vectors.append({name: draw(deltas(SHAPES[name])) for name in sorted(names)})
    coefficients = draw(st.lists(coefficient, min_size=len(vectors), max_size=len(vectors)))
    grams = tuple(random_grams(draw(seeds)) for _ in vectors)
    return Case(tuple(vectors), tuple(coefficients), grams)


def suited(method: Method, case: Case) -> Case:
    """A case as the method takes it.

    Where coefficients only share out Grams, negative ones are refused and a common factor does
    not count; so those that are not zero become 0.5 and more, lest `atol` fall to nothing.
    """
    if not method.needs_grams:
        return case
    return replace(case, coefficients=tuple(c and 0.5 + abs(c) for c in case.coefficients))


def merge(method: Method, case: Case, rank: int | None = EVERYTHING) -> Merged:
    """A merge of a suited case as `assemble` runs it."""
    case = suited(method, case)
    with one_thread():
        return method(case.task_vectors, case.coefficients, rank, grams=case.grams)


def dense(merged: Merged | TaskVector) -> dict[str, Tensor]:
    """Every target's delta in float64; zero where there is none."""
    factors: Mapping[str, LowRank] = merged.deltas if isinstance(merged, Merged) else merged
    return {
        name: (d.U.double() * d.S.double()) @ d.Vh.double()
        if (d := factors.get(name)) is not None
        else torch.zeros(shape, dtype=torch.float64)
        for name, shape in SHAPES.items()
    }


def factor_bytes(deltas: Mapping[str, LowRank]) -> dict[str, tuple[bytes, ...]]:
    """Every factor bit for bit."""
    return {
        name: tuple(t.contiguous().numpy().tobytes() for t in (d.U, d.S, d.Vh))
        for name, d in deltas.items()
    }


def assert_same_deltas(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], atol: float
) -> None:
    """Equal target by target, to an absolute tolerance."""
    assert actual.keys() == expected.keys()
    for name, delta in expected.items():
        torch.testing.assert_close(actual[name], delta, rtol=0, atol=atol)


def bricks_of(case: Case) -> list[Brick]:
    """A case's task vectors as bricks, each of a task and head of its own, with Grams."""
    return [_brick(number, vector) for number, vector in enumerate(case.task_vectors)]


def _brick(number: int, vector: TaskVector) -> Brick:
    ref = BaseRef(
        name="laws",
        fingerprint="0" * 64,
        image_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        parameters=1000,
        features=6,
    )
    targets = tuple(Target(n, f"module.{n}", 0, *d.shape) for n, d in vector.items())
    head = Head(torch.full((2, 6), float(number)), torch.zeros(2))
    task = Task(name=f"task-{number}", kind="multiclass", labels=("no", "yes"))
    grams = {t.module: random_gram(t.in_features, number) for t in targets}
    return Brick(ref, task, targets, vector, head, {}, Card(), grams)
