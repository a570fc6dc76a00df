"""Proof that a generalist is what its recipe says: merged anew from its bricks, and compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from medlego.bricks import LowRank
from medlego.errors import MedLegoError, collect
from medlego.generalist.directory import being_edited
from medlego.generalist.document import load_document
from medlego.generalist.generalist import Generalist
from medlego.generalist.lineage import withdrawn
from medlego.generalist.merged_file import made_on, merged_bytes
from medlego.generalist.rebuilding import assembled_like, rebuilt
from medlego.generalist.strays import heads_without, strays
from medlego.generalist.trust import Trust
from medlego.merge import GIVEN, SEARCHED, merge_linear

TOLERANCE = 1e-4
"""Largest relative Frobenius distance between merges of one recipe on different machines."""


@dataclass(frozen=True)
class Check:
    """One claim about a directory, whether it holds, and what was found."""

    claim: str
    holds: bool
    outcome: str


def verify(
    directory: str | Path, trust: Trust | None = None, last: str | None = None
) -> tuple[Check, ...]:
    """Check a generalist's directory against its own recipe and lineage.

    Reading it already refuses damaged or exchanged files and a broken lineage; here the bricks are
    merged anew. On the kind of machine that made the directory the merged deltas must come out bit
    for bit, which proves that no other brick is in them; elsewhere they must lie within
    `TOLERANCE`, and the check says so.

    Args:
        directory: a generalist's.
        trust: where given, every brick of the recipe and every entry of the lineage must be signed
            by its keys.
        last: start of the digest of the lineage's last entry, noted elsewhere; without it, nobody
            can tell that entries were cut off the end.

    Raises:
        GeneralistError: the directory cannot be read as a generalist.
        BrickError: one of its bricks is damaged.
    """
    path = Path(directory)
    generalist, document = Generalist.load(path), load_document(path)
    names = ", ".join(f"{i.task} {i.digest[:12]}" for i in generalist.recipe.bricks)
    checks = [
        Check("the files are whole and belong together", True, f"bricks {names}"),
        Check(
            "each entry of the lineage follows the one before",
            True,
            f"{len(generalist.lineage)} entries, the last {generalist.lineage[-1].digest}",
        ),
        _remerged(generalist, document.merged_sha256, document.made_on),
    ]
    if generalist.recipe.coefficients not in (GIVEN, SEARCHED):
        checks.append(_rule(generalist))
    if trust is not None:
        checks += _signed(generalist, trust)
    if last is not None:
        value = generalist.lineage[-1].digest
        claim = f"the lineage ends with entry {last[:12]}"
        checks.append(Check(claim, bool(last) and value.startswith(last), f"it ends with {value}"))
    return (*checks, *_past(generalist), *_gone(path, generalist))


def _remerged(generalist: Generalist, digest: str, platforms: Mapping[str, str]) -> Check:
    """The deltas on disk are those of the bricks in the recipe, and of no other."""
    claim = "merged anew from these bricks alone, the deltas are the same"
    fresh, here = rebuilt(generalist.recipe, generalist.bricks), made_on()
    if dict(platforms) == here:
        sha256 = hashlib.sha256(merged_bytes(fresh.deltas)).hexdigest()
        return Check(claim, sha256 == digest, f"SHA-256 {sha256[:12]}…, stated {digest[:12]}…")
    others = ", ".join(
        f"{key} {platforms.get(key)}" for key in here if platforms.get(key) != here[key]
    )
    distance = relative_distance(generalist.deltas, fresh.deltas)
    return Check(
        f"{claim} to {TOLERANCE:g}, since they were made on another machine",
        distance <= TOLERANCE,
        f"relative distance {distance:.1e}; made on {others}",
    )


def _rule(generalist: Generalist) -> Check:
    """The coefficients are those that the rule gives for these bricks."""
    recipe = generalist.recipe
    slope = recipe.slope if recipe.slope_given else None
    fresh = assembled_like(recipe, generalist.bricks, recipe.coefficients, slope=slope).recipe
    numbers = [(item.coefficient, recipe.slope) for item in recipe.bricks]
    anew = [(item.coefficient, fresh.slope) for item in fresh.bricks]
    worst = max(
        abs(a - b) for pair in zip(numbers, anew, strict=True) for a, b in zip(*pair, strict=True)
    )
    return Check(
        f"the rule {recipe.coefficients!r} gives the recipe's coefficients and slope",
        worst <= TOLERANCE,
        f"largest difference {worst:.1e}",
    )


def _signed(generalist: Generalist, trust: Trust) -> list[Check]:
    """Bricks and entries are vouched for by keys that are trusted with them."""
    now, by, problems = datetime.now(UTC), [], list[str]()
    for brick in generalist.bricks:
        with collect(problems):
            signature = generalist.past.signatures.get(brick.digest)
            by.append(f"{brick.task.name} by {trust.check_brick(brick, signature, now).name}")
    unsigned = trust.lineage_problems(generalist.lineage, now)
    return [
        Check("every brick is signed by a trusted key", not problems, "\n".join(problems or by)),
        Check(
            "every entry of the lineage is signed by a trusted editor",
            not unsigned,
            "\n".join(unsigned) or f"{len(generalist.lineage)} entries",
        ),
        Check(
            "the chain proves the order of its entries; their times are their signers' word",
            True,
            "\n".join(trust.undated(generalist.lineage, now))
            or "no entry rests on the word of a key that has ended alone",
        ),
    ]


def _past(generalist: Generalist) -> Sequence[Check]:
    """What undo would need is there, except where it was withdrawn."""
    gone, past = withdrawn(generalist.lineage), generalist.past
    lost = []
    for number, entry in enumerate(generalist.lineage):
        if not _has(past.recipes, entry.recipe):
            lost.append(f"recipe of entry {number}")
            continue
        lost += [
            f"brick {item.digest[:12]} of entry {number}"
            for item in past.recipes[entry.recipe].bricks
            if item.digest not in gone and not _has(past.bricks, item.digest)
        ]
        heads = heads_without(past.recipes[entry.recipe].bricks, gone)
        lost += [f"head {h[:12]} of entry {number}" for h in heads if not _has(past.heads, h)]
    claim = "every earlier state can be rebuilt, except withdrawn bricks"
    return [Check(claim, not lost, ", ".join(dict.fromkeys(lost)) or "nothing is missing")]


def _has(shelf: Mapping[str, object], digest: str) -> bool:
    """Whether it can be read."""
    try:
        return bool(shelf[digest])
    except (KeyError, MedLegoError):
        return False


def _gone(path: Path, generalist: Generalist) -> Sequence[Check]:
    """Of withdrawn bricks nothing is left, nor of edits that were interrupted."""
    left = strays(path, generalist.lineage, generalist.past)
    if left and (being_edited(path) or load_document(path).lineage != generalist.lineage):
        left = []  # an editor's, under way or just done
    names = [os.path.relpath(file, path) for file in left]
    checks = []
    for digest, entry in withdrawn(generalist.lineage).items():
        used = any(item.digest == digest for item in generalist.recipe.bricks)
        files = [name for name in names if digest in name]
        place = "still in the recipe" if used else f"still there: {', '.join(files)}"
        claim = f"brick {digest[:12]}, withdrawn in entry {entry}, is gone"
        gone = not (used or files)
        checks.append(Check(claim, gone, "gone" if gone else place))
    outcome = "nothing is left"
    if names:
        outcome = f"left: {', '.join(names)}; the next edit deletes it, or delete it yourself"
    return (*checks, Check("interrupted edits left nothing", not names, outcome))


def relative_distance(a: Mapping[str, LowRank], b: Mapping[str, LowRank]) -> float:
    """‖A − B‖ / ‖A‖ over all targets (Frobenius); a target that one lacks counts as zero."""
    apart = sum(norm**2 for norm in distances(a, b).values())
    whole = sum(delta.norm() ** 2 for delta in a.values())
    return (apart / whole) ** 0.5 if whole else float(apart > 0)


def distances(a: Mapping[str, LowRank], b: Mapping[str, LowRank]) -> dict[str, float]:
    """‖B − A‖ by target (Frobenius), computed on factors."""
    merged = merge_linear([dict(a), dict(b)], [-1.0, 1.0], None).deltas
    return {name: delta.norm() for name, delta in merged.items()}
