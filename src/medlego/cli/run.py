"""medlego run"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from medlego.cli.terminal import Terminal
from medlego.errors import TrainingError, raise_all


def command(
    terminal: Terminal,
    experiment: Annotated[Path, Argument(metavar="TOML", help="The experiment's file.")],
    output: Annotated[
        Path, Option("--output", "-o", help="Folder for all results: new, or this experiment's.")
    ],
    *,
    device: Annotated[str, Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Run a whole experiment: data sets, training, seeds, merge methods and evaluation.

    An interrupted run resumes when you repeat the command.

    Example:
        medlego run experiment.toml -o results
    """
    from medlego.support import plain
    from medlego.train import run_experiment

    with terminal.progress() as show:
        result = run_experiment(experiment, output, device=device, show=show)
    if result.untouched:
        terminal.say(f"{output}: finished before; nothing to do")
    columns, rows = result.table()
    title = "balanced accuracy, mean over tasks and seeds [lowest–highest seed]"
    terminal.table(columns, rows, title)
    terminal.say(f"every score: {output / 'results.csv'}   table: {output / 'results.md'}")
    terminal.emit(
        {
            "output": str(output),
            "untouched": result.untouched,
            "table": [dict(zip(columns, row, strict=True)) for row in rows],
            "scores": plain(result.scores),
            "failures": list(result.failures),
        }
    )
    raise_all(TrainingError, str(experiment), result.failures)
