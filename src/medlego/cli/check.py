"""medlego check"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from medlego.cli import options
from medlego.cli.terminal import Terminal
from medlego.errors import CheckError

if TYPE_CHECKING:
    from medlego.evaluation import GateReport


def command(
    terminal: Terminal,
    directory: Annotated[Path, Argument(metavar="DIR", help="The new generalist.")],
    data: options.TaskData,
    against: Annotated[Path, Option(metavar="DIR", help="The one that it replaces.")],
    *,
    gate: Annotated[Path | None, Option(help="Limits in TOML; see docs/FORMAT.md.")] = None,
    scoring: options.Scoring,
    reading: options.Reading,
    compute: options.Compute,
) -> None:
    """Compare two generalists on labelled images; exit code 1 if the change breaks a limit.

    Example:
        medlego check new --against old --data brain=brain/ --gate gate.toml
    """
    from medlego.evaluation import GateLimits, check
    from medlego.generalist import Generalist

    limits = GateLimits() if gate is None else GateLimits.load(gate)
    after, before = Generalist.load(directory), Generalist.load(against)
    with terminal.progress() as show:
        report = check(
            after,
            before,
            reading.read_all(after.tasks, data, show),
            limits,
            base=compute.find(after.base),
            split=scoring.split,
            resamples=scoring.resamples,
            seed=scoring.seed,
            device=compute.place,
            show=show,
        )
    show_gate(terminal, report)
    terminal.emit(report.as_dict())
    if not report.passed:
        raise CheckError(failure(report))


def show_gate(terminal: Terminal, report: GateReport) -> None:
    """Print a gate's findings as a table."""
    rows = []
    for task in report.tasks:
        change, worst = task.change, task.worst_subgroup
        rows.append(
            (
                task.task,
                "-" if task.before is None else task.before.format("{:.3f}"),
                task.after.format("{:.3f}"),
                "-" if change is None else change.format("{:+.3f} [{:+.3f}, {:+.3f}]"),
                "-" if worst is None else f"{worst.name} {worst.change.value:+.3f}",
                task.verdict,
            )
        )
    columns = ("task", "before", "after", "change", "worst subgroup", "verdict")
    terminal.table(columns, rows, f"{report.split} split")
    for task in report.tasks:
        terminal.say(f"{task.task}: {task.verdict}, {task.reason} ({task.images} images)")
    if report.unchecked:
        terminal.say(f"not checked, no data: {', '.join(report.unchecked)}")
    terminal.note(*report.notes)


def failure(report: GateReport) -> str:
    """One sentence that names the tasks that failed."""
    bad = [
        f"{task.task} {task.verdict} ({task.reason})"
        for task in report.tasks
        if not report.limits.accepts(task.verdict)
    ]
    return f"gate: expected every task to pass, got {'; '.join(bad)}"
