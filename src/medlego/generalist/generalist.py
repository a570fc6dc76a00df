"""A generalist: merged deltas on one base, every task's head beside them, and its recipe."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from medlego.base import Base, BaseLike, BaseRef, open_base
from medlego.bricks import (
    Adapter,
    Brick,
    BrickLike,
    BrickSignature,
    LowRank,
    all_targets,
    fold,
    open_bricks,
)
from medlego.data import Task
from medlego.errors import GeneralistError, MergeError, collect, raise_all
from medlego.generalist.choices import choose_mode, default_slope, grams_by_target
from medlego.generalist.directory import (
    GeneralistState,
    read_directory,
    update_directory,
    write_directory,
)
from medlego.generalist.lineage import Stamp, append_entry
from medlego.generalist.past_states import PastStates
from medlego.merge import (
    AUTO,
    DEFAULT_METHOD,
    GIVEN,
    METHODS,
    Capability,
    Coefficients,
    Ingredient,
    Merged,
    Method,
    Recipe,
    as_sites,
    calibrate_singular_values,
    capabilities,
    check_kind,
    check_slope,
    conflicts,
    find_method,
    merged_problems,
    present,
    share_out,
    site_weights,
    task_vectors,
    with_slope,
)
from medlego.support import html_table, one_thread

if TYPE_CHECKING:
    from medlego.prediction import Predictor


@dataclass(frozen=True, eq=False, repr=False)
class Generalist(GeneralistState):
    """A base's merged deltas with all heads side by side; operations return new ones."""

    @property
    def readers(self) -> tuple[Capability, ...]:
        """The capabilities, each with the head that reads this merge, calibrated where it is."""
        return tuple(self._reader(capability) for capability in self.capabilities)

    def reader(self, task: str) -> Capability:
        """The head that reads this merge for a task.

        Raises:
            GeneralistError: no such task.
        """
        return self._reader(self.capability(task))

    def _reader(self, own: Capability) -> Capability:
        if (refit := self.heads.get(own.task.name)) is not None:
            return replace(own, head=refit.head, calibration=refit.calibration, stale=False)
        return own if self._is_one_brick else own.uncalibrated()

    @property
    def _is_one_brick(self) -> bool:
        """Whether the merged deltas are those of its only brick, whole; no slope bends one task."""
        recipe = self.recipe
        plain = recipe.method == "linear" and not recipe.svc and not self.relative_loss
        return plain and len(recipe.bricks) == 1 and recipe.bricks[0].coefficient == 1.0

    @property
    def adapter(self) -> Adapter:
        """The merged deltas on their targets."""
        return Adapter(self.targets, self.deltas)

    @property
    def base(self) -> BaseRef:
        """The base that all bricks stand on."""
        return self.bricks[0].base

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One per capability, in the recipe's order."""
        return tuple(capability.task for capability in self.capabilities)

    def capability(self, task: str) -> Capability:
        """What the bricks of a task answer together.

        Raises:
            GeneralistError: no such task.
        """
        for capability in self.capabilities:
            if capability.task.name == task:
                return capability
        names = ", ".join(t.name for t in self.tasks)
        raise GeneralistError(f"task: expected one of {names}, got {task!r}")

    def brick(self, task: str) -> Brick:
        """The brick of a task that has one.

        Raises:
            GeneralistError: no such task, or several bricks from as many sites.
        """
        bricks = self.capability(task).bricks
        if len(bricks) > 1:
            raise GeneralistError(
                f"task {task!r}: expected one brick, got {len(bricks)} sites; use capability()"
            )
        return bricks[0]

    def alone(self, task: str) -> Generalist:
        """One task's bricks without the others: its specialist, or the mean of its sites.

        Raises:
            GeneralistError: no such task.
        """
        bricks, sites = self.capability(task).bricks, self.recipe.sites
        return assemble(bricks, "linear", coefficients=1.0, sites=sites, mode="merged")

    def signed(self, signatures: Collection[BrickSignature]) -> Generalist:
        """With the signatures of its bricks, to be kept beside them; checks nothing."""
        return replace(self, past=self.past.signed(signatures))

    def fold(self, base: Base) -> nn.Module:
        """The base's module with the merged deltas in its weights: no slower than the base.

        Raises:
            GeneralistError: another base than the bricks'.
        """
        self.check_base(base)
        return fold(base.module, self.targets, self.deltas)

    def predictor(
        self, base: BaseLike | None = None, *, mode: str | None = None, device: str = "cpu"
    ) -> Predictor:
        """What answers images as `medlego.predict` does, and keeps the model ready between calls.

        Args:
            base: the bricks' base; found by fingerprint when left out.
            mode: `merged`, `grouped` or `routed`; the recipe's when left out.
            device: `cpu` or `cuda`.

        Raises:
            GeneralistError: another base than the bricks'.
            MergeError: an unknown mode, or bricks of a group that cannot be merged.
            BaseError: the base is not to be found.
        """
        from medlego.prediction import Predictor

        return Predictor(self, base, mode=mode, device=device)

    def module(
        self,
        base: BaseLike | None = None,
        tasks: Collection[str] | None = None,
        mode: str | None = None,
    ) -> nn.Module:
        """An ordinary torch module: images (N, 3, size, size) in [0, 1] → logits by task.

        Its output is a dictionary of tensors (N, outputs), what `predict` makes probabilities of:
        one output a label, but one for the second of two labels, and one a step of an ordinal
        scale. It is in evaluation mode, every parameter takes gradients, and none is the base's.
        In `merged` mode there is one pass, in `routed` mode one for each task, by its own brick;
        nothing is routed by content.

        Args:
            base: the bricks' base; found by fingerprint when left out.
            tasks: those to answer; all when left out.
            mode: `merged`, `grouped` or `routed`; the recipe's when left out.

        Raises:
            GeneralistError: no such task, or another base than the bricks'.
            MergeError: an unknown mode, or bricks of a group that cannot be merged.
            BaseError: the base is not to be found.
        """
        from medlego.prediction import as_module

        return as_module(self, self.find_base(base), tasks, mode)

    def find_base(self, base: BaseLike | None = None) -> Base:
        """A base as it is, or by name; the one that the bricks stand on when left out.

        Raises:
            BaseError: it is not to be found.
        """
        return Base.find(self.base) if base is None else open_base(base)

    def check_base(self, base: Base) -> None:
        """Refuse another base.

        Raises:
            GeneralistError: another base than the bricks'.
        """
        if base.ref != self.base:
            raise GeneralistError(
                f"base: expected {self.base}, got {base.ref}; use Base.find(generalist.base)"
            )

    def save(self, directory: str | Path) -> None:
        """Write the generalist to a new directory, whole or not at all.

        Raises:
            GeneralistError: something else lies there already.
        """
        write_directory(Path(directory), self)

    def commit(self, directory: str | Path, *, after: Generalist) -> None:
        """Put this generalist in the place of the one that it was made from.

        Readers see the one or the other, whole. Hold the directory by `editing` meanwhile.

        Raises:
            GeneralistError: the directory does not hold `after` any more.
        """
        update_directory(Path(directory), self, after.lineage[-1].digest)

    def _repr_html_(self) -> str:
        rows = [
            (c.task.name, c.task.kind, ", ".join(c.task.labels), len(c.bricks))
            for c in self.capabilities
        ]
        recipe = self.recipe
        caption = f"Generalist {recipe.digest[:12]}: {recipe.method}, {recipe.mode}, on {self.base}"
        return html_table(caption, rows, ("task", "kind", "labels", "bricks"))

    @classmethod
    def load(cls, directory: str | Path) -> Generalist:
        """Read and validate a generalist.

        Raises:
            GeneralistError: files are missing, damaged, or do not belong together.
            BrickError: one of its bricks is damaged.
        """
        return cls(**vars(read_directory(Path(directory))))


