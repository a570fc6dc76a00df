"""medlego check"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import BaseWeights, DataSeed, Device, JsonFile, LabelsMap
from medlego.cli.reading import read_task_data
from medlego.cli.shared import resolve_device

if TYPE_CHECKING:
    from medlego.evaluation import GateReport


def command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What is to go live.")],
    data: Annotated[list[str], typer.Option(metavar="TASK=DATA", help="Labelled images.")],
    against: Annotated[Path, typer.Option(metavar="DIR", help="What it takes the place of.")],
    gate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Limits in TOML; see docs/FORMAT.md.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
    json: JsonFile = None,
    base_weights: BaseWeights = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap replicates.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    data_seed: DataSeed = 0,
    labels_map: LabelsMap = None,
    device: Device = "auto",
) -> None:
    """Hold what changes between two generalists against limits; exit code 1 where one is broken."""
    from medlego.base import Base
    from medlego.errors import CheckError
    from medlego.evaluation import GateLimits, check
    from medlego.generalist import Generalist

    options: Options = context.obj
    limits = GateLimits() if gate is None else GateLimits.load(gate)
    after, before = Generalist.load(directory), Generalist.load(against)
    with progress(options) as show:
        report = check(
            after,
            before,
            read_task_data(after.tasks, data, seed=data_seed, labels_map=labels_map, show=show),
            limits,
            base=Base.find(after.base, weights=base_weights),
            split=split,
            resamples=resamples,
            seed=seed,
            device=resolve_device(device),
            show=show,
        )
    show_gate(options, report)
    emit(options, report.as_dict(), json)
    if not report.passed:
        raise CheckError(failure(report))


def show_gate(options: Options, report: GateReport) -> None:
    """Print a gate's findings as a table."""
    rows = []
    for change in report.tasks:
        worst = change.worst_subgroup
        rows.append(
            (
                change.task,
                "-" if change.before is None else f"{change.before.value:.3f}",
                f"{change.after.value:.3f}",
                "-"
                if change.change is None
                else f"{change.change.value:+.3f} [{change.change.low:+.3f}, "
                f"{change.change.high:+.3f}]",
                "-" if worst is None else f"{worst.name} {worst.change.value:+.3f}",
                change.verdict,
            )
        )
    columns = ("task", "before", "after", "change", "worst subgroup", "verdict")
    show_table(options, columns, rows, f"{report.split} split")
    for change in report.tasks:
        say(options, f"{change.task}: {change.verdict}, {change.reason} ({change.images} images)")
    if report.unchecked:
        say(options, f"not checked, for want of data: {', '.join(report.unchecked)}")
    for note in report.notes:
        say(options, f"note: {note}")


def failure(report: GateReport) -> str:
    """One sentence that names the tasks that failed."""
    bad = [
        f"{change.task} {change.verdict} ({change.reason})"
        for change in report.tasks
        if change.verdict == "fail" or (change.verdict == "unclear" and not report.passed)
    ]
    return f"gate: expected every task to pass, got {'; '.join(bad)}"
