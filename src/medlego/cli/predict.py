"""medlego predict"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.many import into_table
from medlego.cli.options import BaseWeights, Device, JsonFile
from medlego.cli.shared import resolve_device

if TYPE_CHECKING:
    from medlego.prediction import Prediction


def command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")],
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE…", help="PNG, JPEG, TIFF, DICOM or NIfTI."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Ask this task, whatever the image looks like.")
    ] = None,
    every_task: Annotated[
        bool, typer.Option("--every-task", help="Ask every task, whatever the image looks like.")
    ] = False,
    mode: Annotated[
        str | None,
        typer.Option(help="merged, grouped or routed; what the generalist was assembled for."),
    ] = None,
    saliency: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write what each answer rests on, as overlays (PNG)."),
    ] = None,
    saliency_method: Annotated[
        str,
        typer.Option(help="gradient (for and against a label) or rollout (attention, any label)."),
    ] = "gradient",
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FOLDER|TABLE",
            help="Many images: those below a folder, or of a CSV or Parquet table's column path "
            "(TABLE@FOLDER where they lie elsewhere).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Parquet file for the answers to --input."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Answer only the first so many.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images that the model sees at a time; 64.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Decoding threads for each device; one a core.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="local, unless said; or ray: the cluster of $RAY_ADDRESS, else this machine."
        ),
    ] = None,
    json: JsonFile = None,
    base_weights: BaseWeights = None,
    device: Device = "auto",
) -> None:
    """Find the tasks that images belong to, and show their labels with probabilities.

    An image that looks like no task's training images gets no answer but the reason.

    With --input and --output any number of images are answered into a Parquet table, with all
    cores and GPUs. The same command goes on with a job that was killed; OUTPUT.job holds what is
    done until OUTPUT is there. Images that cannot be read get a row that says why.
    """
    from medlego.errors import GeneralistError, SettingsError

    options: Options = context.obj
    if task is not None and every_task:
        raise GeneralistError("--every-task: expected it without --task, got both; choose one")
    asked = {"task": task, "every_task": every_task, "mode": mode}
    settings = {"limit": limit, "batch_size": batch_size, "workers": workers, "engine": engine}
    settings = {name: value for name, value in settings.items() if value is not None}
    if source is not None or output is not None:
        here = {"IMAGE": images, "--saliency": saliency}
        if source is None or output is None:
            raise SettingsError("--input: expected it with --output, got one alone; add the other")
        if got := [word for word, value in here.items() if value]:
            raise SettingsError(f"{got[0]}: expected it without --input, got both; choose one")
        of_cluster = engine == "ray" and device == "auto"
        where = {
            "base_weights": base_weights,
            "device": device if of_cluster else resolve_device(device),
        }
        into_table(options, json, directory, source, output, **asked, **settings, **where)
    elif settings:
        word = f"--{next(iter(settings)).replace('_', '-')}"
        raise SettingsError(
            f"{word}: expected it with --input and --output, got neither; add them, or leave it out"
        )
    elif images:
        drawn = (saliency, saliency_method)
        _answer(options, json, directory, images, drawn, asked, base_weights, device)
    else:
        raise SettingsError("IMAGE: expected at least one, got none; add some, or --input")


def _answer(
    options: Options,
    json: Path | None,
    directory: Path,
    images: list[Path],
    drawn: tuple[Path | None, str],
    asked: dict[str, Any],
    base_weights: Path | None,
    device: str,
) -> None:
    """Print what there is to say of a few images."""
    from medlego.base import Base
    from medlego.generalist import Generalist
    from medlego.prediction import predict, profiles

    saliency, saliency_method = drawn
    if saliency is not None:
        from medlego.prediction import check_method, empty_folder

        check_method(saliency_method)
        empty_folder(saliency)
    generalist = Generalist.load(directory)
    base, where = Base.find(generalist.base, weights=base_weights), resolve_device(device)
    predictions = predict(generalist, images, base=base, device=where, **asked)
    rows = [
        (prediction.image, answer.task.name, label, f"{prob:.3f}")
        for prediction in predictions
        for answer in prediction.answers
        for prob, label in sorted(zip(answer.probs, answer.task.labels, strict=True), reverse=True)
    ]
    show_table(options, ("image", "task", "label", "probability"), rows)
    stale = {a.task.name for p in predictions for a in p.answers if a.state == "stale"}
    if stale:
        say(
            options,
            f"note: not calibrated, since a merge answers: {', '.join(sorted(stale))}; "
            "medlego head-round fits a calibration to it",
        )
    for prediction in predictions:
        if note := _note(prediction, asked["task"]):
            say(options, note)
    routed = asked["task"] is None and not asked["every_task"]
    unknown = [c.task.name for c in generalist.capabilities if not profiles(c)]
    if routed and len(unknown) == len(generalist.tasks):
        say(options, "note: no brick has a profile, so every task answers every image")
    elif routed and unknown:
        names = ", ".join(unknown)
        say(options, f"note: without a profile, asked only by --task: {names}")
    if saliency is not None:
        from medlego.prediction import draw_answers

        with progress(options) as show:
            pictures = draw_answers(
                generalist,
                predictions,
                saliency,
                method=saliency_method,
                base=base,
                mode=asked["mode"],
                device=where,
                show=show,
            )
        say(options, f"overlays in {saliency}: {len(pictures)}")
    emit(options, [prediction.as_dict() for prediction in predictions], json)


def _note(prediction: Prediction, task: str | None) -> str:
    """Why an image has no answer, or what its route says against the answer."""
    route, image = prediction.route, prediction.image
    if route is None:
        return ""
    if route.reason:
        return f"{'note' if prediction.answers else 'no answer'}: {image}: {route.reason}"
    if task in route.probs and task not in route.tasks:
        return f"note: {image}: is routed to {', '.join(route.tasks)}, not to {task}"
    return ""
