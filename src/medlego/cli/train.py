"""medlego train"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from medlego.cli import checks, options
from medlego.cli.summaries import calibration_line, scores_line, show_dataset, show_new_brick
from medlego.cli.terminal import Terminal


def command(
    terminal: Terminal,
    data: options.Data,
    output: options.NewBrick,
    *,
    base: options.BaseName = "mini",
    image_size: options.ImageSize = None,
    task: options.TaskOptions,
    reading: options.Reading,
    training: options.TrainingOptions,
    targets: Annotated[
        str | None, Option(help="Adapted maps: {medlego.base:TARGET_KINDS}; q,v by default.")
    ] = None,
    stem: Annotated[
        int | None, Option(help="Leading blocks that are not adapted; 0 by default.")
    ] = None,
    views: Annotated[
        int | None,
        Option(
            help="Augmentations of each image that are made once, for example 4; their tokens "
            "after the stem are kept. Faster, more memory. By default each step makes new ones."
        ),
    ] = None,
    batch_size: Annotated[int | None, Option(help="Images per step; 32 by default.")] = None,
    merge_aware: Annotated[
        bool, Option("--merge-aware", help="Train with other bricks' deltas, as in a merge.")
    ] = False,
    others: Annotated[
        list[Path] | None,
        Option(
            "--with",
            metavar="BRICK",
            help="Another task's brick that this one will be merged with; repeatable; implies "
            "--merge-aware. Random deltas stand in if there are too few.",
        ),
    ] = None,
    start: Annotated[
        Path | None, Option(metavar="BRICK", help="An earlier brick of this task to continue from.")
    ] = None,
    gram: Annotated[
        int | None,
        Option(
            help="Keep statistics of each layer's inputs in the brick, for regmean: this many "
            "directions, for example 8. docs/FORMAT.md says what they reveal."
        ),
    ] = None,
    no_profile: Annotated[
        bool,
        Option(
            "--no-profile",
            help="Leave out the statistics of the training images by which a generalist routes "
            "images to this brick. docs/FORMAT.md says what they reveal.",
        ),
    ] = False,
    profile_epsilon: Annotated[
        float | None,
        Option(
            help="Add Gaussian noise to these statistics: differential privacy for each image, "
            "with this epsilon, for example 3. Two runs then differ in the noise."
        ),
    ] = None,
    profile_delta: Annotated[
        float | None, Option(help="The delta for that epsilon; 1e-5 by default.")
    ] = None,
    no_calibration: Annotated[
        bool,
        Option(
            "--no-calibration",
            help="Do not calibrate probabilities. By default they are calibrated on val, if it "
            "has enough images.",
        ),
    ] = False,
    sensitivity: options.Sensitivity = None,
    specificity: options.Specificity = None,
    plain_lora: Annotated[
        bool, Option("--plain-lora", help="Train plain LoRA, for comparison.")
    ] = False,
    compute: options.Compute,
    force: options.Force = False,
) -> None:
    """Train a specialist: one brick on a frozen base.

    An interrupted run resumes after its last epoch when you repeat the command. Runs are
    reproducible.

    Example:
        medlego train brain/ --modality MR -o brain.safetensors
        medlego train chest.csv --sensitivity 0.95 -o chest.safetensors
    """
    from medlego.bricks import MIN_PROFILE_IMAGES, load_brick, load_bricks, save_brick
    from medlego.train import train_brick

    checks.refuse_existing(output, force)
    callbacks = training.callbacks(output, force)
    settings = training.build(
        targets=None if targets is None else tuple(targets.split(",")),
        stem=stem,
        views=views,
        batch_size=batch_size,
        gram=gram,
        parametrisation="lora" if plain_lora else None,
        merge_aware=merge_aware or bool(others) or None,
        profile=False if no_profile else None,
        profile_epsilon=profile_epsilon,
        profile_delta=profile_delta,
        calibrate=False if no_calibration else None,
        sensitivity=sensitivity,
        specificity=specificity,
    )
    earlier = None if start is None else load_brick(start)
    with terminal.progress() as show:
        dataset = reading.read(data, task.hints(data), show)
    show_dataset(terminal, dataset)
    with terminal.progress() as show:
        show("loading base", 0, 0)
        brick = train_brick(
            compute.load(base, image_size),
            dataset,
            settings,
            start=earlier,
            others=load_bricks(others or []),
            checkpoint=output.with_name(f"{output.name}.partial"),
            callbacks=callbacks,
            device=compute.place,
            data_note=training.data_note,
            licence=training.licence,
            save=partial(save_brick, path=output),
            show=show,
        )
    if brick.profile is None and settings.profile:
        terminal.note(
            f"no profile, since it needs {MIN_PROFILE_IMAGES} training images: a generalist "
            "cannot route images to this brick"
        )
    epochs = f"best epoch {brick.settings['best_epoch']} of {brick.settings['epochs']}"
    terminal.say(f"{epochs}; validation {scores_line(brick.card.scores)}")
    missing = brick.missing_thresholds
    terminal.say(f"calibration: {calibration_line(brick.calibration, brick.task, missing)}")
    show_new_brick(
        terminal,
        brick,
        output,
        task=brick.task.model_dump(mode="json"),
        validation=brick.card.scores,
        settings=dict(brick.settings),
        calibration=brick.calibration and brick.calibration.model_dump(mode="json"),
        missing_thresholds=missing,
    )