GeneralistLike = Generalist | str | Path
"""A generalist, or its directory."""


def open_generalist(generalist: GeneralistLike) -> Generalist:
    """A generalist as it is, or read from its directory.

    Raises:
        GeneralistError, BrickError: something else, or as `Generalist.load`.
    """
    if isinstance(generalist, Generalist):
        return generalist
    if not isinstance(generalist, str | Path):
        raise GeneralistError(
            f"generalist: expected a Generalist or its directory, got {type(generalist).__name__}; "
            "assemble makes one of bricks"
        )
    return Generalist.load(generalist)


def assemble(
    bricks: BrickLike | Iterable[BrickLike],
    method: str = DEFAULT_METHOD,
    *,
    coefficients: Coefficients = "auto",
    sites: str = "auto",
    rank: int | None = None,
    settings: Mapping[str, Any] | None = None,
    svc: bool = False,
    slope: float | None = None,
    seed: int = 0,
    mode: str = "auto",
    stamp: Stamp = Stamp(),
) -> Generalist:
    """Merge bricks into one generalist, without data and without training.

    Args:
        bricks: one or more, of one base at one input size; also as brick files, or a folder of
            them. Several of one task are its sites and
            become one capability: a method sees their mean, one head answers for all.
        method: a name of `METHODS`.
        coefficients: `auto` or another name of `RULES`, one number for every task, or one per
            brick. The first two are a task's, and its sites share it by their weights; the last
            is taken as it is. A brick whose number is zero is not in the merge, which has the bytes
            of one without it; its head stays, and targets that it alone has come out as zero.
        sites: how a task's sites weigh, see `medlego.merge.sites.Sites`; kept in the recipe.
        rank: cut the merged deltas to this rank; what None means is the method's own.
        settings: the method's own, for example `{"density": 0.3}`; kept in the recipe.
        svc: calibrate singular values after the merge, see `calibrate_singular_values`.
        slope: how much later blocks weigh more, see `medlego.merge.depth`; what None means is
            `default_slope` with `auto`, else 0.
        seed: of methods that draw; kept in the recipe.
        mode: how the generalist works, see `medlego.merge.Mode`; the merge is made in any case.
            `auto` is `routed` where every task has a brick with a profile, else `merged`.
        stamp: when and by whom, for the lineage; nothing by default.

    Raises:
        MergeError: bricks that do not go together, an unknown method, settings, coefficients or
            weights of sites that do not fit; all problems in one message.
        BrickError: a brick file that cannot be read.
    """
    bricks = open_bricks(bricks)
    problems = conflicts(bricks)
    merger: Method | None = None
    with collect(problems):
        merger = find_method(method)
        complete = merger.check_settings(settings or {})
    with collect(problems):
        weights = site_weights(bricks, sites)
    with collect(problems):
        check_kind(coefficients, len(bricks))
    with collect(problems):
        check_slope(slope or 0.0)
    with collect(problems):
        chosen_mode = choose_mode(mode, bricks)
    if rank is not None and rank < 1:
        problems.append(f"rank: expected at least 1, got {rank}")
    if merger is not None and merger.needs_grams:
        lacking = [brick.task.name for brick in bricks if not brick.grams]
        if lacking:
            problems.append(
                f"method {method!r}: expected bricks with Grams, got none in {', '.join(lacking)}; "
                "retrain with --gram 8"
            )
    raise_all(MergeError, "assemble", problems)
    assert merger is not None
    own = capabilities(bricks, sites)
    provider = METHODS.provider(method)
    slope_given = slope is not None
    if slope is None:
        by_default = isinstance(coefficients, str) and coefficients == AUTO
        slope = default_slope(method, bricks) if by_default else 0.0

    def merge(numbers: Sequence[float]) -> Merged:
        there, nonzero = present(bricks, numbers), [c for c in numbers if c]
        if merger.needs_grams:
            vectors, totals = [brick.deltas for brick in there], nonzero
            grams = grams_by_target(there)
        else:
            (vectors, totals), grams = task_vectors(there, nonzero), None
        merged = merger(vectors, totals, rank, settings=complete, seed=seed, grams=grams)
        if provider is not None:
            raise_all(MergeError, f"method {method!r}", merged_problems(merged, vectors))
        return calibrate_singular_values(merged, vectors, totals) if svc else merged

    with one_thread():
        resolved = share_out(coefficients, bricks, weights, merge, merger.auto)
        tasks = {brick.task.name for brick in present(bricks, resolved)}
        merged = with_slope(merge(resolved), len(tasks), slope)
    recipe = Recipe(
        bricks=tuple(
            Ingredient(task=b.task.name, digest=b.digest, coefficient=c)
            for b, c in zip(bricks, resolved, strict=True)
        ),
        method=method,
        settings=complete,
        svc=svc,
        slope=slope,
        slope_given=slope_given,
        rank=rank,
        coefficients=coefficients if isinstance(coefficients, str) else GIVEN,
        number=float(coefficients) if isinstance(coefficients, int | float) else None,
        sites=as_sites(sites),
        seed=seed,
        mode=chosen_mode,
        provider=provider,
    )
    targets, loss = all_targets(bricks), merged.relative_loss
    deltas = {t.name: LowRank.zero(t.shape) for t in targets} | dict(merged.deltas)
    whole = Generalist(recipe, tuple(bricks), own, targets, deltas, loss, lineage=())
    return with_first_entry(whole, recipe, stamp)


def with_first_entry(merged: Generalist, recipe: Recipe, stamp: Stamp) -> Generalist:
    """The merge as the first state of a lineage, under a recipe that leads to it."""
    return replace(
        merged,
        recipe=recipe,
        lineage=append_entry((), "assemble", recipe, stamp),
        past=PastStates().plus(recipe, merged.bricks, ()),
    )
