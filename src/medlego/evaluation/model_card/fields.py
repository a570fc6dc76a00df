"""What bricks and a generalist tell of themselves, as fields and tables of a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medlego.base import BaseRef
from medlego.bricks import Brick, BrickSignature
from medlego.data import Task
from medlego.evaluation.model_card.evaluated import Detail, Score, ScoredTask
from medlego.evaluation.model_card.markdown import CardTable, Fields, listed, plain
from medlego.generalist import Entry, Generalist
from medlego.merge import Capability

RESEARCH = (
    "Research software: nothing that medlego writes is validated for clinical use, and this model "
    "is no medical device unless a regulatory approval is stated above."
)
_PROFILE = (
    "mean and spread of first-block features over {images} training images, one Gaussian, {noise}: "
    "it tells which images belong to the task, and so what the training images look like on average"
)


def base_fields(base: BaseRef) -> Fields:
    """The foundation model and its licence."""
    return (
        ("Foundation model", f"{plain(base.name)}, {base.parameters:,} parameters, frozen"),
        ("Foundation model's fingerprint", f"`{base.fingerprint}`"),
        ("Foundation model's licence", None if base.licence is None else plain(base.licence)),
        (
            "Input",
            f"2-D images, fitted whole into {base.image_size} × {base.image_size} pixels in three "
            f"channels; mean {_three(base.mean)}, deviation {_three(base.std)}",
        ),
    )


def outputs(task: Task) -> str:
    """What a task answers: kind, labels and their codes."""
    codes = task.codes or (None,) * len(task.labels)
    labels = ", ".join(
        plain(label)
        if code is None
        else f"{plain(label)} ({plain(code.scheme)} {plain(code.value)})"
        for label, code in zip(task.labels, codes, strict=True)
    )
    where = listed(part for part in (task.modality, task.body_part) if part)
    seen = f"; {where}" if where else "; modality and body part not stated"
    return f"{plain(task.name)}, {task.kind}: one probability for each of {labels}{seen}"


def weights_fields(brick: Brick) -> Fields:
    """Targets, ranks and numbers of parameters."""
    ranks = sorted({delta.rank for delta in brick.deltas.values()})
    head = brick.head.weight.numel() + brick.head.bias.numel()
    return (
        ("Adapted", f"{len(brick.targets)} targets of rank {', '.join(map(str, ranks)) or 'none'}"),
        ("Delta parameters", f"{brick.delta_parameters:,} ({brick.share:.3%} of the base)"),
        ("Head parameters", f"{head:,}"),
        ("Grams", "none" if not brick.grams else f"second moments of {len(brick.grams)} modules"),
        ("Profile", profile(brick)),
    )


def profile(brick: Brick) -> str:
    """Whether there is a profile, and what it reveals."""
    if (held := brick.profile) is None:
        return "none: the brick says nothing of what its training images look like"
    noise = "without noise"
    if held.noise is not None:
        noise = f"with noise of epsilon {held.noise.epsilon:g}, delta {held.noise.delta:g} an image"
    return _PROFILE.format(images=held.images, noise=noise)


def training_fields(brick: Brick) -> Fields:
    """Where the brick comes from, by its own card."""
    card, settings = brick.card, brick.settings
    told = listed(f"{name} {settings[name]}" for name in sorted(settings) if _short(settings[name]))
    return (
        ("Training data", None if card.data is None else plain(card.data)),
        ("Training settings", told),
        (
            "Validation scores of the saved epoch",
            listed(f"{name} {value:.3f}" for name, value in card.scores.items()),
        ),
        ("Made with", listed(f"{name} {value}" for name, value in card.made_with.items())),
    )


def counts(bricks: Sequence[Brick]) -> CardTable | None:
    """Images per label and split that training saw; None where no card states any."""
    splits = list(dict.fromkeys(split for brick in bricks for split in brick.card.images))
    rows = []
    for brick in bricks:
        labels = dict.fromkeys(label for held in brick.card.images.values() for label in held)
        for label in labels:
            found = [brick.card.images.get(split, {}).get(label) for split in splits]
            cells = ("" if count is None else f"{count:,}" for count in found)
            rows.append((plain(brick.task.name), brick.digest[:12], plain(label), *cells))
    heads = ("task", "brick", "label", *(plain(split) for split in splits))
    return CardTable(heads, tuple(rows)) if rows else None


def scores(rows: Sequence[ScoredTask]) -> CardTable:
    """Scores with their intervals, one line per task and score."""
    return CardTable(
        ("task", "images", "score", "value [interval]"),
        tuple(
            (plain(row.task), f"{row.images:,}", plain(name), interval(score))
            for row in rows
            for name, score in row.scores.items()
        ),
    )


def subgroups(details: Mapping[str, Detail]) -> CardTable | None:
    """Scores by subgroup, one line each; None where no group is known."""
    rows = tuple(
        (
            plain(task),
            plain(f"{found.group}: {found.value}"),
            f"{found.images:,}{' (too few to judge)' if found.small else ''}",
            interval(found.balanced_accuracy),
            interval(found.auroc),
        )
        for task, detail in details.items()
        for found in detail.subgroups
    )
    heads = ("task", "subgroup", "images", "balanced accuracy", "AUROC")
    return CardTable(heads, rows) if rows else None


def calibration(details: Mapping[str, Detail]) -> str | None:
    """Of each task, whether its probabilities can be taken at their word."""
    words = {
        "calibrated": "calibrated on validation images",
        "stale": "not calibrated, since the brick's calibration is not of this merge",
        "none": "not calibrated",
    }
    parts = [f"{plain(task)}: {words[found.calibration]}" for task, found in details.items()]
    return "; ".join(parts) or None


def interval(score: Score) -> str:
    """`0.850 [0.817, 0.883]`, or that there is none."""
    value, low, high = (
        "undefined" if number is None else f"{number:.3f}"
        for number in (score.value, score.low, score.high)
    )
    return f"{value} [{low}, {high}]"


def recipe_fields(generalist: Generalist) -> Fields:
    """How the bricks became one model."""
    recipe = generalist.recipe
    settings = listed(f"{name} {value}" for name, value in recipe.settings.items())
    return (
        ("Works", recipe.mode),
        ("Merge method", f"{plain(recipe.method)}{f' ({settings})' if settings else ''}"),
        ("Coefficients", f"{recipe.coefficients}, slope {recipe.slope:g}"),
        ("Lost by the cut to a rank", f"{generalist.relative_loss:.2%}"),
        ("Seed", str(recipe.seed)),
    )


def bricks_table(generalist: Generalist) -> CardTable:
    """Every brick with its coefficient, parameters, licence and signers."""
    rows = []
    for item, brick in zip(generalist.recipe.bricks, generalist.bricks, strict=True):
        signature = generalist.past.signatures.get(brick.digest)
        parameters = f"{brick.delta_parameters:,}"
        licence = plain(brick.card.licence or "not stated")
        cells = (f"{item.coefficient:.4g}", parameters, licence, signers(signature))
        rows.append((plain(item.task), f"`{brick.digest}`", *cells))
    heads = ("task", "brick", "coefficient", "delta parameters", "licence", "signed by keys")
    return CardTable(heads, tuple(rows))


def signers(signature: BrickSignature | None) -> str:
    """Short ids of the keys; the card checks none."""
    if signature is None:
        return "none"
    return ", ".join(f"`{key[:12]}`" for key, _ in signature.signatures)


def lineage_table(lineage: Sequence[Entry]) -> CardTable:
    """Every entry: what was done, when, by whom, and what was checked."""
    rows = tuple(
        (
            str(number),
            entry.action,
            entry.when or "not stated",
            plain(entry.by or "not stated"),
            f"`{entry.recipe[:12]}`",
            "none" if entry.signature is None else f"`{entry.signature['key'][:12]}`",
            _gate(entry.gate),
            _screening(entry.gate),
        )
        for number, entry in enumerate(lineage)
    )
    heads = ("entry", "action", "when", "by", "recipe", "signed by key", "gate", "screening")
    return CardTable(heads, rows)


def site_notes(capabilities: Sequence[Capability]) -> str | None:
    """Tasks that several sites answer together."""
    return listed(
        f"{held.task.name} from {len(held.bricks)} sites"
        for held in capabilities
        if len(held.bricks) > 1
    )


def _gate(gate: dict[str, Any] | None) -> str:
    if gate is None or "passed" not in gate:
        return "not stated"
    checked = [plain(change["task"]) for change in gate["tasks"]]
    return f"{'passed' if gate['passed'] else 'failed'}: {', '.join(checked) or 'no task'}"


def _screening(gate: dict[str, Any] | None) -> str:
    if gate is None or "screening" not in gate:
        return "not stated"
    flagged = [
        f"{found['task']}: {check}" for found in gate["screening"] for check in found["flagged"]
    ]
    return listed(flagged) or f"nothing flagged in {len(gate['screening'])} bricks"


def _three(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _short(value: object) -> bool:
    """Whether a setting is one number or word; lists of digests are left to `inspect`."""
    return isinstance(value, bool | int | float | str)
