"""medlego demo"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from medlego.cli import options
from medlego.cli.evaluate import show_report
from medlego.cli.terminal import Terminal
from medlego.errors import DatasetError

if TYPE_CHECKING:
    from medlego.data import Dataset


def command(
    terminal: Terminal,
    *,
    output: Annotated[Path, Option("--output", "-o", help="Directory to fill.")] = Path("demo"),
    data: Annotated[
        Path | None,
        Option(metavar="DIR", help="Folder of data sets to use instead of synthetic ones."),
    ] = None,
    base: options.BaseName = "mini",
    image_size: options.ImageSize = None,
    epochs: Annotated[int, Option(help="Epochs per brick.")] = 10,
    compute: options.Compute,
) -> None:
    """Train specialists, assemble a generalist, evaluate it and predict with it; offline.

    Example:
        medlego demo -o demo/
    """
    from medlego.cli.demo_run import SETTINGS, SYNTHETIC_NOTE, run_demo, synthetic_datasets
    from medlego.train import TrainSettings

    if data is None:
        terminal.say("SYNTHETIC DATA: medlego draws these images to look like X-ray, ultrasound,")
        terminal.say("MRI and microscopy. The scores say nothing about real images.")
    output.mkdir(parents=True, exist_ok=True)
    with terminal.progress() as show:
        frozen = compute.load(base, image_size)
        datasets = synthetic_datasets(frozen.ref.image_size) if data is None else _read_all(data)
        result = run_demo(
            frozen,
            datasets,
            output,
            settings=TrainSettings.build(**dict(SETTINGS) | {"epochs": epochs}),
            note=SYNTHETIC_NOTE if data is None else "",
            device=compute.place,
            show=show,
        )
    show_report(terminal, result.report)
    prediction, generalist = result.prediction, result.generalist
    rows = [
        (answer.task.name, label, f"{prob:.3f}")
        for answer in prediction.answers
        for prob, label in zip(answer.probs, answer.task.labels, strict=True)
    ]
    title = f"{prediction.image}, mode {generalist.recipe.mode}"
    terminal.table(("task", "label", "probability"), rows, title)
    terminal.say(f"that image's task is {generalist.tasks[0].name}, its label {result.truth}")
    terminal.say(f"page: {output / 'report.html'}   picture: {output / 'report.png'}")
    terminal.say(f"generalist: {output / 'generalist'}")
    terminal.say(f"try: medlego predict {output / 'generalist'} {prediction.image}")
    terminal.emit(result.report.as_dict(), output / "report.json")


def _read_all(folder: Path) -> dict[str, Dataset]:
    from medlego.data import load_dataset

    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder of data sets, found none")
    sources = [p for p in sorted(folder.iterdir()) if p.is_dir() or p.suffix in (".npz", ".csv")]
    datasets = [load_dataset(source) for source in sources]
    return {dataset.task.name: dataset for dataset in datasets}
