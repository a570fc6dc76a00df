"""A generalist: merged deltas on one base, every brick's head beside them, and its recipe."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from medlego.adapters import fold
from medlego.base import Base, BaseRef, Digest
from medlego.brick import Brick
from medlego.brickfile import load_brick, save_brick
from medlego.errors import GeneralistError, MergeError, raise_all
from medlego.files import write_atomically
from medlego.lowrank import LowRank, canonical_problems
from medlego.merge import DEFAULT_METHOD, Coefficients, find_method, resolve_coefficients
from medlego.targets import Target
from medlego.task import Task
from medlego.threads import one_thread

DOCUMENT = "generalist.json"
MERGED = "merged.safetensors"
BRICKS = "bricks"

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Ingredient(BaseModel):
    """One brick of a recipe, by digest, with its coefficient."""

    model_config = _FROZEN

    task: str
    digest: Digest
    coefficient: Annotated[float, Field(allow_inf_nan=False)]


class Recipe(BaseModel):
    """What rebuilds a generalist: bricks in order, coefficients, method and settings."""

    model_config = _FROZEN

    bricks: Annotated[tuple[Ingredient, ...], Field(min_length=1)]
    method: str
    rank: Annotated[int, Field(ge=1)] | None = None
    coefficients: Literal["auto", "given"]
    seed: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's JSON; a generalist's identity."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Step(BaseModel):
    """One entry of a lineage: what was done, and the recipe that it led to."""

    model_config = _FROZEN

    action: str
    recipe: Digest


class _Document(BaseModel):
    model_config = _FROZEN

    format: Literal[1]
    recipe: Recipe
    lineage: Annotated[tuple[Step, ...], Field(min_length=1)]
    relative_loss: Annotated[float, Field(ge=0, le=1)]
    merged_sha256: Digest


@dataclass(frozen=True, eq=False)
class Generalist:
    """A base's merged deltas with all heads side by side; operations return new ones.

    `deltas` are the merged deltas by target name; `relative_loss` is the share of their
    Frobenius norm that a cut to a rank lost.
    """

    recipe: Recipe
    bricks: tuple[Brick, ...]
    targets: tuple[Target, ...]
    deltas: Mapping[str, LowRank]
    relative_loss: float
    lineage: tuple[Step, ...]

    @property
    def base(self) -> BaseRef:
        """The base that all bricks stand on."""
        return self.bricks[0].base

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One task per brick, in the recipe's order."""
        return tuple(brick.task for brick in self.bricks)

    def brick(self, task: str) -> Brick:
        """The brick of a task.

        Raises:
            GeneralistError: no such task.
        """
        for brick in self.bricks:
            if brick.task.name == task:
                return brick
        names = ", ".join(t.name for t in self.tasks)
        raise GeneralistError(f"task: expected one of {names}, got {task!r}")

    def fold(self, base: Base) -> nn.Module:
        """The base's module with the merged deltas in its weights: no slower than the base.

        Raises:
            GeneralistError: another base than the bricks'.
        """
        if base.ref != self.base:
            raise GeneralistError(
                f"base: expected {self.base.name} {self.base.fingerprint[:12]}… at "
                f"{self.base.image_size} px, got {base.ref.name} {base.ref.fingerprint[:12]}… at "
                f"{base.ref.image_size} px; use Base.find(generalist.base)"
            )
        return fold(base.module, self.targets, self.deltas)

    def save(self, directory: str | Path) -> None:
        """Write the generalist to a new directory, whole or not at all.

        Raises:
            GeneralistError: something else lies there already.
        """
        path = Path(directory)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise GeneralistError(f"{path}: expected a new directory, found one; choose another")
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            self._write(scratch)
            scratch.chmod(0o755)
            scratch.replace(path)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _write(self, directory: Path) -> None:
        (directory / BRICKS).mkdir()
        for brick in self.bricks:
            save_brick(brick, directory / BRICKS / f"{brick.digest}.brick.safetensors")
        tensors = {
            f"delta.{name}.{part}": getattr(delta, part).contiguous()
            for name, delta in self.deltas.items()
            for part in ("U", "S", "Vh")
        }
        merged = save(tensors)
        document = _Document(
            format=1,
            recipe=self.recipe,
            lineage=self.lineage,
            relative_loss=self.relative_loss,
            merged_sha256=hashlib.sha256(merged).hexdigest(),
        )
        write_atomically(directory / MERGED, merged)
        text = json.dumps(document.model_dump(mode="json"), indent=2, sort_keys=True)
        write_atomically(directory / DOCUMENT, (text + "\n").encode())

    @classmethod
    def load(cls, directory: str | Path) -> Generalist:
        """Read and validate a generalist.

        Raises:
            GeneralistError: files are missing, damaged, or do not belong together.
            BrickError: one of its bricks is damaged.
        """
        path = Path(directory)
        document = _read_document(path)
        bricks = tuple(_read_brick(path, item) for item in document.recipe.bricks)
        raise_all(GeneralistError, str(path), _conflicts(bricks))
        targets = _all_targets(bricks)
        deltas = _read_merged(path, document.merged_sha256, targets)
        return cls(
            document.recipe, bricks, targets, deltas, document.relative_loss, document.lineage
        )


