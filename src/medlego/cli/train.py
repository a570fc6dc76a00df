"""medlego train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medlego.cli.console import Options, emit, progress, say
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
    Sensitivity,
    Specificity,
    TaskName,
    TrainingSeed,
    TrainingSettings,
)
from medlego.cli.reading import DATA_HELP, default_name, read_data
from medlego.cli.shared import read_hints, read_settings, refuse_existing, told_calibration


def command(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help=DATA_HELP),
    ],
    output: BrickOutput,
    base: Annotated[str, typer.Option(help="'mini' or a timm vision transformer's name.")] = "mini",
    base_weights: BaseWeights = None,
    image_size: Annotated[
        int | None, typer.Option(help="Input side in pixels, a multiple of the patch.")
    ] = None,
    task_name: TaskName = None,
    kind: KindOfTask = None,
    labels: Labels = None,
    labels_map: LabelsMap = None,
    modality: Modality = None,
    body_part: BodyPart = None,
    rank: Annotated[int, typer.Option(help="Rank of each delta.")] = 4,
    targets: Annotated[str, typer.Option(help="Of q, k, v, proj, fc1, fc2.")] = "q,v",
    stem: Annotated[int, typer.Option(help="Leading blocks left unadapted.")] = 0,
    epochs: Epochs = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    merge_aware: Annotated[
        bool,
        typer.Option(
            "--merge-aware", help="Train among others' deltas, as the brick will work in a merge."
        ),
    ] = False,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="Another task's brick that this one will be merged with; repeatable; implies "
            "--merge-aware. Random deltas stand in where there are too few.",
        ),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="An earlier brick of this task to go on from.")
    ] = None,
    gram: Annotated[
        int | None,
        typer.Option(
            help="Keep aggregate statistics of what each layer saw in the brick, for regmean: "
            "this many directions, for example 8. docs/FORMAT.md says what they reveal."
        ),
    ] = None,
    no_profile: Annotated[
        bool,
        typer.Option(
            "--no-profile",
            help="Leave out the aggregate statistics of the training images by which a generalist "
            "knows what this brick is for. docs/FORMAT.md says what they reveal.",
        ),
    ] = False,
    profile_epsilon: Annotated[
        float | None,
        typer.Option(
            help="Release these statistics with Gaussian noise, differentially private of each "
            "image; 3 is a usual one. Two runs then differ in the noise."
        ),
    ] = None,
    profile_delta: Annotated[
        float | None, typer.Option(help="The delta beside that epsilon; 1e-5 if left out.")
    ] = None,
    no_calibration: Annotated[
        bool,
        typer.Option(
            "--no-calibration",
            help="Leave probabilities as the head gives them. Without it they are calibrated on "
            "val, where it has enough images.",
        ),
    ] = False,
    sensitivity: Sensitivity = None,
    specificity: Specificity = None,
    seed: TrainingSeed = 0,
    data_seed: DataSeed = 0,
    plain_lora: Annotated[
        bool, typer.Option("--plain-lora", help="Train plain LoRA, for comparison.")
    ] = False,
    settings: TrainingSettings = None,
    device: Device = "auto",
    data_note: DataNote = None,
    licence: Licence = None,
    force: Force = False,
) -> None:
    """Train a specialist: one brick on a frozen base.

    Killed, it goes on where its last epoch ended when the same command runs again.
    """
    from medlego.base import Base
    from medlego.bricks import MIN_PROFILE_IMAGES, load_brick, load_bricks, save_brick
    from medlego.data import describe
    from medlego.train import TrainSettings, train_brick

    options: Options = context.obj
    refuse_existing(output, force)
    flags: dict[str, Any] = {
        "rank": rank,
        "targets": tuple(targets.split(",")),
        "stem": stem,
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "gram": gram,
        "parametrisation": "lora" if plain_lora else None,
        "merge_aware": merge_aware or bool(others) or None,
        "profile": False if no_profile else None,
        "profile_epsilon": profile_epsilon,
        "profile_delta": profile_delta,
        "calibrate": False if no_calibration else None,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }
    given = read_settings(settings) | {k: v for k, v in flags.items() if v is not None}
    chosen = TrainSettings.build(**given)
    earlier = None if start is None else load_brick(start)
    hints = read_hints(task_name or default_name(data), kind, labels, modality, body_part)
    with progress(options) as show:
        dataset = read_data(data, hints, seed=data_seed, labels_map=labels_map, show=show)
        show("loading base", 0, 0)
        frozen = Base.load(base, weights=base_weights, image_size=image_size)
        frozen.keep()
        partial = output.with_name(f"{output.name}.partial")
        brick = train_brick(
            frozen,
            dataset,
            chosen,
            start=earlier,
            others=load_bricks(others or []),
            checkpoint=partial,
            device=device,
            data_note=data_note,
            licence=licence,
            show=show,
        )
        save_brick(brick, output)
    for note in dataset.notes:
        say(options, f"note: {note}")
    if brick.profile is None and chosen.profile:
        say(
            options,
            f"note: no profile, since there are fewer than {MIN_PROFILE_IMAGES} training images: a "
            "generalist cannot tell by itself which images are this brick's",
        )
    counts = ", ".join(
        f"{n} {label}" for label, n in describe(dataset.train, dataset.task.labels).items()
    )
    best = {k: v for k, v in brick.card.scores.items() if not k.startswith("loss")}
    say(options, f"task {brick.task.name} ({brick.task.kind}); trained on {counts}")
    say(
        options,
        f"best epoch {brick.settings['best_epoch']} of {brick.settings['epochs']}; validation "
        + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in best.items()),
    )
    say(options, f"calibration: {told_calibration(brick.calibration, brick.task)}")
    say(options, f"wrote {output} ({output.stat().st_size / 1e6:.2f} MB, {brick.digest[:12]})")
    emit(
        options,
        {
            "output": str(output),
            "digest": brick.digest,
            "task": brick.task.model_dump(mode="json"),
            "validation": brick.card.scores,
            "settings": dict(brick.settings),
            "calibration": None
            if brick.calibration is None
            else brick.calibration.model_dump(mode="json"),
        },
    )
