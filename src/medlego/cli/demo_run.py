"""The whole way once: specialists are trained, become one generalist, are measured and used."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from medlego.base import Base
from medlego.bricks import MIN_PROFILE_IMAGES, Brick, load_brick, save_brick
from medlego.data import SYNTHETIC_TASKS, Dataset, synthetic_dataset
from medlego.errors import DatasetError
from medlego.evaluation import Report, evaluate, find_examples, plot_report
from medlego.generalist import DOCUMENT, Generalist, assemble
from medlego.images import Image
from medlego.prediction import Prediction, predict
from medlego.support import Progress, silent
from medlego.train import TrainSettings, log_csv, train_brick

SYNTHETIC_NOTE = "synthetic images drawn by medlego; no patient is behind them"
SETTINGS = TrainSettings(
    epochs=10, batch_size=16, learning_rate=5e-3, singular_rate=3e-2, head_rate=5e-3
)
"""Few, large steps: the best of three tried on validation of two of the synthetic tasks."""


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What a demo made."""

    generalist: Generalist
    report: Report
    prediction: Prediction
    truth: str


def synthetic_datasets(size: int, seed: int = 0) -> dict[str, Dataset]:
    """The four synthetic tasks at an image size."""
    return {name: synthetic_dataset(name, size=size, seed=seed) for name in SYNTHETIC_TASKS}


def run_demo(
    base: Base,
    datasets: Mapping[str, Dataset],
    directory: Path,
    *,
    settings: TrainSettings = SETTINGS,
    note: str = "",
    device: str = "auto",
    show: Progress = silent,
) -> DemoResult:
    """Train a brick per data set, assemble, evaluate, save picture and page, predict one image.

    Args:
        base: the frozen backbone.
        datasets: one per task, by task name.
        directory: where bricks, generalist, report and example images go. Bricks of an earlier
            run with the same settings are used again; a killed run goes on.
        settings: of training.
        note: a line below the picture.
        device: `cpu`, `cuda` or `auto`.
        show: called with what is under way.

    Raises:
        DatasetError: fewer than two data sets, or something else lies at `directory`.
    """
    if len(datasets) < 2:
        raise DatasetError(f"demo: expected at least two data sets, got {len(datasets)}")
    for folder in ("bricks", "images"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    bricks = []
    for name, dataset in datasets.items():
        path = directory / "bricks" / f"{name}.brick.safetensors"
        bricks.append(_brick(base, dataset, path, settings, device, show))
    show("assemble", 0, 1)
    generalist = assemble(bricks)
    if (directory / "generalist" / DOCUMENT).is_file():
        shutil.rmtree(directory / "generalist")
    generalist.save(directory / "generalist")
    report = evaluate(generalist, datasets, base=base, show=show)
    title = f"{len(bricks)} specialists of {base.ref.name} as one generalist"
    plot_report(report, directory / "report.png", title=title, note=note)
    examples = find_examples(report, generalist, base=base, show=show)
    report.save(directory / "report.html", examples=examples, title=title)
    first = next(iter(datasets.values()))
    images = [directory / "images" / f"{name}.png" for name in datasets]
    for path, dataset in zip(images, datasets.values(), strict=True):
        _write_png(dataset.test.images[0], path)
    (prediction,) = predict(generalist, images[:1], base=base)
    return DemoResult(generalist, report, prediction, _truth(first))


def _brick(
    base: Base, dataset: Dataset, path: Path, settings: TrainSettings, device: str, show: Progress
) -> Brick:
    """The brick at a path if it was trained with the same settings; else a new one, saved there."""
    if path.exists():
        brick = load_brick(path)
        expected = settings.of_training().items()
        same = all(brick.settings.get(key) == value for key, value in expected if value is not None)
        can_know = settings.profile and len(dataset.train) >= MIN_PROFILE_IMAGES
        known = brick.profile is not None or not can_know
        if same and known and brick.base == base.ref and brick.task == dataset.task:
            return brick

    def named(what: str, done: int, total: int) -> None:
        show(f"{dataset.task.name}: {what}", done, total)

    return train_brick(
        base,
        dataset,
        settings,
        checkpoint=path.with_name(f"{path.name}.partial"),
        callbacks=[log_csv(path)],
        device=device,
        save=partial(save_brick, path=path),
        show=named,
    )


def _truth(dataset: Dataset) -> str:
    """The first test image's label in words."""
    label = np.atleast_1d(dataset.test.labels[0])
    if dataset.test.labels.ndim == 1:
        return dataset.task.labels[int(label[0])]
    return ", ".join(np.array(dataset.task.labels)[label == 1]) or "none"


def _write_png(image: Image, path: Path) -> None:
    pixels = (image.pixels * 255).round().byte().permute(1, 2, 0).numpy()
    Pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