def assemble(
    bricks: Sequence[Brick],
    method: str = DEFAULT_METHOD,
    *,
    coefficients: Coefficients = "auto",
    rank: int | None = None,
    seed: int = 0,
) -> Generalist:
    """Merge bricks into one generalist, without data and without training.

    Args:
        bricks: one or more, of one base at one input size, one per task.
        method: a name of `METHODS`.
        coefficients: `auto`, one number for all, or one per brick.
        rank: cut the merged deltas to this rank; what None means is the method's own.
        seed: of methods that draw; kept in the recipe.

    Raises:
        MergeError: bricks that do not go together, an unknown method, or coefficients that do
            not fit; all problems in one message.
    """
    problems = _conflicts(bricks)
    chosen, resolved = None, ()
    try:
        chosen = find_method(method)
    except MergeError as error:
        problems.append(str(error))
    try:
        resolved = resolve_coefficients(coefficients, len(bricks)) if bricks else ()
    except MergeError as error:
        problems.append(str(error))
    if rank is not None and rank < 1:
        problems.append(f"rank: expected at least 1, got {rank}")
    raise_all(MergeError, "assemble", problems)
    assert chosen is not None
    with one_thread():
        merged = chosen.merge([brick.deltas for brick in bricks], resolved, rank)
    recipe = Recipe(
        bricks=tuple(
            Ingredient(task=b.task.name, digest=b.digest, coefficient=c)
            for b, c in zip(bricks, resolved, strict=True)
        ),
        method=method,
        rank=rank,
        coefficients="auto" if coefficients == "auto" else "given",
        seed=seed,
    )
    return Generalist(
        recipe=recipe,
        bricks=tuple(bricks),
        targets=_all_targets(bricks),
        deltas=merged.deltas,
        relative_loss=merged.relative_loss,
        lineage=(Step(action="assemble", recipe=recipe.digest),),
    )


def specialist(brick: Brick) -> Generalist:
    """A brick alone, whole: the generalist of one task."""
    return assemble([brick], "linear", coefficients=1.0)


def bare_base(brick: Brick) -> Generalist:
    """A brick's head on the untouched base: what the deltas are worth is the distance to it."""
    return replace(specialist(brick), targets=(), deltas={})


