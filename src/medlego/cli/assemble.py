"""medlego assemble"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlego.cli.console import Options, emit, progress, say, show_table
from medlego.cli.options import (
    BaseWeights,
    By,
    DataSeed,
    Device,
    LabelsMap,
    RequireSigned,
    SigningKey,
)
from medlego.cli.reading import read_task_data
from medlego.cli.shared import (
    read_coefficients,
    read_method_settings,
    resolve_device,
    show_mode,
    show_sites,
    signatures_of,
    stamp_of,
)

if TYPE_CHECKING:
    from medlego.bricks import Brick
    from medlego.data import Task
    from medlego.train import Search


def command(
    context: typer.Context,
    bricks: Annotated[list[Path], typer.Argument(metavar="BRICK…", help="Brick files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to make.")],
    method: Annotated[
        str,
        typer.Option(
            help="linear, lego, ties, core-ties, knots-ties, dare, dare-ties, core-dare-ties, tsv, "
            "iso-c, iso-cts, lora-lego, wudi or regmean."
        ),
    ] = "linear",
    coefficients: Annotated[
        str,
        typer.Option(
            help="auto (the method's own rule), mean, root, one or norm (no data), one number for "
            "every task, one per brick: c1,c2,…, or search (needs --data)."
        ),
    ] = "auto",
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=DATA", help="Labelled images whose val split search reads."),
    ] = None,
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
    slope: Annotated[
        float | None,
        typer.Option(
            help="How much later blocks weigh more, 0 for not at all. Left out: with auto and "
            "search the method's own, 0 for bricks prepared for merges; else 0."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of methods that draw.")] = 0,
    mode: Annotated[
        str,
        typer.Option(
            help="How it works: merged (one model), routed (each image by its own tasks' bricks, "
            "whole), grouped (merged within a modality and body part, routed between), or auto "
            "(routed where every task has a profile, else merged)."
        ),
    ] = "auto",
    require_signed: RequireSigned = None,
    by: By = None,
    key: SigningKey = None,
    base_weights: BaseWeights = None,
    data_seed: DataSeed = 0,
    labels_map: LabelsMap = None,
    device: Device = "auto",
) -> None:
    """Merge bricks into one generalist, without data (unless searching) and without training."""
    from medlego.bricks import brick_names, load_bricks
    from medlego.errors import MergeError
    from medlego.evaluation import task_facts
    from medlego.generalist import assemble
    from medlego.merge import SEARCHED
    from medlego.train import refit_notes

    options: Options = context.obj
    with progress(options) as show:
        held = load_bricks(bricks, show)
    signatures = signatures_of(bricks, held, require_signed)
    if bool(data) != (coefficients == SEARCHED):
        raise MergeError(
            "--data: expected with --coefficients search and only there, got "
            f"{len(data or [])} data sets and --coefficients {coefficients}"
        )
    more: dict[str, Any] = {
        "sites": sites,
        "rank": rank,
        "settings": read_method_settings(settings or []),
        "svc": svc,
        "slope": slope,
        "seed": seed,
        "mode": mode,
        "stamp": stamp_of(by, key),
    }
    scores: dict[float, dict[str, float]] = {}
    if coefficients == SEARCHED:
        found = _search(
            options, held, method, data or [], base_weights, data_seed, labels_map, device, more
        )
        generalist, scores = found.generalist, {v: dict(s) for v, s in found.scores.items()}
        _show_search(options, found)
    else:
        generalist = assemble(held, method, coefficients=read_coefficients(coefficients), **more)
    generalist.signed(signatures).save(output)
    names = brick_names(generalist.bricks)
    rows = [
        (name, brick.task.kind, str(len(brick.task.labels)), f"{item.coefficient:.4g}")
        for name, item, brick in zip(
            names, generalist.recipe.bricks, generalist.bricks, strict=True
        )
    ]
    show_table(options, ("task", "kind", "labels", "coefficient"), rows)
    show_sites(options, generalist)
    notes = refit_notes(generalist.bricks)
    for note in notes:
        say(options, f"note: {note}")
    ranks = max(delta.rank for delta in generalist.deltas.values())
    say(
        options,
        f"method {method}, slope {generalist.recipe.slope:g}; "
        f"merged rank {ranks} on {len(generalist.targets)} targets",
    )
    say(options, f"lost by the cut: {generalist.relative_loss:.2%} of the Frobenius norm")
    show_mode(options, generalist)
    say(options, f"wrote {output} (recipe {generalist.recipe.digest[:12]})")
    emit(
        options,
        {
            "output": str(output),
            "recipe": generalist.recipe.model_dump(mode="json"),
            "digest": generalist.recipe.digest,
            "relative_loss": generalist.relative_loss,
            "tasks": task_facts(generalist),
            "notes": list(notes),
        }
        | ({"search": scores} if scores else {}),
    )


def _search(
    options: Options,
    bricks: list[Brick],
    method: str,
    data: list[str],
    base_weights: Path | None,
    data_seed: int,
    labels_map: Path | None,
    device: str,
    more: dict[str, Any],
) -> Search:
    from medlego.base import Base
    from medlego.data import match_labels
    from medlego.train import search_coefficients

    stated: dict[str, list[Task]] = {}
    for brick in bricks:
        stated.setdefault(brick.task.name, []).append(brick.task)
    tasks = [match_labels(of, [name] * len(of)).task for name, of in stated.items()]
    with progress(options) as show:
        datasets = read_task_data(tasks, data, seed=data_seed, labels_map=labels_map, show=show)
        base = Base.find(bricks[0].base, weights=base_weights)
        device = resolve_device(device)
        return search_coefficients(
            bricks, datasets, method, base=base, device=device, show=show, **more
        )


def _show_search(options: Options, found: Search) -> None:
    tasks = list(found.scores[found.value])
    rows = [
        (f"{value:g}" + " *" * (value == found.value), *(f"{scores[t]:.3f}" for t in tasks))
        for value, scores in found.scores.items()
    ]
    title = "validation: balanced accuracy over the specialist's"
    show_table(options, ("coefficient", *tasks), rows, title)
