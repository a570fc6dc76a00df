"""What a brick does to the other tasks of a merge: leave one out, with and without patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from medlego.bricks import Brick, on_device
from medlego.exchange.screening.behaviour import Ordinary, read, shares, stamped_features
from medlego.exchange.screening.patches import Patch, battery
from medlego.generalist import Generalist, assemble
from medlego.merge import Capability
from medlego.support import Progress, silent

COMPANY = 8
"""Tasks that a merge for a comparison holds at most, besides the brick's own."""


@dataclass(frozen=True)
class Harm:
    """What leaving a brick out changes for the tasks that stay.

    Changes are mean absolute differences of a label's probability on ordinary images, of the
    worst label of a task, mean over tasks.
    """

    change: float
    others: dict[str, float]
    """The same when one of the others is left out, by task."""
    by_patch: float
    """The largest push of any label of another task by any patch of the battery, less the push
    without the brick; 0 to 1."""
    worst: str
    """Which task, label and patch that was."""


def company_of(brick: Brick, peers: Sequence[Brick]) -> list[Brick]:
    """The first brick of each other task, at most `COMPANY`."""
    first = {peer.task.name: peer for peer in reversed(peers)}
    return [p for p in peers if first[p.task.name] is p and p.task.name != brick.task.name][
        :COMPANY
    ]


def harm(
    brick: Brick, company: Sequence[Brick], ordinary: Ordinary, show: Progress = silent
) -> Harm:
    """Merge with and without the brick by the default method, and compare what is answered.

    Args:
        brick: the one in question.
        company: bricks of at least two other tasks.
        ordinary: images without a trigger.
        show: called with what is under way.

    Raises:
        MergeError: bricks that do not go together.
    """
    rounds = len(company) + 2
    show("merge without the brick", 0, rounds)
    without = _Read.of(assemble(company), ordinary)
    show("merge with the brick", 1, rounds)
    held = _Read.of(assemble([*company, brick]), ordinary)
    others = {}
    for number, member in enumerate(company):
        show(f"merge without {member.task.name}", 2 + number, rounds)
        rest = [other for other in company if other is not member]
        others[member.task.name] = without.change(_Read.of(assemble(rest), ordinary))
    by_patch, worst = _by_patch(held, without, ordinary, show)
    show("merges", rounds, rounds)
    return Harm(without.change(held), others, by_patch, worst)


@dataclass(frozen=True, eq=False)
class _Read:
    """A merge and what it makes of ordinary images."""

    module: nn.Module
    readers: dict[str, Capability]
    pooled: Tensor

    @classmethod
    def of(cls, merged: Generalist, ordinary: Ordinary) -> _Read:
        module = on_device(merged.fold(ordinary.base), ordinary.device)
        readers = {reader.task.name: reader for reader in merged.readers}
        return cls(module, readers, read(ordinary.base, module, ordinary.pixels))

    def change(self, other: _Read) -> float:
        """Over the tasks that both have."""
        shared = self.readers.keys() & other.readers.keys()
        changes = []
        for name in sorted(shared):
            answers = [
                r.readers[name].task.rules.probabilities(r.readers[name].head.logits(r.pooled))
                for r in (self, other)
            ]
            changes.append(float((answers[0] - answers[1]).abs().mean(dim=0).max()))
        return sum(changes) / len(changes)

    def pushes(
        self, ordinary: Ordinary, patches: Sequence[Patch], show: Progress, what: str
    ) -> dict[str, Tensor]:
        """Per task how far each patch pushes each label, (patches, labels)."""
        stamped = stamped_features(self.module, ordinary, patches, show, what)
        plain = self.pooled[ordinary.rows]
        return {name: shares(reader, plain, stamped) for name, reader in self.readers.items()}


def _by_patch(held: _Read, without: _Read, ordinary: Ordinary, show: Progress) -> tuple[float, str]:
    patches = battery(ordinary.base.ref.image_size)
    after = held.pushes(ordinary, patches, show, "patches, with the brick")
    before = without.pushes(ordinary, patches, show, "patches, without the brick")
    largest, worst = 0.0, "none"
    for name, reader in without.readers.items():
        more = after[name] - before[name]
        if float(more.max()) > largest:
            largest = float(more.max())
            patch, label = divmod(int(more.argmax()), more.shape[1])
            worst = f"{name}, {reader.task.labels[label]}, {patches[patch].name}"
    return largest, worst
