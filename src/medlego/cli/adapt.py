"""medlego adapt"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import (
    BaseWeights,
    BodyPart,
    BrickOutput,
    DataNote,
    DataSeed,
    Device,
    Epochs,
    Force,
    KindOfTask,
    Labels,
    LabelsMap,
    Licence,
    Modality,
    TaskName,
    TrainingSeed,
    TrainingSettings,
)
from medlego.cli.reading import DATA_HELP, default_name, read_data
from medlego.cli.shared import read_hints, read_settings, refuse_existing


def command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")],
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help=f"The new task. {DATA_HELP}"),
    ],
    output: BrickOutput,
    start: Annotated[
        list[str] | None,
        typer.Option(
            help="plain (the base alone), head (the same, the head fitted before), merged (a new "
            "brick on the frozen merge), directions (a new brick from the merge's leading "
            "directions) or coefficients (only how the bricks are weighed), all three with the "
            "head fitted before; repeatable. Left out, plain, merged and directions are tried."
        ),
    ] = None,
    cut: Annotated[
        int | None,
        typer.Option(help="Cut the brick's deltas to this rank; the loss is reported."),
    ] = None,
    task_name: TaskName = None,
    kind: KindOfTask = None,
    labels: Labels = None,
    labels_map: LabelsMap = None,
    modality: Modality = None,
    body_part: BodyPart = None,
    rank: Annotated[int, typer.Option(help="Rank of what is trained.")] = 4,
    epochs: Epochs = None,
    seed: TrainingSeed = 0,
    data_seed: DataSeed = 0,
    settings: TrainingSettings = None,
    base_weights: BaseWeights = None,
    device: Device = "auto",
    data_note: DataNote = None,
    licence: Licence = None,
    force: Force = False,
) -> None:
    """Learn a new task from a generalist; the start that is best on validation is kept.

    The brick stands on the plain base like any other: `medlego edit add` takes it in. Killed, it
    goes on where it ended when the same command runs again.
    """
    from medlego.base import Base
    from medlego.bricks import save_brick
    from medlego.generalist import Generalist
    from medlego.train import DEFAULT_STARTS, TrainSettings, adapt

    options: Options = context.obj
    refuse_existing(output, force)
    flags: dict[str, Any] = {"rank": rank, "epochs": epochs, "seed": seed}
    given = read_settings(settings) | {k: v for k, v in flags.items() if v is not None}
    hints = read_hints(task_name or default_name(data), kind, labels, modality, body_part)
    chosen = TrainSettings.build(**given)
    generalist = Generalist.load(directory)
    with progress(options) as show:
        dataset = read_data(data, hints, seed=data_seed, labels_map=labels_map, show=show)
        found = adapt(
            generalist,
            dataset,
            chosen,
            base=Base.find(generalist.base, weights=base_weights),
            starts=start or DEFAULT_STARTS,
            rank=cut,
            checkpoint=output.with_name(f"{output.name}.partial"),
            device=device,
            data_note=data_note,
            licence=licence,
            show=show,
        )
        save_brick(found.brick, output)
    for note in dataset.notes:
        say(options, f"note: {note}")
    rows = [
        (
            attempt.start + " *" * (attempt.start == found.chosen),
            f"{attempt.score:.3f}",
            f"{attempt.brick.settings['best_epoch']} of {attempt.brick.settings['epochs']}",
            str(max(delta.rank for delta in attempt.brick.deltas.values())),
        )
        for attempt in found.attempts
    ]
    show_table(options, ("start", "validation", "best epoch", "rank"), rows, found.brick.task.name)
    if cut is not None:
        say(options, f"lost by the cut: {found.relative_loss:.2%} of the Frobenius norm")
    size = output.stat().st_size / 1e6
    say(options, f"wrote {output} ({size:.2f} MB, {found.brick.digest[:12]})")
    emit(
        options,
        {
            "output": str(output),
            "digest": found.brick.digest,
            "chosen": found.chosen,
            "starts": {a.start: list(a.history) for a in found.attempts},
            "relative_loss": found.relative_loss,
            "task": found.brick.task.model_dump(mode="json"),
        },
    )
