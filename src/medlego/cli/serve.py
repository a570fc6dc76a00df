"""medlego serve"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from medlego.cli import checks, options
from medlego.cli.terminal import Terminal
from medlego.errors import SettingsError

if TYPE_CHECKING:
    from medlego.data import Dataset, Task
    from medlego.generalist import Generalist
    from medlego.serve import PageGate, PageSettings
    from medlego.support import Progress


def _network(text: str) -> str:
    return str(ip_network(text))


@dataclass(frozen=True)
class PageOptions:
    """What the page lets people do."""

    edits: Annotated[
        bool, Option("--edits", help="Let people on the page add, remove and undo bricks.")
    ] = False
    gate: options.GateFile = None
    data: options.GateData = None
    trust: Annotated[
        Path | None,
        Option(
            help="Trust file: the page shows whose signatures hold, and accepts no other brick."
        ),
    ] = None
    beside: Annotated[
        list[str] | None,
        Option(metavar="NAME=DIR", help="A generalist to compare with on the page; repeatable."),
    ] = None

    def settings(self, generalist: Generalist) -> PageSettings:
        """These options for a generalist's page.

        Raises:
            MedLegoError: a file that cannot be read, or options that do not go together.
        """
        from medlego.generalist import Trust
        from medlego.serve import PageSettings

        if (self.gate is None) != (not self.data):
            raise SettingsError("--gate and --data: expected both or neither, got one")
        if self.gate is not None and not self.edits:
            raise SettingsError("--gate: expected together with --edits, got it alone; add --edits")
        return PageSettings(
            edits=self.edits,
            gate=None if self.gate is None else _gate(self.gate, self.data or [], generalist),
            trust=None if self.trust is None else Trust.load(self.trust),
            beside=_folders(self.beside or []),
        )


def command(
    terminal: Terminal,
    directory: options.Directory,
    *,
    host: Annotated[
        str, Option(help="Address to listen on; other than this machine's needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    token_file: Annotated[
        Path | None, Option(help="File with the token that every caller must send.")
    ] = None,
    proxy: Annotated[
        list[str] | None,
        Option(
            metavar="ADDRESS",
            parser=_network,
            help="A proxy in front, or its network: its X-Forwarded-For and -Proto are believed; "
            "repeatable.",
        ),
    ] = None,
    limits: Annotated[
        Path | None, Option(help="TOML file with other limits; see docs/serve.md.")
    ] = None,
    page: PageOptions,
    compute: options.Compute,
) -> None:
    """Answer images over HTTP until stopped; an edited generalist is loaded at once.

    A browser shows a page for people at the same address. The log goes to standard error as lines
    of JSON, without anything of an image.

    Example:
        medlego serve generalist --port 8765
        medlego serve generalist --host 0.0.0.0 --token-file token.txt
    """
    checks.need_extra("serve", "fastapi", "uvicorn", "python_multipart", "prometheus_client")
    from medlego.serve import (
        Service,
        ServiceLimits,
        bound,
        check_host,
        log_to,
        make_app,
        read_token,
        serve_app,
    )
    from medlego.support import load_toml

    token = None if token_file is None else read_token(token_file)
    check_host(host, token)
    allowed = (
        ServiceLimits()
        if limits is None
        else load_toml(ServiceLimits, limits, SettingsError, "the service's limits")
    )
    with bound(host, port) as listening:
        service = Service(
            directory, base_weights=compute.base_weights, device=compute.place, limits=allowed
        )
        settings = page.settings(service.model.generalist)
        address = f"[{host}]" if ":" in host else host
        with log_to():
            url = f"http://{address}:{listening.getsockname()[1]}"
            terminal.say(f"serving {directory} at {url}")
            terminal.emit({"directory": str(directory), "url": url})
            app = make_app(service, token=token, page=settings)
            serve_app(app, listening, allowed, proxy or ())


def _gate(path: Path, data: list[str], generalist: Generalist) -> PageGate:
    from medlego.evaluation import GateLimits
    from medlego.serve import PageGate

    pairs, limits = checks.read_pairs("--data", "TASK=DATA", data), GateLimits.load(path)
    recipes = (generalist.recipe, *generalist.past.recipes.values())
    known = {item.task for recipe in recipes for item in recipe.bricks}
    known |= {*limits.require, *limits.task}  # such a task may be added later
    if unknown := [name for name in pairs if name not in known]:
        raise SettingsError(
            f"--data: expected tasks out of {', '.join(sorted(known))}, got {', '.join(unknown)}; "
            f"correct it, or name a task that is to be added in {path}"
        )

    def read(tasks: Sequence[Task], show: Progress) -> Mapping[str, Dataset]:
        return {
            task.name: options.Reading().read_for(task, pairs[task.name], show)
            for task in tasks
            if task.name in pairs
        }

    return PageGate(limits, read)


def _folders(texts: list[str]) -> dict[str, Path]:
    from medlego.generalist import DOCUMENT

    pairs = checks.read_pairs("--beside", "NAME=DIR", texts)
    folders = {name: Path(folder) for name, folder in pairs.items()}
    for folder in folders.values():
        if not (folder / DOCUMENT).is_file():
            raise SettingsError(f"--beside: expected a generalist's directory, got {folder}")
    return folders
