"""medlego adapt"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from typer import Option

from medlego.cli import checks, options
from medlego.cli.summaries import show_dataset, show_new_brick
from medlego.cli.terminal import Terminal


def command(
    terminal: Terminal,
    directory: options.Directory,
    data: options.Data,
    output: options.NewBrick,
    *,
    start: Annotated[
        list[str] | None,
        Option(
            help="{medlego.train:CHOICES}; repeatable. {medlego.train:DEFAULT_STARTS} by default."
        ),
    ] = None,
    cut: Annotated[
        int | None, Option(help="Truncate the brick's deltas to this rank; the loss is reported.")
    ] = None,
    task: options.TaskOptions,
    reading: options.Reading,
    training: options.TrainingOptions,
    compute: options.Compute,
    force: options.Force = False,
) -> None:
    """Train a brick for a new task from a generalist; keep the start that is best on val.

    The brick stands on the plain base like any other: medlego edit add takes it in. An
    interrupted run resumes when you repeat the command.

    Example:
        medlego adapt generalist skin/ -o skin.safetensors
    """
    from medlego.bricks import save_brick
    from medlego.generalist import Generalist
    from medlego.train import DEFAULT_STARTS, adapt

    checks.refuse_existing(output, force)
    callbacks = training.callbacks(output, force, start or DEFAULT_STARTS)
    settings = training.build()
    generalist = Generalist.load(directory)
    with terminal.progress() as show:
        dataset = reading.read(data, task.hints(data), show)
    show_dataset(terminal, dataset)
    with terminal.progress() as show:
        result = adapt(
            generalist,
            dataset,
            settings,
            base=compute.find(generalist.base),
            starts=start or DEFAULT_STARTS,
            rank=cut,
            checkpoint=output.with_name(f"{output.name}.partial"),
            callbacks=callbacks,
            device=compute.place,
            data_note=training.data_note,
            licence=training.licence,
            save=partial(save_brick, path=output),
            show=show,
        )
    rows = [
        (
            attempt.start + " *" * (attempt.start == result.chosen),
            f"{attempt.score:.3f}",
            f"{attempt.brick.settings['best_epoch']} of {attempt.brick.settings['epochs']}",
            str(max(delta.rank for delta in attempt.brick.deltas.values())),
        )
        for attempt in result.attempts
    ]
    columns = ("start", "validation", "best epoch", "rank")
    terminal.table(columns, rows, result.brick.task.name)
    if cut is not None:
        terminal.say(f"truncation lost {result.relative_loss:.2%} of the Frobenius norm")
    show_new_brick(
        terminal,
        result.brick,
        output,
        chosen=result.chosen,
        starts={attempt.start: list(attempt.history) for attempt in result.attempts},
        relative_loss=result.relative_loss,
        task=result.brick.task.model_dump(mode="json"),
    )
