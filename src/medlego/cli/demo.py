"""medlego demo"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.evaluate import show_report
from medlego.cli.options import BaseWeights, Device

if TYPE_CHECKING:
    from medlego.data import Dataset


def command(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to fill.")] = Path(
        "demo"
    ),
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of data sets to use in place of synthetic ones."),
    ] = None,
    base: Annotated[str, typer.Option(help="'mini' or a timm vision transformer's name.")] = "mini",
    base_weights: BaseWeights = None,
    image_size: Annotated[int | None, typer.Option(help="Input side in pixels.")] = None,
    epochs: Annotated[int, typer.Option(help="Epochs a brick.")] = 10,
    device: Device = "auto",
) -> None:
    """Train specialists, assemble a generalist, evaluate it and predict with it; offline."""
    from medlego.base import Base
    from medlego.cli.demo_run import SETTINGS, SYNTHETIC_NOTE, run_demo, synthetic_datasets
    from medlego.train import TrainSettings

    options: Options = context.obj
    note = ""
    if data is None:
        note = SYNTHETIC_NOTE
        say(options, "SYNTHETIC DATA: these images are drawn by medlego to look like X-ray,")
        say(options, "ultrasound, MRI and microscopy. The scores say nothing about real images.")
    with progress(options) as show:
        frozen = Base.load(base, weights=base_weights, image_size=image_size)
        frozen.keep()
        datasets = synthetic_datasets(frozen.ref.image_size) if data is None else _read_all(data)
        result = run_demo(
            frozen,
            datasets,
            output,
            settings=TrainSettings.build(**SETTINGS.model_dump() | {"epochs": epochs}),
            note=note,
            device=device,
            show=show,
        )
    show_report(options, result.report)
    prediction = result.prediction
    rows = [
        (answer.task.name, label, f"{prob:.3f}")
        for answer in prediction.answers
        for prob, label in zip(answer.probs, answer.task.labels, strict=True)
    ]
    mode = result.generalist.recipe.mode
    show_table(options, ("task", "label", "probability"), rows, f"{prediction.image}, works {mode}")
    first = result.generalist.tasks[0].name
    say(options, f"that image belongs to {first}; its label is: {result.truth}")
    say(options, f"page: {output / 'report.html'}   picture: {output / 'report.png'}")
    say(options, f"generalist: {output / 'generalist'}")
    say(options, f"try: medlego predict {output / 'generalist'} {prediction.image}")
    emit(options, result.report.as_dict(), output / "report.json")


def _read_all(folder: Path) -> dict[str, Dataset]:
    from medlego.data import load_dataset
    from medlego.errors import DatasetError

    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder of data sets, found none")
    sources = [p for p in sorted(folder.iterdir()) if p.is_dir() or p.suffix in (".npz", ".csv")]
    datasets = [load_dataset(source) for source in sources]
    return {dataset.task.name: dataset for dataset in datasets}
