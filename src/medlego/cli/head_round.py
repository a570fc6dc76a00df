"""medlego head-round export | fit | import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from medlego.cli import options
from medlego.cli.summaries import calibration_line, show_mended
from medlego.cli.terminal import Terminal
from medlego.errors import GeneralistError


def export_command(
    terminal: Terminal,
    directory: options.Directory,
    output: Annotated[Path, Option("--output", "-o", help="Folder for the models.")],
    *,
    task: Annotated[
        list[str] | None, Option(help="Only this task; repeatable. All by default.")
    ] = None,
) -> None:
    """Write the merged model for each site: one brick per task, TASK.round.brick.safetensors.

    Example:
        medlego head-round export generalist -o round/
    """
    from medlego.bricks import save_brick
    from medlego.generalist import Generalist
    from medlego.train import export_model

    generalist = Generalist.load(directory)
    names = task or [t.name for t in generalist.tasks]
    files = {name: output / f"{name}.round.brick.safetensors" for name in names}
    models = {name: export_model(generalist, name) for name in files}
    if existing := [str(path) for path in files.values() if path.exists()]:
        raise GeneralistError(
            f"{output}: expected no {', '.join(existing)}; choose another folder or remove them"
        )
    output.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        save_brick(models[name], path)
        terminal.say(f"wrote {path}")
    written = {name: str(path) for name, path in files.items()}
    terminal.emit({"model": generalist.recipe.model, "files": written})


def fit_command(
    terminal: Terminal,
    model: Annotated[Path, Argument(metavar="MODEL", help="What export wrote.")],
    data: options.SiteData,
    output: Annotated[Path, Option("--output", "-o", help="Head file to write.")],
    *,
    keep_head: Annotated[
        bool, Option("--keep-head", help="Fit only the calibration; the head stays as it is.")
    ] = False,
    sensitivity: options.Sensitivity = None,
    specificity: options.Specificity = None,
    reading: options.Reading,
    compute: options.Compute,
) -> None:
    """Fit a task's head and its calibration to merged features of the site's own images.

    Example:
        medlego head-round fit brain.round.brick.safetensors brain/ -o brain.head
    """
    from medlego.bricks import load_brick, save_head
    from medlego.metrics import missing_thresholds
    from medlego.train import TrainSettings, refit_head

    aim = TrainSettings.build(sensitivity=sensitivity, specificity=specificity).aim
    brick = load_brick(model)
    with terminal.progress() as show:
        refit = refit_head(
            brick,
            reading.read_for(brick.task, data, show),
            base=compute.find(brick.base),
            keep_head=keep_head,
            aim=aim,
            device=compute.place,
            show=show,
        )
        save_head(refit, output)
    rows = [(name.replace("_", " "), f"{value:.3f}") for name, value in refit.card.scores.items()]
    terminal.table((f"{refit.task.name} on val", ""), rows)
    show_mended(terminal, refit.card)
    missing = missing_thresholds(aim, refit.calibration, refit.task)
    terminal.say(f"calibration: {calibration_line(refit.calibration, refit.task, missing)}")
    numbers = refit.head.weight.numel() + refit.head.bias.numel()
    terminal.say(f"wrote {output} ({numbers:,} numbers, {refit.digest[:12]})")
    terminal.emit({"output": str(output), "digest": refit.digest, "validation": refit.card.scores})


def import_command(
    terminal: Terminal,
    directory: Annotated[Path, Argument(metavar="DIR", help="The exported generalist.")],
    heads: Annotated[list[Path], Argument(metavar="HEAD…", help="What fit wrote.")],
    output: options.NewDirectory,
    *,
    author: options.Author,
) -> None:
    """Make the generalist that uses the refitted heads.

    Example:
        medlego head-round import generalist brain.head chest.head -o refitted
    """
    from medlego.bricks import load_head
    from medlego.generalist import Generalist
    from medlego.train import with_heads

    before = Generalist.load(directory)
    after = with_heads(before, [load_head(path) for path in heads], stamp=author.stamp())
    after.save(output)
    rows = [
        (task.name, "refitted" if task.name in after.heads else "its bricks' own")
        for task in after.tasks
    ]
    terminal.table(("task", "head"), rows)
    terminal.say(f"wrote {output} (recipe {after.recipe.digest[:12]}); no longer data-free")
    terminal.emit({"output": str(output), "recipe": after.recipe.model_dump(mode="json")})
