"""What a generalist was made of before: earlier recipes, with the bricks and heads they name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeVar

from medlego.bricks import Brick, BrickSignature, RefitHead
from medlego.merge import Recipe
from medlego.support import ShortRepr

_T = TypeVar("_T")


class Shelf(Mapping[str, _T], Generic[_T]):
    """Values by digest, at hand or read when first asked for; operations return new shelves."""

    def __init__(self, values: Mapping[str, _T | partial[_T]] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, digest: str) -> _T:
        value = self._values[digest]
        if isinstance(value, partial):
            value = self._values[digest] = value()
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def plus(self, more: Mapping[str, _T]) -> Shelf[_T]:
        """With values that are at hand."""
        return Shelf({**more, **self._values, **more})

    def minus(self, digests: Collection[str]) -> Shelf[_T]:
        """Without some."""
        return Shelf({d: value for d, value in self._values.items() if d not in digests})


@dataclass(frozen=True, eq=False, repr=False)
class PastStates(ShortRepr):
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
        newer = {signature.digest: signature for signature in signatures}
        return replace(self, signatures=self.signatures.minus(newer).plus(newer))

    def without(self, bricks: Collection[str], tasks: Collection[str]) -> PastStates:
        """Without bricks, and without refitted heads of tasks; recipes stay, as a record."""
        heads = [digest for digest, head in self.heads.items() if head.task.name in tasks]
        return replace(
            self,
            bricks=self.bricks.minus(bricks),
            heads=self.heads.minus(heads),
            signatures=self.signatures.minus(bricks),
        )
