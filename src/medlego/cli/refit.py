"""medlego refit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import BaseWeights, BrickOutput, DataSeed, Device, Force, LabelsMap
from medlego.cli.reading import DATA_HELP, read_data_of
from medlego.cli.shared import refuse_existing, resolve_device


def command(
    context: typer.Context,
    brick: Annotated[Path, typer.Argument(metavar="BRICK", help="Whose head is refitted.")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help=f"The site's labelled images. {DATA_HELP}")
    ],
    company: Annotated[
        list[Path],
        typer.Option(
            help="A brick that this one will be merged with; repeatable. BRICK among them is "
            "left out."
        ),
    ],
    output: BrickOutput,
    subsets: Annotated[
        int, typer.Option(help="Random choices of the company to fit to besides all of it.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of those choices.")] = 0,
    base_weights: BaseWeights = None,
    data_seed: DataSeed = 0,
    labels_map: LabelsMap = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Refit a brick's head to the company it will keep; its deltas stay as they are.

    Every site does this once all deltas are published; then the bricks merge without data.
    """
    from medlego.base import Base
    from medlego.bricks import load_brick, load_bricks, save_brick
    from medlego.train import refit_in_company

    options: Options = context.obj
    refuse_existing(output, force)
    before = load_brick(brick)
    others = load_bricks(company)
    with progress(options) as show:
        dataset = read_data_of(before.task, data, seed=data_seed, labels_map=labels_map, show=show)
        after = refit_in_company(
            before,
            dataset,
            others,
            subsets=subsets,
            seed=seed,
            base=Base.find(before.base, weights=base_weights),
            device=resolve_device(device),
            show=show,
        )
        save_brick(after, output)
    scores = after.card.scores
    rows = [
        (name.replace("_", " "), f"{scores[name]:.3f}", f"{scores[f'{name}_in_company']:.3f}")
        for name in scores
        if f"{name}_in_company" in scores
    ]
    show_table(options, (f"{after.task.name} on val", "alone", "among all"), rows)
    say(options, f"wrote {output} ({after.digest[:12]})")
    emit(
        options,
        {
            "output": str(output),
            "digest": after.digest,
            "validation": scores,
            "settings": dict(after.settings),
        },
    )
