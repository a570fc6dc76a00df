"""medlego assemble"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from medlego.cli import checks, options
from medlego.cli.summaries import show_mode, show_sites
from medlego.cli.terminal import Terminal
from medlego.errors import MergeError

if TYPE_CHECKING:
    from medlego.bricks import Brick
    from medlego.data import Task
    from medlego.train import Search


def command(
    terminal: Terminal,
    bricks: options.BrickFiles,
    output: options.NewDirectory,
    *,
    method: Annotated[str, Option(help="{medlego.merge:METHODS}.")] = "linear",
    coefficients: Annotated[
        str,
        Option(
            help="auto (the method's own rule), {medlego.merge:RULES} (no data), one number for "
            "every task, one per brick: c1,c2,…, or search (needs --data)."
        ),
    ] = "auto",
    data: Annotated[
        list[str] | None,
        Option(
            metavar="TASK=DATA",
            help="Labelled images for --coefficients search, which reads the val split.",
        ),
    ] = None,
    sites: Annotated[
        str,
        Option(
            help="Weights of several bricks of one task: counts (training images in their cards), "
            "equal, or auto (counts if all cards have them)."
        ),
    ] = "auto",
    rank: Annotated[
        int | None, Option(help="Truncate merged deltas to this rank; the loss is reported.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="NAME=NUMBER", help="A setting of the method; repeatable."),
    ] = None,
    svc: Annotated[
        bool, Option("--svc", help="Calibrate singular values after the merge.")
    ] = False,
    slope: Annotated[
        float | None,
        Option(
            help="How much more later blocks weigh; 0 for equal weights. By default the method's "
            "own with auto and search, 0 for merge-aware bricks and for given coefficients."
        ),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Random seed of the method.")] = 0,
    mode: Annotated[
        str,
        Option(
            help="{medlego.cli.summaries:MODES}, or auto (routed if every task has a profile, "
            "else merged)."
        ),
    ] = "auto",
    require_signed: options.RequireSigned = None,
    author: options.Author,
    reading: options.Reading,
    compute: options.Compute,
) -> None:
    """Merge bricks into one generalist, without training, and without data unless searching.

    Example:
        medlego assemble brain.safetensors chest.safetensors -o generalist
        medlego assemble *.safetensors --method ties --set density=0.2 -o generalist
    """
    from medlego.bricks import brick_names, load_bricks
    from medlego.evaluation import task_facts
    from medlego.generalist import assemble
    from medlego.merge import SEARCHED
    from medlego.train import refit_notes

    with terminal.progress() as show:
        loaded = load_bricks(bricks, show)
    signatures = checks.signatures_of(bricks, loaded, require_signed)
    searching = coefficients == SEARCHED
    if bool(data) != searching:
        raise MergeError(
            "--data: expected with --coefficients search and only there, got "
            f"{len(data or [])} data sets and --coefficients {coefficients}"
        )
    numbers = checks.read_pairs("--set", "NAME=NUMBER", settings or [])
    arguments: dict[str, Any] = {
        "sites": sites,
        "rank": rank,
        "settings": {name: _number(value) for name, value in numbers.items()},
        "svc": svc,
        "slope": slope,
        "seed": seed,
        "mode": mode,
        "stamp": author.stamp(),
    }
    if searching:
        search = _search(terminal, loaded, method, data or [], reading, compute, arguments)
        generalist = search.generalist
    else:
        generalist = assemble(loaded, method, coefficients=_coefficients(coefficients), **arguments)
    generalist.signed(signatures).save(output)
    recipe = generalist.recipe
    rows = [
        (name, brick.task.kind, str(len(brick.task.labels)), f"{item.coefficient:.4g}")
        for name, item, brick in zip(
            brick_names(generalist.bricks), recipe.bricks, generalist.bricks, strict=True
        )
    ]
    terminal.table(("task", "kind", "labels", "coefficient"), rows)
    show_sites(terminal, generalist)
    notes = refit_notes(generalist.bricks)
    terminal.note(*notes)
    merged_rank = max(delta.rank for delta in generalist.deltas.values())
    terminal.say(
        f"method {method}, slope {recipe.slope:g}; "
        f"merged rank {merged_rank} on {len(generalist.targets)} targets"
    )
    terminal.say(f"truncation lost {generalist.relative_loss:.2%} of the Frobenius norm")
    show_mode(terminal, generalist)
    terminal.say(f"wrote {output} (recipe {recipe.digest[:12]})")
    document = {
        "output": str(output),
        "recipe": recipe.model_dump(mode="json"),
        "digest": recipe.digest,
        "relative_loss": generalist.relative_loss,
        "tasks": task_facts(generalist),
        "notes": list(notes),
    }
    if searching:
        document["search"] = {value: dict(scores) for value, scores in search.scores.items()}
    terminal.emit(document)


def _search(
    terminal: Terminal,
    bricks: list[Brick],
    method: str,
    data: list[str],
    reading: options.Reading,
    compute: options.Compute,
    arguments: dict[str, Any],
) -> Search:
    """Search for a coefficient and show what each gave."""
    from medlego.data import match_labels
    from medlego.train import search_coefficients

    by_name: dict[str, list[Task]] = {}
    for brick in bricks:
        by_name.setdefault(brick.task.name, []).append(brick.task)
    tasks = [match_labels(of, [name] * len(of)).task for name, of in by_name.items()]
    with terminal.progress() as show:
        search = search_coefficients(
            bricks,
            reading.read_all(tasks, data, show, needs=("val",)),
            method,
            base=compute.find(bricks[0].base),
            device=compute.place,
            show=show,
            **arguments,
        )
    names = list(search.scores[search.value])
    rows = [
        (f"{value:g}" + " *" * (value == search.value), *(f"{scores[n]:.3f}" for n in names))
        for value, scores in search.scores.items()
    ]
    title = "validation: balanced accuracy relative to the specialist's"
    terminal.table(("coefficient", *names), rows, title)
    terminal.note(*search.notes)
    return search


def _coefficients(text: str) -> str | float | tuple[float, ...]:
    """A rule's name, one number, or numbers separated by commas."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise MergeError(f"--set: expected NAME=NUMBER, got {text!r} as a number") from None
    return int(number) if number.is_integer() else number