def _conflicts(bricks: Sequence[Brick]) -> list[str]:
    """Everything that keeps bricks from being merged."""
    if not bricks:
        return ["bricks: expected at least one, got none"]
    problems = []
    first = bricks[0]
    for brick in bricks[1:]:
        problems += _base_conflicts(first, brick)
    for digest, count in Counter(brick.digest for brick in bricks).items():
        if count > 1:
            problems.append(f"brick {digest[:12]}…: expected once, got {count} times; name it once")
    by_name: dict[str, Brick] = {}
    for brick in bricks:
        name, other = brick.task.name, by_name.setdefault(brick.task.name, brick)
        if other.digest != brick.digest and other.task.labels != brick.task.labels:
            problems.append(
                f"task {name!r}: expected labels {list(other.task.labels)}, got "
                f"{list(brick.task.labels)} in another brick; rename one of the tasks"
            )
        elif other.digest != brick.digest:
            problems.append(
                f"task {name!r}: expected one brick, got several; rename one of the tasks"
            )
    return problems + [p for brick in bricks for p in _delta_problems(brick)]


def _base_conflicts(first: Brick, brick: Brick) -> list[str]:
    a, b, problems = first.base, brick.base, []
    subject = f"brick {brick.task.name!r}"
    if a.fingerprint != b.fingerprint:
        problems.append(
            f"{subject}: expected base {a.name} {a.fingerprint[:12]}…, got {b.name} "
            f"{b.fingerprint[:12]}…; retrain it on the others' base"
        )
    elif (a.image_size, a.mean, a.std) != (b.image_size, b.mean, b.std):
        problems.append(
            f"{subject}: expected {a.image_size} px, mean {a.mean}, std {a.std}, got "
            f"{b.image_size} px, {b.mean}, {b.std}; retrain it with the others' input"
        )
    shapes = {target.name: target for target in first.targets}
    if a.fingerprint == b.fingerprint and any(
        shapes.get(target.name, target) != target for target in brick.targets
    ):
        problems.append(f"{subject}: expected the same rows for targets of one name; retrain it")
    return problems


def _delta_problems(brick: Brick) -> list[str]:
    return [
        f"brick {brick.task.name!r}: {name}.{problem}"
        for name, delta in brick.deltas.items()
        for problem in canonical_problems(delta)
    ]


def _all_targets(bricks: Sequence[Brick]) -> tuple[Target, ...]:
    return tuple(dict.fromkeys(target for brick in bricks for target in brick.targets))


def _read_document(path: Path) -> _Document:
    file = path / DOCUMENT
    try:
        return _Document.model_validate(json.loads(file.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        raise GeneralistError(
            f"{path}: expected a generalist's directory, found no {DOCUMENT}; "
            "make one with medlego assemble"
        ) from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise_all(GeneralistError, str(file), problems)
        raise
    except (ValueError, RecursionError, OSError) as error:
        raise GeneralistError(f"{file}: expected a JSON document ({error})") from error


def _read_brick(path: Path, item: Ingredient) -> Brick:
    file = path / BRICKS / f"{item.digest}.brick.safetensors"
    brick = load_brick(file)
    if brick.digest != item.digest or brick.task.name != item.task:
        raise GeneralistError(
            f"{file}: expected brick {item.digest[:12]}… of task {item.task!r}, got "
            f"{brick.digest[:12]}… of {brick.task.name!r}; the directory was changed"
        )
    return brick


def _read_merged(path: Path, digest: str, targets: Sequence[Target]) -> dict[str, LowRank]:
    file = path / MERGED
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise GeneralistError(
                f"{file}: expected SHA-256 {digest[:12]}…, got another; assemble again"
            )
        tensors: dict[str, Any] = load(content)
        deltas = {
            t.name: LowRank(*(tensors[f"delta.{t.name}.{part}"] for part in ("U", "S", "Vh")))
            for t in targets
        }
    except (OSError, SafetensorError, KeyError) as error:
        raise GeneralistError(f"{file}: expected the merged deltas ({error})") from error
    problems = [
        f"{t.name}: expected shape {t.shape}, got {deltas[t.name].shape}"
        for t in targets
        if deltas[t.name].shape != t.shape
    ]
    problems += [f"{n}.{p}" for n, delta in deltas.items() for p in canonical_problems(delta)]
    raise_all(GeneralistError, str(file), problems)
    return deltas
