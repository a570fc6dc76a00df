"""medlego inspect"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlego.cli.console import Options, emit, say, show_table

if TYPE_CHECKING:
    from medlego.brick import Brick
    from medlego.generalist import Generalist


def command(
    context: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(metavar="BRICK… | DIR", help="Brick files or a generalist.")
    ],
) -> None:
    """Show what bricks or a generalist hold."""
    from medlego.brickfile import load_bricks
    from medlego.generalist import Generalist

    options: Options = context.obj
    directories = [path for path in paths if path.is_dir()]
    generalists = [Generalist.load(path) for path in directories]
    bricks = load_bricks([path for path in paths if path not in directories])
    for path, generalist in zip(directories, generalists, strict=True):
        _show_generalist(options, path, generalist)
    files = [path for path in paths if path not in directories]
    for path, brick in zip(files, bricks, strict=True):
        _show_brick(options, path, brick)
    emit(
        options,
        [_generalist_facts(g) for g in generalists] + [_brick_facts(b) for b in bricks],
    )


def _show_brick(options: Options, path: Path, brick: Brick) -> None:
    ranks = sorted({delta.rank for delta in brick.deltas.values()})
    rows = [
        ("task", f"{brick.task.name} ({brick.task.kind})"),
        ("labels", ", ".join(brick.task.labels)),
        ("modality, body part", f"{brick.task.modality or '?'}, {brick.task.body_part or '?'}"),
        ("base", f"{brick.base.name} at {brick.base.image_size} px"),
        ("base fingerprint", brick.base.fingerprint),
        ("delta parameters", f"{brick.delta_parameters:,} ({brick.share:.3%} of the base)"),
        ("targets", f"{len(brick.targets)} of rank {', '.join(map(str, ranks))}"),
        ("head parameters", f"{brick.head.weight.numel() + brick.head.bias.numel():,}"),
        ("norm", f"{sum(d.norm() ** 2 for d in brick.deltas.values()) ** 0.5:.4g}"),
        ("validation", ", ".join(f"{k} {v:.3f}" for k, v in brick.card.scores.items()) or "?"),
        ("data", brick.card.data or "?"),
        ("licence", brick.card.licence or "?"),
        ("digest", brick.digest),
    ]
    show_table(options, (str(path), ""), rows)


def _show_generalist(options: Options, path: Path, generalist: Generalist) -> None:
    say(options, f"{path}: generalist {generalist.recipe.digest[:12]}")
    say(
        options,
        f"base {generalist.base.name} at {generalist.base.image_size} px, method "
        f"{generalist.recipe.method}, lost by the cut {generalist.relative_loss:.2%}",
    )
    rows = [
        (item.task, ", ".join(brick.task.labels), f"{item.coefficient:.4g}", item.digest[:12])
        for item, brick in zip(generalist.recipe.bricks, generalist.bricks, strict=True)
    ]
    show_table(options, ("task", "labels", "coefficient", "brick"), rows)


def _brick_facts(brick: Brick) -> dict[str, Any]:
    return {
        "type": "brick",
        "digest": brick.digest,
        "task": brick.task.model_dump(mode="json"),
        "base": brick.base.model_dump(mode="json"),
        "delta_parameters": brick.delta_parameters,
        "share_of_base": brick.share,
        "targets": {name: delta.rank for name, delta in brick.deltas.items()},
        "settings": dict(brick.settings),
        "card": brick.card.model_dump(mode="json"),
    }


def _generalist_facts(generalist: Generalist) -> dict[str, Any]:
    return {
        "type": "generalist",
        "digest": generalist.recipe.digest,
        "recipe": generalist.recipe.model_dump(mode="json"),
        "relative_loss": generalist.relative_loss,
        "lineage": [step.model_dump(mode="json") for step in generalist.lineage],
        "bricks": [_brick_facts(brick) for brick in generalist.bricks],
    }
