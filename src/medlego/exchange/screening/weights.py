"""Numbers that a brick's weights show without any image."""

from __future__ import annotations

from medlego.bricks import Brick

SIZES = ("norm", "spectral norm", "largest share of one target")
HEAD = "head rows"


def traits(brick: Brick) -> dict[str, float]:
    """Sizes of a brick's deltas and head, by name.

    Returns:
        `norm`: Frobenius norm of the task vector; `spectral norm`: the largest singular value of
        any target; `largest share of one target`: of the norm, 0 to 1; `head rows`: mean norm of
        the head's rows.
    """
    norms = [delta.norm() for delta in brick.deltas.values()]
    norm = float(sum(n**2 for n in norms) ** 0.5)
    largest = max(float(delta.S[0]) for delta in brick.deltas.values())
    share = max(norms) / norm if norm else 0.0
    head = float(brick.head.weight.double().norm(dim=1).mean())
    return dict(zip((*SIZES, HEAD), (norm, largest, share, head), strict=True))
