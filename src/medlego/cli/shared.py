"""What several verbs need, how they read their options' texts, and what they show."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medlego.cli.console import Options, say, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medlego.bricks import Brick, BrickSignature
    from medlego.data import Task
    from medlego.generalist import Generalist, Stamp
    from medlego.metrics import Calibration


def need_extra(extra: str, *modules: str) -> None:
    """Refuse to go on without the libraries of an extra.

    Raises:
        SettingsError: one is missing.
    """
    from medlego.errors import SettingsError

    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise SettingsError(
                f"{extra}: expected its libraries, found one missing ({error}); "
                f"pip install 'medlego[{extra}]'"
            ) from error


def refuse_existing(output: Path, force: bool) -> None:
    """Before any work: no file may lie where one will be written, and its folder must."""
    from medlego.errors import SettingsError

    if output.exists() and not force:
        raise SettingsError(
            f"{output}: expected a new file, found one; choose another or pass --force"
        )
    _refuse_homeless(output)


def refuse_nowhere(output: Path) -> None:
    """Before any work: a file can be written there, in place of another or new."""
    from medlego.errors import SettingsError

    if output.is_dir():
        raise SettingsError(f"{output}: expected a file to write, found a folder; name a file")
    _refuse_homeless(output)


def _refuse_homeless(output: Path) -> None:
    from medlego.errors import SettingsError

    if not output.parent.is_dir():
        raise SettingsError(f"{output.parent}: expected a folder, found none; make it first")


def read_hints(
    name: str | None,
    kind: str | None,
    labels: str | None,
    modality: str | None,
    body_part: str | None,
) -> Any:
    """What flags say of a task, as `TaskHints`."""
    from medlego.data import TaskHints, find_kind
    from medlego.errors import SettingsError

    try:
        kind = None if kind is None else find_kind(kind).name
    except ValueError as error:
        raise SettingsError(f"--kind: {error}") from error
    return TaskHints(
        name=name,
        kind=kind,
        labels=None if labels is None else tuple(part.strip() for part in labels.split(",")),
        modality=modality,
        body_part=body_part,
    )


def read_settings(path: Path | None) -> dict[str, Any]:
    """The keys of a TOML file, or none."""
    from medlego.errors import SettingsError
    from medlego.support import load_tables

    return {} if path is None else load_tables(path, SettingsError, "training settings")


def read_coefficients(text: str) -> str | float | tuple[float, ...]:
    """A rule's name, one number, or numbers separated by commas."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def read_method_settings(texts: list[str]) -> dict[str, float]:
    """`NAME=NUMBER` texts as a mapping."""
    from medlego.errors import MergeError

    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise MergeError(f"--set: expected NAME=NUMBER, got {text!r}") from None
        found[name] = int(number) if number.is_integer() else number
    return found


def resolve_device(device: str) -> str:
    """`auto` becomes a GPU where there is one."""
    from medlego.errors import SettingsError

    if device == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise SettingsError(f"--device: expected cpu, cuda or auto, got {device!r}")
    return device


def stamp_of(by: str | None, key: Path | None) -> Stamp:
    """This moment, by that name, with that key."""
    from medlego.bricks import load_signer
    from medlego.generalist import Stamp

    return Stamp.now(by, None if key is None else load_signer(key))


def signatures_of(
    paths: Sequence[Path], bricks: Sequence[Brick], trust: Path | None
) -> list[BrickSignature]:
    """The signatures that lie beside brick files; with a trust file every brick must have one."""
    from datetime import UTC, datetime

    from medlego.bricks import signature_beside
    from medlego.errors import MedLegoError, SignatureError, raise_all
    from medlego.generalist import Trust

    allowed = None if trust is None else Trust.load(trust)
    now, found, problems = datetime.now(UTC), [], []
    for path, brick in zip(paths, bricks, strict=True):
        try:
            signature = signature_beside(path)
            if allowed is not None:
                allowed.check_brick(brick, signature, now)
        except MedLegoError as error:
            problems.append(str(error))
            continue
        if signature is not None and signature.digest == brick.digest:
            found.append(signature)
    if len(problems) == 1:
        raise SignatureError(problems[0])
    raise_all(SignatureError, "signatures", problems)
    return found


def show_sites(options: Options, generalist: Generalist) -> None:
    """Print the sites of every task that has several: their bricks, labels and weights."""
    from medlego.merge import stated_images

    for held in generalist.capabilities:
        if len(held.bricks) == 1:
            continue
        rows = []
        for brick, weight in zip(held.bricks, held.weights, strict=True):
            images = stated_images(brick)
            counted = "?" if images is None else f"{images:,}"
            rows.append((brick.digest[:12], ", ".join(brick.task.labels), counted, f"{weight:.4g}"))
        title = f"{held.task.name}: {len(rows)} sites, {len(held.task.labels)} labels together"
        show_table(options, ("site's brick", "labels", "train images", "weight"), rows, title)
        for note in held.notes:
            say(options, f"note: {note}")


def show_mode(options: Options, generalist: Generalist) -> None:
    """Print how a generalist works, and which tasks share images."""
    from medlego.prediction import groups, profiles

    held = generalist.capabilities
    say(options, f"works {generalist.recipe.mode}: {_MODE[generalist.recipe.mode]}")
    for group in groups(held):
        if len(group) > 1:
            say(
                options,
                f"share images, so that one image may be answered by each: {', '.join(group)}",
            )
    unknown = [c.task.name for c in held if not profiles(c)]
    if unknown and len(unknown) < len(held):
        say(options, f"note: without a profile, asked only by --task: {', '.join(unknown)}")


_MODE = {
    "merged": "one model for all tasks",
    "grouped": "images go to the merge of their modality and body part",
    "routed": "images go to their own tasks' bricks",
}


def told_calibration(calibration: Calibration | None, task: Task) -> str:
    """One line: which map of how many images, what it gains, and thresholds that were chosen."""
    if calibration is None:
        return "none"
    methods = ", ".join(dict.fromkeys(own.method for own in calibration.maps))
    gain = f"log loss {calibration.loss_before:.3f} to {calibration.loss_after:.3f}"
    told = f"{methods}, of {calibration.images} images, {gain}"
    if (point := calibration.operating) is not None:
        labels = task.labels[-len(point.thresholds) :]
        limits = ", ".join(
            f"{label} above {'?' if limit is None else f'{limit:.3f}'}"
            for label, limit in zip(labels, point.thresholds, strict=True)
        )
        told += f"; {limits} for a {point.aim} of {point.value:g}"
    return told
