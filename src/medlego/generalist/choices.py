"""What `assemble` reads off the bricks where nobody says: mode, slope and Grams."""

from __future__ import annotations

from collections.abc import Sequence

from medlego.bricks import Brick, all_targets
from medlego.errors import MergeError
from medlego.merge import AUTO, Grams, Mode, as_mode, find_method


def choose_mode(text: str, bricks: Sequence[Brick]) -> Mode:
    """The mode that a word stands for.

    Raises:
        MergeError: another word, or a mode that routes and no brick has a profile.
    """
    known = {brick.task.name for brick in bricks if brick.profile is not None}
    if text == AUTO:
        return "routed" if known == {brick.task.name for brick in bricks} else "merged"
    mode = as_mode(text)
    if mode != "merged" and not known:
        raise MergeError(
            f"mode {mode!r}: expected a brick with a profile, got none; "
            "retrain without --no-profile, or choose mode merged"
        )
    return mode


def default_slope(method: str, bricks: Sequence[Brick]) -> float:
    """The method's own; 0 where a brick was prepared for merges, which weigh all blocks alike.

    Raises:
        MergeError: an unknown method.
    """
    slope = find_method(method).slope
    return 0.0 if any(brick.is_merge_aware for brick in bricks) else slope


def grams_by_target(bricks: Sequence[Brick]) -> list[Grams]:
    """Each brick's Grams, for the targets that it has them of."""
    targets = all_targets(bricks)
    return [{t.name: b.grams[t.module] for t in targets if t.module in b.grams} for b in bricks]
