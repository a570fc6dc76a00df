"""medlego refit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from medlego.cli import checks, options
from medlego.cli.summaries import show_new_brick
from medlego.cli.terminal import Terminal


def command(
    terminal: Terminal,
    brick: options.BrickFile,
    data: options.SiteData,
    others: Annotated[
        list[Path],
        Option(
            "--with",
            metavar="BRICK",
            help="A brick that this one will be merged with; repeatable. BRICK itself among them "
            "is ignored.",
        ),
    ],
    output: options.NewBrick,
    *,
    subsets: Annotated[int, Option(help="Merges with some of these bricks, chosen at random.")] = 3,
    seed: Annotated[int, Option(min=0, help="Random seed of that choice.")] = 0,
    reading: options.Reading,
    compute: options.Compute,
    force: options.Force = False,
) -> None:
    """Refit a brick's head to the bricks that it will be merged with; its deltas stay as they are.

    Every site does this once all deltas are published. Then the bricks merge without data.

    Example:
        medlego refit mr.safetensors mr/ --with ct.safetensors -o mr-refit.safetensors
    """
    from medlego.bricks import IN_MERGE, load_brick, load_bricks, save_brick
    from medlego.train import refit_for_merge

    checks.refuse_existing(output, force)
    before = load_brick(brick)
    with terminal.progress() as show:
        after = refit_for_merge(
            before,
            reading.read_for(before.task, data, show),
            load_bricks(others),
            subsets=subsets,
            seed=seed,
            base=compute.find(before.base),
            device=compute.place,
            show=show,
        )
        save_brick(after, output)
    scores = after.card.scores
    rows = [
        (name.replace("_", " "), f"{alone:.3f}", f"{scores[name + IN_MERGE]:.3f}")
        for name, alone in scores.items()
        if name + IN_MERGE in scores
    ]
    terminal.table((f"{after.task.name} on val", "alone", "merged"), rows)
    show_new_brick(terminal, after, output, validation=scores, settings=dict(after.settings))
