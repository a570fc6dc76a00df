"""medlego serve"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medlego.cli.console import Options, say
from medlego.cli.options import BaseWeights, Device
from medlego.cli.page import Beside, Edits, GateData, GateFile, Trusted, page_settings
from medlego.cli.shared import need_extra, resolve_device


def command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A generalist.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the token that every caller must send."),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file with other limits; see docs/serve.md."),
    ] = None,
    edits: Edits = False,
    gate: GateFile = None,
    data: GateData = None,
    trust: Trusted = None,
    beside: Beside = None,
    base_weights: BaseWeights = None,
    device: Device = "auto",
) -> None:
    """Answer images over HTTP until it is stopped; an edited generalist is taken in at once.

    A browser finds a page for people at the same address.

    The log goes to standard error as lines of JSON, without anything of an image.
    """
    need_extra("serve", "fastapi", "uvicorn", "python_multipart", "prometheus_client")
    from medlego.errors import SettingsError
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

    options: Options = context.obj
    token = None if token_file is None else read_token(token_file)
    check_host(host, token)
    allowed = (
        ServiceLimits()
        if limits is None
        else load_toml(ServiceLimits, limits, SettingsError, "the service's limits")
    )
    with bound(host, port) as listening:
        service = Service(
            directory, base_weights=base_weights, device=resolve_device(device), limits=allowed
        )
        page = page_settings(
            service.model.generalist,
            edits=edits,
            gate=gate,
            data=data or [],
            trust=trust,
            beside=beside or [],
        )
        shown = f"[{host}]" if ":" in host else host
        with log_to():
            say(options, f"serving {directory} at http://{shown}:{listening.getsockname()[1]}")
            serve_app(make_app(service, token=token, page=page), listening, allowed)
