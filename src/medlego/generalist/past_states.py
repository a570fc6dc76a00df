"""What a generalist was made of before: earlier recipes, with the bricks and heads they name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from medlego.bricks import Brick, BrickSignature, RefitHead
from medlego.merge import Recipe

_T = TypeVar("_T")


class Shelf(Mapping[str, _T], Generic[_T]):
    """Things by digest, each read when first asked for; operations return new shelves."""

    def __init__(self, held: Mapping[str, Callable[[], _T]] | None = None) -> None:
        self._held = dict(held or {})
        self._read: dict[str, _T] = {}

    def __getitem__(self, digest: str) -> _T:
        if digest not in self._read:
            self._read[digest] = self._held[digest]()
        return self._read[digest]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def plus(self, more: Mapping[str, _T]) -> Shelf[_T]:
        """With things that are at hand; what is there already stays as it is."""
        shelf = Shelf({**{digest: _keep(thing) for digest, thing in more.items()}, **self._held})
        shelf._read = {**more, **self._read}
        return shelf

    def minus(self, digests: Collection[str]) -> Shelf[_T]:
        """Without some."""
        shelf = Shelf({d: read for d, read in self._held.items() if d not in digests})
        shelf._read = {d: thing for d, thing in self._read.items() if d not in digests}
        return shelf


@dataclass(frozen=True, eq=False)
class PastStates:
    """Everything that the entries of a lineage name and that was not withdrawn, by digest."""

    recipes: Shelf[Recipe] = field(default_factory=Shelf)
    bricks: Shelf[Brick] = field(default_factory=Shelf)
    heads: Shelf[RefitHead] = field(default_factory=Shelf)
    signatures: Shelf[BrickSignature] = field(default_factory=Shelf)
    """Of bricks that were signed, by the brick's digest."""

    def plus(
        self, recipe: Recipe, bricks: Collection[Brick], heads: Collection[RefitHead]
    ) -> PastStates:
        """With one more state."""
        return replace(
            self,
            recipes=self.recipes.plus({recipe.digest: recipe}),
            bricks=self.bricks.plus({brick.digest: brick for brick in bricks}),
            heads=self.heads.plus({head.digest: head for head in heads}),
        )

    def signed(self, signatures: Collection[BrickSignature]) -> PastStates:
        """With signatures; a newer one takes the place of an older."""
        found = {signature.digest: signature for signature in signatures}
        return replace(self, signatures=self.signatures.minus(found).plus(found))

    def without(self, bricks: Collection[str], tasks: Collection[str]) -> PastStates:
        """Without bricks, and without refitted heads of tasks; recipes stay, as a record."""
        heads = [digest for digest, head in self.heads.items() if head.task.name in tasks]
        return replace(
            self,
            bricks=self.bricks.minus(bricks),
            heads=self.heads.minus(heads),
            signatures=self.signatures.minus(bricks),
        )


def _keep(thing: _T) -> Callable[[], _T]:
    return lambda: thing
