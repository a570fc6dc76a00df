"""medlego predict"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from medlego.cli import options
from medlego.cli.summaries import profile_notes
from medlego.cli.terminal import Terminal
from medlego.errors import GeneralistError, SettingsError

if TYPE_CHECKING:
    from medlego.prediction import Answer, Prediction

MAX_PRINTED = 200
"""Images answered without --output: they are held in memory, and nobody reads a longer table."""
MAX_IN_FULL = 10
"""Images whose every label is printed; of more, those that are answered."""


@dataclass(frozen=True)
class Batch:
    """A job over many images."""

    input: Annotated[
        str | None,
        Option(
            metavar="FOLDER|TABLE",
            help="Many images: those below a folder, or in the column path of a CSV or Parquet "
            "table (TABLE@FOLDER if they lie elsewhere).",
        ),
    ] = None
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Table for the answers, .csv or .parquet; any number."),
    ] = None
    limit: Annotated[int | None, Option(help="Answer only the first N images.")] = None
    batch_size: Annotated[int | None, Option(help="Images per forward pass; 64 by default.")] = None
    workers: Annotated[
        int | None, Option(help="Decoding threads per device; one per core by default.")
    ] = None
    engine: Annotated[
        str | None,
        Option(help="local (the default), or ray: the cluster of $RAY_ADDRESS, else this machine."),
    ] = None

    @property
    def settings(self) -> dict[str, Any]:
        """What was set besides input and output."""
        names = ("limit", "batch_size", "workers", "engine")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def sources(self, images: list[Path]) -> str | Path | list[Path] | None:
        """What a job answers; None where there is no job.

        Raises:
            SettingsError: options that need each other, or --output has another ending.
        """
        from medlego.support import table_suffix

        if self.output is not None:
            table_suffix(self.output)
            if self.input is not None and images:
                raise SettingsError("IMAGE: expected it without --input, got both; choose one")
            if self.input is None and not images:
                raise SettingsError("--output: expected images for it, got none; add IMAGE")
            return self.input or (images[0] if len(images) == 1 else images)
        settings = {"input": self.input} if self.input is not None else self.settings
        if settings:
            word = f"--{next(iter(settings)).replace('_', '-')}"
            raise SettingsError(f"{word}: expected it with --output, got it alone; add --output")
        return None


def command(
    terminal: Terminal,
    directory: options.Directory,
    images: Annotated[
        list[Path] | None,
        Argument(
            metavar="IMAGE…",
            help="PNG, JPEG, JPEG 2000, TIFF, BMP, PGM, DICOM or NIfTI; a folder of them; a table "
            "with a column path.",
        ),
    ] = None,
    *,
    task: Annotated[
        str | None, Option(help="Answer this task for every image, without routing.")
    ] = None,
    every_task: Annotated[
        bool, Option("--every-task", help="Answer every task for every image, without routing.")
    ] = False,
    any_object: Annotated[
        bool,
        Option(
            "--any-object",
            help="Answer DICOM objects that are no images of patients too: segmentations, dose "
            "maps, localizers, screen saves.",
        ),
    ] = False,
    mode: Annotated[
        str | None, Option(help="{medlego.cli.summaries:MODES}; the generalist's own by default.")
    ] = None,
    saliency: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Write a saliency overlay of each answer as PNG."),
    ] = None,
    saliency_method: Annotated[
        str, Option(help="{medlego.prediction.saliency.explain:METHODS}.")
    ] = "gradient",
    batch: Batch,
    compute: options.Compute,
) -> None:
    """Find the tasks that images belong to, and show their labels with probabilities.

    An image that is out of distribution for every task gets the reason instead of an answer.

    With --output, any number of images are answered into a table, on all cores and GPUs. An
    interrupted job resumes when you repeat the command; OUTPUT.job holds what is done until OUTPUT
    is complete. Unreadable images get a row that says why.

    Example:
        medlego predict generalist scan.dcm
        medlego predict generalist images/ -o answers.csv
    """
    if task is not None and every_task:
        raise GeneralistError("--every-task: expected it without --task, got both; choose one")
    selection = {"task": task, "every_task": every_task, "mode": mode, "any_object": any_object}
    sources = batch.sources(images or [])
    if sources is not None:
        if saliency is not None:
            raise SettingsError("--saliency: expected it without --output, got both; choose one")
        document: Any = _run_job(terminal, directory, sources, batch, compute, selection)
    elif images:
        overlays = saliency, saliency_method
        document = _answer(terminal, directory, _few(images), overlays, compute, selection)
    else:
        raise SettingsError("IMAGE: expected at least one, got none; add some")
    terminal.emit(document)


def _few(images: list[Path]) -> list[Path]:
    """The image files, and those in folders and tables."""
    from medlego.prediction import list_images

    files = [Path(image.name) for image in islice(list_images(images), MAX_PRINTED + 1)]
    if len(files) > MAX_PRINTED:
        raise SettingsError(
            f"IMAGE: expected at most {MAX_PRINTED} images to print, got more; add --output "
            "answers.csv, which takes any number"
        )
    return files


def _run_job(
    terminal: Terminal,
    directory: Path,
    sources: str | Path | list[Path],
    batch: Batch,
    compute: options.Compute,
    selection: dict[str, Any],
) -> dict[str, Any]:
    """Run or resume a job over many images, and summarise it."""
    from medlego.prediction import predict_many

    with terminal.progress() as show:
        summary = predict_many(
            directory,
            sources,
            str(batch.output),
            base_weights=compute.base_weights,
            device=compute.device if batch.engine == "ray" else compute.place,
            show=show,
            **selection,
            **batch.settings,
        )
    if summary.before:
        terminal.say(f"{summary.before:,} of {summary.images:,} images were answered before")
    answers = summary.rows - summary.abstained - summary.unreadable
    rate = (summary.images - summary.before) / summary.seconds
    terminal.say(
        f"{summary.images:,} images: {answers:,} answers, {summary.abstained:,} images without an "
        f"answer, {summary.unreadable:,} unreadable images; {rate:,.1f} images/s"
    )
    terminal.say(f"wrote {batch.output}")
    return summary.as_dict()


def _answer(
    terminal: Terminal,
    directory: Path,
    images: list[Path],
    overlays: tuple[Path | None, str],
    compute: options.Compute,
    selection: dict[str, Any],
) -> list[dict[str, Any]]:
    """Answer a few images and print the answers."""
    from medlego.generalist import Generalist
    from medlego.prediction import check_method, draw_answers, empty_folder, predict

    folder, method = overlays
    if folder is not None:
        check_method(method)
        empty_folder(folder)
    generalist = Generalist.load(directory)
    base, device = compute.find(generalist.base), compute.place
    predictions = predict(generalist, images, base=base, device=device, **selection)
    brief = len(predictions) > MAX_IN_FULL
    rows = [
        (prediction.image, answer.task.name, *row)
        for prediction in predictions
        for answer in prediction.answers
        for row in _labels(answer, brief=brief)
    ]
    terminal.table(("image", "task", "label", "probability"), rows)
    if brief:
        terminal.say("only what is answered is shown; --output answers.csv has every probability")
    problems = [prediction.problem for prediction in predictions if prediction.problem]
    terminal.note(*problems)
    if problems:
        terminal.note(f"{len(problems)} of {len(predictions)} files were not answered")
    if stale := {a.task.name for p in predictions for a in p.answers if a.state == "stale"}:
        terminal.note(
            f"not calibrated, since a merge answers: {', '.join(sorted(stale))}; "
            "medlego head-round fits a calibration to it"
        )
    for prediction in predictions:
        terminal.note(*(f"{prediction.image}: {text}" for text in prediction.warnings))
        _show_route(terminal, prediction, selection["task"])
    if selection["task"] is None and not selection["every_task"]:
        terminal.note(*profile_notes(generalist))
    if folder is not None:
        with terminal.progress() as show:
            paths = draw_answers(
                generalist,
                predictions,
                folder,
                method=method,
                base=base,
                mode=selection["mode"],
                device=device,
                show=show,
            )
        terminal.say(f"overlays in {folder}: {len(paths)}")
        files = Counter(image.name.casefold() for image in images)
        answered = [Path(one.image) for one in predictions for _ in one.answers]
        for image, path in zip(answered, paths, strict=True):
            if files[image.name.casefold()] > 1:
                terminal.note(f"{path.name} is of {image}")
    return [prediction.as_dict() for prediction in predictions]


def _labels(answer: Answer, *, brief: bool) -> list[tuple[str, str]]:
    """Labels with their probabilities, the likeliest first; `brief`: only those answered."""
    pairs = sorted(zip(answer.probs, answer.task.labels, strict=True), reverse=True)
    rows = [(label, f"{p:.3f}") for p, label in pairs if not brief or label in answer.labels]
    return rows or [("none of its labels", "")]


def _show_route(terminal: Terminal, prediction: Prediction, task: str | None) -> None:
    """Why an image has no answer, or what its route says against the answer."""
    route, image = prediction.route, prediction.image
    if route is None:
        return
    if route.reason and not prediction.answers:
        terminal.say(f"no answer: {image}: {route.reason}")
    elif route.reason:
        terminal.note(f"{image}: {route.reason}")
    elif task in route.probs and task not in route.tasks:
        terminal.note(f"{image}: is routed to {', '.join(route.tasks)}, not to {task}")
