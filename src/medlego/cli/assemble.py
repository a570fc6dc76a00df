"""medlego assemble"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.shared import read_coefficients, read_method_settings


def command(
    context: typer.Context,
    bricks: Annotated[list[Path], typer.Argument(metavar="BRICK…", help="Brick files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to make.")],
    method: Annotated[
        str,
        typer.Option(
            help="linear, lego, ties, core-ties, knots-ties, dare, dare-ties, core-dare-ties, tsv, "
            "iso-c, iso-cts, lora-lego or wudi."
        ),
    ] = "linear",
    coefficients: Annotated[
        str, typer.Option(help="auto, one number for all, or one per brick: c1,c2,…")
    ] = "auto",
    rank: Annotated[
        int | None, typer.Option(help="Cut merged deltas to this rank; the loss is reported.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=NUMBER", help="A setting of the method; repeatable."),
    ] = None,
    svc: Annotated[
        bool, typer.Option("--svc", help="Calibrate singular values after the merge.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of methods that draw.")] = 0,
) -> None:
    """Merge bricks into one generalist, without data and without training."""
    from medlego.brickfile import load_bricks
    from medlego.generalist import assemble

    options: Options = context.obj
    with progress(options) as show:
        loaded = load_bricks(bricks, show)
        show("merging", 0, 0)
        generalist = assemble(
            loaded,
            method,
            coefficients=read_coefficients(coefficients),
            rank=rank,
            settings=read_method_settings(settings or []),
            svc=svc,
            seed=seed,
        )
        show("writing", 0, 0)
        generalist.save(output)
    rows = [
        (item.task, brick.task.kind, str(len(brick.task.labels)), f"{item.coefficient:.4g}")
        for item, brick in zip(generalist.recipe.bricks, generalist.bricks, strict=True)
    ]
    show_table(options, ("task", "kind", "labels", "coefficient"), rows)
    ranks = max(delta.rank for delta in generalist.deltas.values())
    say(options, f"method {method}; merged rank {ranks} on {len(generalist.targets)} targets")
    say(options, f"lost by the cut: {generalist.relative_loss:.2%} of the Frobenius norm")
    say(options, f"wrote {output} (recipe {generalist.recipe.digest[:12]})")
    emit(
        options,
        {
            "output": str(output),
            "recipe": generalist.recipe.model_dump(mode="json"),
            "digest": generalist.recipe.digest,
            "relative_loss": generalist.relative_loss,
        },
    )
