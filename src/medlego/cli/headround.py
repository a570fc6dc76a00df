"""medlego head-round export | fit | import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import (
    BaseWeights,
    By,
    DataSeed,
    Device,
    LabelsMap,
    Sensitivity,
    SigningKey,
    Specificity,
)
from medlego.cli.reading import DATA_HELP, read_data_of
from medlego.cli.shared import resolve_device, stamp_of, told_calibration
from medlego.cli.tables import TableCommand

app = typer.Typer(
    help="Let sites refit their heads to a merged model; no image moves, only the heads do.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("export")
def export_command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the models.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Export for this task; repeatable. All by default.")
    ] = None,
) -> None:
    """Write the merged model for each site: one brick per task, TASK.round.brick.safetensors."""
    from medlego.bricks import save_brick
    from medlego.errors import GeneralistError
    from medlego.generalist import Generalist
    from medlego.train import export_model

    options: Options = context.obj
    generalist = Generalist.load(directory)
    names = task or [t.name for t in generalist.tasks]
    files = {name: output / f"{name}.round.brick.safetensors" for name in names}
    models = {name: export_model(generalist, name) for name in files}
    if taken := [str(path) for path in files.values() if path.exists()]:
        raise GeneralistError(
            f"{output}: expected no {', '.join(taken)}; choose another folder or remove them"
        )
    output.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        save_brick(models[name], path)
        say(options, f"wrote {path}")
    emit(
        options,
        {
            "model": generalist.recipe.model,
            "files": {name: str(path) for name, path in files.items()},
        },
    )


@app.command("fit", cls=TableCommand)
def fit_command(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What export wrote.")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help=f"The site's labelled images. {DATA_HELP}")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Head file to write.")],
    keep_head: Annotated[
        bool,
        typer.Option("--keep-head", help="Fit the calibration alone; the head stays as it is."),
    ] = False,
    sensitivity: Sensitivity = None,
    specificity: Specificity = None,
    base_weights: BaseWeights = None,
    data_seed: DataSeed = 0,
    labels_map: LabelsMap = None,
    device: Device = "auto",
) -> None:
    """Fit the task's head and its calibration to merged features of the site's own images."""
    from medlego.base import Base
    from medlego.bricks import load_brick, save_head
    from medlego.train import TrainSettings, refit_head

    options: Options = context.obj
    aim = {"sensitivity": sensitivity, "specificity": specificity}
    brick = load_brick(model)
    with progress(options) as show:
        dataset = read_data_of(brick.task, data, seed=data_seed, labels_map=labels_map, show=show)
        refit = refit_head(
            brick,
            dataset,
            base=Base.find(brick.base, weights=base_weights),
            keep_head=keep_head,
            aim=TrainSettings.build(**aim).aim,
            device=resolve_device(device),
            show=show,
        )
        save_head(refit, output)
    rows = [(name.replace("_", " "), f"{value:.3f}") for name, value in refit.card.scores.items()]
    show_table(options, (f"{refit.task.name} on val", ""), rows)
    say(options, f"calibration: {told_calibration(refit.calibration, refit.task)}")
    numbers = refit.head.weight.numel() + refit.head.bias.numel()
    say(options, f"wrote {output} ({numbers:,} numbers, {refit.digest[:12]})")
    emit(
        options,
        {"output": str(output), "digest": refit.digest, "validation": refit.card.scores},
    )


@app.command("import")
def import_command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The generalist exported.")],
    heads: Annotated[list[Path], typer.Argument(metavar="HEAD…", help="What fit wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to make.")],
    by: By = None,
    key: SigningKey = None,
) -> None:
    """Make the generalist that reads its merge with the refitted heads."""
    from medlego.bricks import load_head
    from medlego.generalist import Generalist
    from medlego.train import with_heads

    options: Options = context.obj
    before = Generalist.load(directory)
    after = with_heads(before, [load_head(path) for path in heads], stamp=stamp_of(by, key))
    after.save(output)
    rows = [
        (task.name, "refitted" if task.name in after.heads else "its bricks' own")
        for task in after.tasks
    ]
    show_table(options, ("task", "head"), rows)
    say(options, f"wrote {output} (recipe {after.recipe.digest[:12]}); no longer data-free")
    emit(options, {"output": str(output), "recipe": after.recipe.model_dump(mode="json")})
