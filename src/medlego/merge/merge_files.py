"""Merging more brick files than memory holds: deltas alone, one brick at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medlego.bricks import load_brick
from medlego.errors import BrickError, MergeError, raise_all
from medlego.merge.coefficients import AUTO, Coefficients, check_coefficients, check_kind, find_rule
from medlego.merge.compatibility import Footing
from medlego.merge.depth import check_slope, with_slope
from medlego.merge.method import Merged, TaskVector, present
from medlego.merge.methods import METHODS
from medlego.merge.stream import merge_stream
from medlego.support import Progress, one_thread, silent


def merge_files(
    paths: Sequence[str | Path],
    coefficients: Coefficients = "auto",
    rank: int | None = None,
    *,
    slope: float | None = None,
    show: Progress = silent,
) -> Merged:
    """Merge brick files by their exact weighted sum, with one brick in memory at a time.

    `assemble` by the method `linear` gives the same deltas, and keeps all bricks beside them,
    since a generalist reads every task with its brick's head. Here no head comes along, so any
    number of bricks may share a task.

    Args:
        paths: one or more brick files, of one base at one input size; each brick once.
        coefficients: `auto` or another rule that only counts bricks, one number for all, or one
            per file. A file whose coefficient is zero is only checked.
        rank: cut each merged delta to this rank, or keep all (None).
        slope: as in `assemble`.
        show: called with how many files are read, then how many targets are decomposed.

    Returns:
        Merged deltas by target name, and what a cut lost of each.

    Raises:
        MergeError: files that `load_brick` refuses, bricks that do not go together, coefficients,
            a rank or a slope that do not fit; all problems of the files in one message.

    Cost: each file is read once; see `merge_stream`.
    """
    if not paths:
        raise MergeError("merge: expected at least one brick file, got none")
    if rank is not None and rank < 1:
        raise MergeError(f"rank: expected at least 1, got {rank}")
    check_kind(coefficients, len(paths))
    linear = METHODS["linear"]
    by_default = slope is None and isinstance(coefficients, str) and coefficients == AUTO
    check_slope(slope or 0.0)
    if isinstance(coefficients, str):
        coefficients = find_rule(coefficients, linear.auto)([{}] * len(paths), _no_second_pass)
    resolved = check_coefficients(coefficients, len(paths))
    with one_thread():
        files = _Files(paths, resolved, show)
        merged = merge_stream(files, rank, show=show)
        if by_default and not files.prepared:
            slope = linear.slope
        return with_slope(merged, len(present(paths, resolved)), slope or 0.0)


def _no_second_pass() -> Merged:
    raise MergeError(
        "coefficients: expected a rule that only counts bricks, got one that looks at the merge; "
        "choose auto, mean, root, one or a number"
    )


class _Files:
    """The files' task vectors; once a problem is found, only further problems are looked for."""

    def __init__(
        self, paths: Sequence[str | Path], coefficients: Sequence[float], show: Progress
    ) -> None:
        self._paths, self._coefficients, self._show = paths, coefficients, show
        self.prepared = False
        """Whether a brick read so far was prepared for merges."""

    def __iter__(self) -> Iterator[tuple[TaskVector, float]]:
        paths, coefficients = self._paths, self._coefficients
        footing = Footing()
        seen: dict[str, int] = {}
        problems: list[str] = []
        for number, (path, coefficient) in enumerate(zip(paths, coefficients, strict=True)):
            self._show("reading bricks", number, len(paths))
            try:
                brick = load_brick(path)
            except BrickError as error:
                problems.append(str(error))
                continue
            problems += [
                f"{path}: {problem}" for problem in footing.conflicts(brick, brick.task.name)
            ]
            if (first := seen.setdefault(brick.digest, number)) != number:
                problems.append(
                    f"{path}: expected each brick once, got {paths[first]}'s; name it once"
                )
            self.prepared |= brick.is_merge_aware
            if not problems:
                yield brick.deltas, coefficient
            del brick
        raise_all(MergeError, "merge", problems)
