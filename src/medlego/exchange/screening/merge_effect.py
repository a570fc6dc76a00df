"""What a brick does to the other tasks of a merge: leave one out, with and without patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medlego.bricks import Brick
from medlego.exchange.screening.behaviour import Behaviour, Ordinary
from medlego.generalist import assemble
from medlego.support import Progress, silent

OTHERS = 8
"""Tasks that a merge for a comparison holds at most, besides the brick's own."""


@dataclass(frozen=True)
class Harm:
    """What leaving a brick out changes for the tasks that stay.

    Changes are mean absolute differences of a label's probability on ordinary images, of the
    worst label of a task, mean over tasks.
    """

    change: float
    largest: float
    """The largest change that leaving one of the others out makes."""
    by_patch: float
    """The largest push of any label of another task by any patch of the battery, less the push
    without the brick; 0 to 1."""
    worst: str
    """Which task, label and patch that was."""


def one_a_task(brick: Brick, peers: Sequence[Brick]) -> list[Brick]:
    """The first brick of each other task, at most `OTHERS`."""
    first = {peer.task.name: peer for peer in reversed(peers)}
    others = [peer for peer in peers if first[peer.task.name] is peer]
    return [other for other in others if other.task.name != brick.task.name][:OTHERS]


def harm(
    brick: Brick, others: Sequence[Brick], ordinary: Ordinary, show: Progress = silent
) -> Harm:
    """Merge with and without the brick by the default method, and compare what is answered.

    Args:
        brick: the one in question.
        others: bricks of at least two other tasks.
        ordinary: images without a trigger.
        show: called with what is under way.

    Raises:
        MergeError: bricks that do not go together.
    """
    rounds = len(others) + 2
    show("merge without the brick", 0, rounds)
    without = Behaviour.of(assemble(others), ordinary)
    show("merge with the brick", 1, rounds)
    whole = Behaviour.of(assemble([*others, brick]), ordinary)
    changes = []
    for number, member in enumerate(others):
        show(f"merge without {member.task.name}", 2 + number, rounds)
        rest = assemble([other for other in others if other is not member])
        changes.append(_change(without, Behaviour.of(rest, ordinary)))
    by_patch, worst = _by_patch(whole, without, show)
    show("merges", rounds, rounds)
    return Harm(_change(without, whole), max(changes), by_patch, worst)


def _change(one: Behaviour, other: Behaviour) -> float:
    """Over the tasks that both have."""
    changes = []
    for name in sorted(one.readers.keys() & other.readers.keys()):
        first, second = (
            b.readers[name].task.rules.probabilities(b.readers[name].head.logits(b.pooled))
            for b in (one, other)
        )
        changes.append(float((first - second).abs().mean(dim=0).max()))
    return sum(changes) / len(changes)


def _by_patch(whole: Behaviour, without: Behaviour, show: Progress) -> tuple[float, str]:
    after = whole.pushes(show, "patches, with the brick")
    before = without.pushes(show, "patches, without the brick")
    largest, worst = 0.0, "none"
    for name, reader in without.readers.items():
        more = after[name] - before[name]
        if float(more.max()) > largest:
            largest = float(more.max())
            patch, label = divmod(int(more.argmax()), more.shape[1])
            worst = f"{name}, {reader.task.labels[label]}, {without.patches[patch].name}"
    return largest, worst
