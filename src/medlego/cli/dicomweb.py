"""medlego dicomweb analyse | watch"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import BaseWeights, Device, JsonFile
from medlego.cli.shared import need_extra, resolve_device

if TYPE_CHECKING:
    from medlego.serve import InstanceOutcome, PacsAccess, PollResult

_EXTRA = ("dicomweb", "highdicom", "dicomweb_client")
"""Its name, and what it must hold."""

app = typer.Typer(
    help="Answer the images of a picture archive, and store the answers there as DICOM.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")]
Url = Annotated[str, typer.Option(help="The archive's DICOMweb address, https://HOST/PATH.")]
TokenFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Bearer token for the archive.")
]
PasswordFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A line user:password for the archive.")
]
CaFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Certificates (PEM) that the archive's is checked with."),
]
AllowHttp = Annotated[
    bool,
    typer.Option("--allow-http", help="Reach another machine without TLS, in a closed network."),
]
Saliency = Annotated[
    str, typer.Option("--saliency", help="gradient, rollout, or none for a report alone.")
]


@app.command("analyse")
def analyse_command(
    context: typer.Context,
    directory: Directory,
    url: Url,
    study: Annotated[str, typer.Option(metavar="UID", help="Study instance UID.")],
    series: Annotated[
        str | None, typer.Option(metavar="UID", help="Only this series, by its instance UID.")
    ] = None,
    saliency: Saliency = "gradient",
    token_file: TokenFile = None,
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
    allow_http: AllowHttp = False,
    json: JsonFile = None,
    base_weights: BaseWeights = None,
    device: Device = "auto",
) -> None:
    """Answer a study's images and store a report and saliency captures for each.

    A repeat makes results under the same UIDs, with a newer date.
    """
    from datetime import datetime

    need_extra(*_EXTRA)
    from medlego.base import Base
    from medlego.errors import PacsError
    from medlego.generalist import Generalist
    from medlego.serve import PacsClient, answer_study

    options: Options = context.obj
    pacs = PacsClient(_connection(url, token_file, password_file, ca_file, allow_http))
    generalist = Generalist.load(directory)
    with progress(options) as show:
        answers = answer_study(
            pacs,
            generalist,
            study,
            datetime.now().astimezone().replace(microsecond=0),
            series=series,
            base=Base.find(generalist.base, weights=base_weights),
            method=_method(saliency),
            device=resolve_device(device),
            show=show,
        )
    _show(options, answers)
    emit(options, [answer.as_dict() for answer in answers], json)
    if not any(answer.outcome == "answered" for answer in answers):
        raise PacsError("study: expected an image that can be answered, got none")


@app.command("watch")
def watch_command(
    context: typer.Context,
    directory: Directory,
    url: Url,
    rule: Annotated[
        Path, typer.Option(metavar="FILE", help="TOML file: which images (docs/dicomweb.md).")
    ],
    state: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the watch keeps its journal.")
    ],
    once: Annotated[bool, typer.Option("--once", help="Poll once, then end.")] = False,
    interval: Annotated[float, typer.Option(min=1.0, help="Seconds between polls.")] = 30.0,
    saliency: Saliency = "gradient",
    token_file: TokenFile = None,
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
    allow_http: AllowHttp = False,
    base_weights: BaseWeights = None,
    device: Device = "auto",
) -> None:
    """Answer new images that fit a rule, each once, until stopped.

    Interrupted work is done again, under the same UIDs.
    """
    need_extra(*_EXTRA)
    from medlego.base import Base
    from medlego.errors import PacsError
    from medlego.generalist import Generalist
    from medlego.serve import Journal, PacsClient, PollResult, Rule, Watcher, keep_watching

    options: Options = context.obj
    pacs = PacsClient(_connection(url, token_file, password_file, ca_file, allow_http))
    wanted = Rule.load(rule)
    base = Base.find(Generalist.load(directory).base, weights=base_weights)

    def on_result(result: PollResult) -> None:
        emit(options, asdict(result))
        if result != PollResult() or once:
            say(
                options,
                f"{result.answered} answered, {result.refused} refused, {result.passed} left out, "
                f"{result.postponed} postponed",
            )
        for problem, count in result.problems.items():
            say(options, f"note: {count} refused or postponed: {problem}")

    def on_error(error: PacsError, wait_s: float) -> None:
        say(options, f"note: {error}; next try in {wait_s:g} s")

    with Journal.open(state) as journal:
        watcher = Watcher(
            directory,
            pacs,
            wanted,
            journal,
            base=base,
            method=_method(saliency),
            device=resolve_device(device),
        )
        if once:
            on_result(watcher.poll())
            return
        # A service manager's way to say stop; work under way is put back, as on Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            keep_watching(watcher.poll, interval, on_result=on_result, on_error=on_error)
        except KeyboardInterrupt:
            counts = ", ".join(f"{n} {word}" for word, n in journal.counts().items())
            say(options, f"stopped; in the journal: {counts or 'nothing'}")


def _connection(
    url: str, token: Path | None, password: Path | None, ca: Path | None, allow_http: bool
) -> PacsAccess:
    from medlego.serve import PacsAccess

    return PacsAccess(url, token, password, ca, allow_http)


def _method(saliency: str) -> str | None:
    from medlego.prediction import check_method

    if saliency == "none":
        return None
    check_method(saliency)
    return saliency


def _show(options: Options, instances: list[InstanceOutcome]) -> None:
    """A line per answer, and notes on images without one."""
    rows = []
    predictions = [one.prediction for one in instances]
    for number, prediction in enumerate(predictions, start=1):
        for answer in () if prediction is None else prediction.answers:
            label = ", ".join(answer.labels) or "none of its labels"
            rows.append((str(number), answer.task.name, label, f"{max(answer.probs):.3f}"))
    show_table(options, ("image", "task", "label", "largest probability"), rows)
    abstained = sum(prediction is not None and not prediction.answers for prediction in predictions)
    if abstained:
        say(options, f"note: no answer to {abstained} images; their reports say why")
    for problem, count in Counter(one.problem for one in instances if one.problem).items():
        say(options, f"note: {count} without results: {problem}")
    stored = sum(len(one.results) for one in instances if one.outcome == "answered")
    say(options, f"stored {stored} objects")
