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
    others: Annotated[
        list[Path],
        typer.Option(
            "--with",
            help="A brick that this one will be merged with; repeatable. BRICK among them is "
            "left out.",
        ),
    ],
    output: BrickOutput,
    subsets: Annotated[
        int,
        typer.Option(help="Merges with some of these bricks, chosen at random."),
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of those choices.")] = 0,
    base_weights: BaseWeights = None,
    data_seed: DataSeed = 0,
    labels_map: LabelsMap = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Refit a brick's head to the bricks that it will be merged with; deltas stay as they are.

    Every site does this once all deltas are published; then the bricks merge without data.
    """
    from medlego.base import Base
    from medlego.bricks import IN_MERGE, load_brick, load_bricks, save_brick
    from medlego.train import refit_for_merge

    options: Options = context.obj
    refuse_existing(output, force)
    before = load_brick(brick)
    with progress(options) as show:
        dataset = read_data_of(before.task, data, seed=data_seed, labels_map=labels_map, show=show)
        after = refit_for_merge(
            before,
            dataset,
            load_bricks(others),
            subsets=subsets,
            seed=seed,
            base=Base.find(before.base, weights=base_weights),
            device=resolve_device(device),
            show=show,
        )
        save_brick(after, output)
    scores = after.card.scores
    rows = [
        (name.replace("_", " "), f"{scores[name]:.3f}", f"{scores[name + IN_MERGE]:.3f}")
        for name in scores
        if name + IN_MERGE in scores
    ]
    show_table(options, (f"{after.task.name} on val", "alone", "merged"), rows)
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
