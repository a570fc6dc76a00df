"""What predictions rest on, drawn into a folder: one picture for every image and task answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medlego.base import Base
from medlego.errors import SettingsError
from medlego.generalist import Generalist
from medlego.images import read_image
from medlego.prediction.answers import Answer, Prediction
from medlego.prediction.saliency.explain import explain
from medlego.prediction.saliency.overlay import save_overlay
from medlego.support import Progress, silent


def draw_answers(
    generalist: Generalist,
    predictions: Sequence[Prediction],
    folder: Path,
    *,
    method: str = "gradient",
    base: Base | None = None,
    mode: str | None = None,
    device: str = "cpu",
    show: Progress = silent,
) -> list[Path]:
    """Draw the likeliest label of every answer over its image.

    Args:
        generalist: what predicted.
        predictions: of image files; one without answers gets no picture.
        folder: where pictures go, see `picture_names`.
        method, base, mode, device: as for `explain` and `predict`.
        show: called with what is under way.

    Returns:
        The files written, in the order of predictions and answers.

    Raises:
        ImageError: a file that cannot be read any more.
    """
    answers = [(p.image, answer) for p in predictions for answer in p.answers]
    names = picture_names([(image, answer.task.name) for image, answer in answers], method)
    pictures = [(*answer, folder / name) for answer, name in zip(answers, names, strict=True)]
    for task in dict.fromkeys(answer.task.name for _, answer, _ in pictures):
        own = [picture for picture in pictures if picture[1].task.name == task]
        images = [read_image(image, any_object=True) for image, _, _ in own]
        maps = explain(
            generalist,
            images,
            task,
            label=[_likeliest(answer) for _, answer, _ in own],
            method=method,
            base=base,
            mode=mode,
            device=device,
            show=show,
        )
        for image, (*_, path), saliency in zip(images, own, maps, strict=True):
            save_overlay(image, saliency, path)
    return [path for _, _, path in pictures]


def picture_names(inputs: Sequence[tuple[str, str]], method: str) -> list[str]:
    """`IMAGE.TASK.METHOD.png` for every image and task; a number is added to a name met before.

    Args:
        inputs: pairs of an image's path, of which only the file's name is kept, and a task's name.
        method: of the saliency.

    Returns:
        File names in order, different even where a file system ignores case.
    """
    taken: set[str] = set()
    names = []
    for path, task in inputs:
        stem = f"{Path(path).name}.{task}.{method}"
        name, number = f"{stem}.png", 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}.png"
        taken.add(name.casefold())
        names.append(name)
    return names


def empty_folder(folder: Path) -> None:
    """Make a folder, or take one that is there and empty: no picture takes another's place.

    Raises:
        SettingsError: something lies there, or it cannot be made.
    """
    try:
        folder.mkdir(exist_ok=True)
        filled = any(folder.iterdir())
    except OSError as error:
        raise SettingsError(
            f"{folder}: expected a place for a folder ({error.strerror}); make its parent first"
        ) from error
    if filled:
        raise SettingsError(f"{folder}: expected an empty folder, got a filled one; choose another")


def _likeliest(answer: Answer) -> str:
    return answer.task.labels[answer.probs.index(max(answer.probs))]
