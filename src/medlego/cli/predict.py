"""medlego predict"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medlego.cli.console import Options, emit, show_table
from medlego.cli.shared import BaseWeights, Device, JsonFile, resolve_device


def command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="PNG, JPEG or TIFF.")],
    task: Annotated[str | None, typer.Option(help="Ask this task only.")] = None,
    json: JsonFile = None,
    base_weights: BaseWeights = None,
    device: Device = "auto",
) -> None:
    """Per task the labels of images with their probabilities."""
    from medlego.base import Base
    from medlego.generalist import Generalist
    from medlego.prediction import predict

    options: Options = context.obj
    generalist = Generalist.load(directory)
    predictions = predict(
        generalist,
        images,
        base=Base.find(generalist.base, weights=base_weights),
        task=task,
        device=resolve_device(device),
    )
    rows = [
        (prediction.image, answer.task.name, label, f"{prob:.3f}")
        for prediction in predictions
        for answer in prediction.answers
        for prob, label in sorted(zip(answer.probs, answer.task.labels, strict=True), reverse=True)
    ]
    show_table(options, ("image", "task", "label", "probability"), rows)
    emit(options, [prediction.as_dict() for prediction in predictions], json)
