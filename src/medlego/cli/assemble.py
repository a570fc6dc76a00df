"""medlego assemble"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medlego.cli.console import Options, emit, say, show_table
from medlego.cli.shared import read_coefficients, read_method_settings, show_sites, task_facts


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
        str, typer.Option(help="auto, one number for every task, or one per brick: c1,c2,…")
    ] = "auto",
    sites: Annotated[
        str,
        typer.Option(
            help="How bricks of one task weigh: counts (training images in their cards), equal, or "
            "auto (counts where all state them)."
        ),
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
    from medlego.brick import brick_names
    from medlego.brickfile import load_bricks
    from medlego.generalist import assemble

    options: Options = context.obj
    generalist = assemble(
        load_bricks(bricks),
        method,
        coefficients=read_coefficients(coefficients),
        sites=sites,
        rank=rank,
        settings=read_method_settings(settings or []),
        svc=svc,
        seed=seed,
    )
    generalist.save(output)
    names = brick_names(generalist.bricks)
    rows = [
        (name, brick.task.kind, str(len(brick.task.labels)), f"{item.coefficient:.4g}")
        for name, item, brick in zip(
            names, generalist.recipe.bricks, generalist.bricks, strict=True
        )
    ]
    show_table(options, ("task", "kind", "labels", "coefficient"), rows)
    show_sites(options, generalist)
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
            "tasks": task_facts(generalist),
        },
    )
