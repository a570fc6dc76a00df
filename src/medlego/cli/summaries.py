"""What several verbs show of bricks and generalists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medlego.cli.terminal import Terminal

if TYPE_CHECKING:
    from medlego.bricks import Brick, Card
    from medlego.data import Dataset, Task
    from medlego.generalist import Generalist
    from medlego.merge import Mode
    from medlego.metrics import Calibration

MODES: dict[Mode, str] = {
    "merged": "one model for all tasks",
    "grouped": "images go to the merge of their modality and body part",
    "routed": "images go to their own task's bricks",
}


def show_dataset(terminal: Terminal, dataset: Dataset) -> None:
    """Say what will be trained on, before it is."""
    from medlego.data import describe, positive_line

    task = dataset.task
    counts = describe(dataset.train, task.labels).items()
    terminal.note(*dataset.notes)
    terminal.say(
        f"task {task.name} ({task.kind}); training images: "
        + ", ".join(f"{count} {label}" for label, count in counts)
    )
    if task.positive is not None:
        terminal.say(positive_line(task))


def show_mended(terminal: Terminal, card: Card) -> None:
    """Say what reading the images of a training had to mend or to leave out."""
    from medlego.base import LEFT_OUT

    terminal.note(
        *(
            f"{count} images {about}; medlego data check names them"
            if about == LEFT_OUT
            else f"{count} images were mended while read: {about}"
            for about, count in card.mended.items()
        )
    )


def show_new_brick(terminal: Terminal, brick: Brick, output: Path, **facts: Any) -> None:
    """Say where a brick was written, and emit its digest with further facts."""
    show_mended(terminal, brick.card)
    size = output.stat().st_size / 1e6
    terminal.say(f"wrote {output} ({size:.2f} MB, {brick.digest[:12]})")
    terminal.emit({"output": str(output), "digest": brick.digest, **facts})


def scores_line(scores: Mapping[str, float]) -> str:
    """A card's validation scores; `merged` ends the names of those measured in a merge."""
    from medlego.bricks import IN_MERGE

    return ", ".join(
        f"{name.replace(IN_MERGE, ' merged').replace('_', ' ')} {value:.3f}"
        for name, value in scores.items()
    )


def show_sites(terminal: Terminal, generalist: Generalist) -> None:
    """Print the sites of every task that has several: their bricks, labels and weights."""
    from medlego.merge import stated_images

    for capability in generalist.capabilities:
        if len(capability.bricks) == 1:
            continue
        rows = []
        for brick, weight in zip(capability.bricks, capability.weights, strict=True):
            images = stated_images(brick)
            count = "?" if images is None else f"{images:,}"
            rows.append((brick.digest[:12], ", ".join(brick.task.labels), count, f"{weight:.4g}"))
        task = capability.task
        title = f"{task.name}: {len(rows)} sites, {len(task.labels)} labels together"
        terminal.table(("site's brick", "labels", "train images", "weight"), rows, title)
        terminal.note(*capability.notes)


def show_mode(terminal: Terminal, generalist: Generalist) -> None:
    """Print how a generalist works, and which tasks share images."""
    from medlego.prediction import groups

    mode = generalist.recipe.mode
    terminal.say(f"mode {mode}: {MODES[mode]}")
    for group in groups(generalist.capabilities):
        if len(group) > 1:
            terminal.say(f"may each answer the same image: {', '.join(group)}")
    terminal.note(*profile_notes(generalist))


def profile_notes(generalist: Generalist) -> list[str]:
    """What follows for routing if tasks have no profile."""
    from medlego.prediction import profiles

    missing = [c.task.name for c in generalist.capabilities if not profiles(c)]
    if len(missing) == len(generalist.tasks):
        return ["no brick has a profile, so every task answers every image"]
    return [f"no profile, so only --task asks for it: {', '.join(missing)}"] if missing else []


def calibration_line(calibration: Calibration | None, task: Task, missing: str | None) -> str:
    """One line: which map of how many images, what it gains, thresholds, and `missing` ones."""
    missing = f"; {missing}" if missing else ""
    if calibration is None:
        return f"none{missing}"
    methods = ", ".join(dict.fromkeys(label.method for label in calibration.maps))
    if methods == "none":
        line = f"none needed ({calibration.images} images, log loss {calibration.loss_before:.3f})"
    else:
        gain = f"log loss {calibration.loss_before:.3f} to {calibration.loss_after:.3f}"
        line = f"{methods}, from {calibration.images} images, {gain}"
    if (point := calibration.operating) is not None:
        labels = task.labels[-len(point.thresholds) :]
        limits = ", ".join(
            f"{label} above {'?' if limit is None else f'{limit:.3f}'}"
            for label, limit in zip(labels, point.thresholds, strict=True)
        )
        line += f"; {limits} for a {point.aim} of {point.value:g}"
    return line + missing
