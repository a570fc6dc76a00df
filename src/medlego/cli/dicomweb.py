"""medlego dicomweb analyse | watch"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from medlego.cli import checks, options
from medlego.cli.terminal import Terminal
from medlego.errors import PacsError

if TYPE_CHECKING:
    from medlego.serve import InstanceOutcome, PacsClient, PollResult


@dataclass(frozen=True)
class Archive:
    """A picture archive, and what is stored there."""

    url: Annotated[str, Option(help="The archive's DICOMweb address, https://HOST/PATH.")]
    token_file: Annotated[Path | None, Option(help="Bearer token for the archive.")] = None
    password_file: Annotated[Path | None, Option(help="A line user:password for the archive.")] = (
        None
    )
    ca_file: Annotated[
        Path | None, Option(help="Certificates (PEM) to check the archive's with.")
    ] = None
    allow_http: Annotated[
        bool, Option("--allow-http", help="Reach another machine without TLS, in a closed network.")
    ] = False
    saliency: Annotated[
        str,
        Option(help="{medlego.prediction.saliency.explain:METHODS}, or none for a report alone."),
    ] = "gradient"

    def connect(self) -> PacsClient:
        """A client of the archive; refuses to go on without the libraries for it."""
        checks.need_extra("dicomweb", "highdicom", "dicomweb_client")
        from medlego.serve import PacsAccess, PacsClient

        secrets = self.token_file, self.password_file
        return PacsClient(PacsAccess(self.url, *secrets, self.ca_file, self.allow_http))

    @property
    def method(self) -> str | None:
        """The saliency method; None for none."""
        from medlego.prediction import check_method

        if self.saliency == "none":
            return None
        check_method(self.saliency)
        return self.saliency


def analyse_command(
    terminal: Terminal,
    directory: options.Directory,
    study: Annotated[str, Option(metavar="UID", help="Study instance UID.")],
    *,
    series: Annotated[
        str | None, Option(metavar="UID", help="Only this series, by its instance UID.")
    ] = None,
    archive: Archive,
    compute: options.Compute,
) -> None:
    r"""Answer a study's images and store a report and saliency captures for each.

    A repeat stores results under the same UIDs, with a newer date.

    Example:
        medlego dicomweb analyse generalist --study 1.2.840.1 \
            --url https://pacs/dicom-web
    """
    from datetime import datetime

    pacs = archive.connect()
    from medlego.generalist import Generalist
    from medlego.serve import answer_study

    generalist = Generalist.load(directory)
    with terminal.progress() as show:
        instances = answer_study(
            pacs,
            generalist,
            study,
            datetime.now().astimezone().replace(microsecond=0),
            series=series,
            base=compute.find(generalist.base),
            method=archive.method,
            device=compute.place,
            show=show,
        )
    _show(terminal, instances)
    terminal.emit([instance.as_dict() for instance in instances])
    if not any(instance.outcome == "answered" for instance in instances):
        raise PacsError("study: expected an image that can be answered, got none")


def watch_command(
    terminal: Terminal,
    directory: options.Directory,
    rule: Annotated[Path, Option(help="TOML file: which images (docs/dicomweb.md).")],
    state: Annotated[Path, Option(metavar="FOLDER", help="Where the watch keeps its journal.")],
    *,
    once: Annotated[bool, Option("--once", help="Poll once, then end.")] = False,
    interval: Annotated[float, Option(min=1.0, help="Seconds between polls.")] = 30.0,
    archive: Archive,
    compute: options.Compute,
) -> None:
    r"""Answer new images that fit a rule, each once, until stopped.

    Interrupted work is done again, under the same UIDs.

    Example:
        medlego dicomweb watch generalist --rule rule.toml --state watch/ \
            --url https://pacs/dicom-web
    """
    pacs = archive.connect()
    from medlego.generalist import Generalist
    from medlego.serve import Journal, PollResult, Rule, Watcher, keep_watching

    loaded_rule = Rule.load(rule)
    base = compute.find(Generalist.load(directory).base)
    days = f" of the last {loaded_rule.within_days} days" if loaded_rule.within_days else ""
    nothing = [f"no new {'/'.join(loaded_rule.modality)} images{days} fit {rule}"]

    def on_result(result: PollResult) -> None:
        terminal.emit(asdict(result), line=not once)
        if result != PollResult() or once:
            terminal.say(
                f"{result.answered} answered, {result.refused} refused, {result.passed} left out, "
                f"{result.postponed} postponed"
            )
        if result == PollResult() and nothing:
            terminal.note(nothing.pop())
        for problem, count in result.problems.items():
            terminal.note(f"{count} refused or postponed: {problem}")

    def on_error(error: PacsError, wait_s: float) -> None:
        terminal.note(f"{error}; next try in {wait_s:g} s")

    with Journal.open(state) as journal:
        watcher = Watcher(
            directory,
            pacs,
            loaded_rule,
            journal,
            base=base,
            method=archive.method,
            device=compute.place,
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
            terminal.say(f"stopped; in the journal: {counts or 'nothing'}")


def _show(terminal: Terminal, instances: list[InstanceOutcome]) -> None:
    """A line per answer, and notes on images without one."""
    rows = []
    predictions = [one.prediction for one in instances]
    for number, prediction in enumerate(predictions, start=1):
        for answer in () if prediction is None else prediction.answers:
            label = ", ".join(answer.labels) or "none of its labels"
            rows.append((str(number), answer.task.name, label, f"{max(answer.probs):.3f}"))
    terminal.table(("image", "task", "label", "largest probability"), rows)
    abstained = sum(prediction is not None and not prediction.answers for prediction in predictions)
    if abstained:
        terminal.note(f"no answer to {abstained} images; their reports say why")
    for problem, count in Counter(one.problem for one in instances if one.problem).items():
        terminal.note(f"{count} without results: {problem}")
    stored = sum(len(one.results) for one in instances if one.outcome == "answered")
    terminal.say(f"stored {stored} objects")
