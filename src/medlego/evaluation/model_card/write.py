"""Model cards as `huggingface_hub` writes them: the hub's own front matter above one template."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from medlego.base import MINI_NAME
from medlego.bricks import Brick, BrickSignature
from medlego.evaluation.inspect import curve_line
from medlego.evaluation.model_card.evaluated import Evaluated, ScoredTask
from medlego.evaluation.model_card.facts import Facts
from medlego.generalist import Generalist

LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0"),
    *("gpl-3.0", "lgpl-3.0", "agpl-3.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)
"""Of the hub's licence identifiers those that a model is likely to have; all others are `other`."""
METRIC_IDS = {"auroc": "roc_auc"}
"""Names that the hub has for scores; the others have their own."""


def brick_card(
    brick: Brick,
    *,
    facts: Facts = Facts(),
    evaluated: Evaluated | None = None,
    signature: BrickSignature | None = None,
) -> str:
    """The model card of a brick, in Markdown with front matter.

    Args:
        brick: the specialist.
        facts: what its people state.
        evaluated: numbers of a generalist in which this brick alone is its task's specialist.
        signature: the one beside the brick's file; named, not checked.

    Raises:
        SettingsError: the evaluation is not of this brick.
    """
    rows = () if evaluated is None else evaluated.of_brick(brick)
    signatures = {} if signature is None else {brick.digest: signature}
    return _card([brick], facts, rows, evaluated, brick.digest[:12], signatures)


def generalist_card(
    generalist: Generalist, *, facts: Facts = Facts(), evaluated: Evaluated | None = None
) -> str:
    """The model card of a generalist, in Markdown with front matter.

    Args:
        generalist: with its lineage.
        facts: what its people state.
        evaluated: its own numbers.

    Raises:
        SettingsError: the evaluation is of another generalist.
    """
    rows = () if evaluated is None else evaluated.of_generalist(generalist)
    version, signatures = generalist.recipe.digest[:12], generalist.past.signatures
    return _card(generalist.bricks, facts, rows, evaluated, version, signatures, generalist)


def _card(
    bricks: Sequence[Brick],
    facts: Facts,
    rows: Sequence[ScoredTask],
    evaluated: Evaluated | None,
    version: str,
    signatures: Mapping[str, BrickSignature],
    generalist: Generalist | None = None,
) -> str:
    base = bricks[0].base
    tasks = [bricks[0].task] if generalist is None else generalist.tasks
    name = facts.name or ", ".join(task.name for task in tasks)
    stated = dict.fromkeys(brick.card.licence for brick in bricks)
    licences = [licence or "not stated by some bricks" for licence in stated if any(stated)]
    words = [part.lower() for task in tasks for part in (task.modality, task.body_part) if part]
    tags = ["medlego", "medical", "lora", "image-classification", *facts.keywords, *words]
    results = _results(rows, "" if evaluated is None else evaluated.split)
    licence, licence_name = _licence(licences)
    data = ModelCardData(
        license=licence,
        license_name=licence_name,
        library_name="medlego",
        pipeline_tag="image-classification",
        base_model=facts.base_model or hub_name(base.name),
        base_model_relation="adapter",
        datasets=list(facts.datasets) or None,
        tags=tags,
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    template = files("medlego.evaluation.model_card").joinpath("card.md.jinja")
    card = ModelCard.from_template(
        data,
        template_str=template.read_text(encoding="utf-8"),
        plain=plain,
        curve_line=curve_line,
        name=name,
        base=base,
        tasks=tasks,
        bricks=bricks,
        generalist=generalist,
        facts=facts,
        licences=", ".join(licences),
        evaluated=evaluated,
        rows=rows,
        details={} if generalist is None or evaluated is None else evaluated.tasks,
        version=version,
        signatures=signatures,
    )
    return str(card)


def _results(rows: Sequence[ScoredTask], split: str) -> list[EvalResult]:
    """Scores as the hub has them; undefined ones are left out."""
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=row.task,
            dataset_name=row.task,
            dataset_split=split,
            metric_type=METRIC_IDS.get(metric, metric),
            metric_name=metric,
            metric_value=score.value,
        )
        for row in rows
        for metric, score in row.scores.items()
        if score.value is not None
    ]


def _licence(licences: Sequence[str]) -> tuple[str | None, str | None]:
    """The one identifier that all bricks state, or `other` with what they state by name."""
    if len(licences) == 1 and licences[0].lower() in LICENCES:
        return licences[0].lower(), None
    return ("other", ", ".join(licences)) if licences else (None, None)


def hub_name(name: str) -> str | None:
    """The repository that timm fetches an architecture's weights from; None for the mini base."""
    import timm

    if name == MINI_NAME or not timm.is_model(name.split(".")[0]):
        return None
    config = timm.get_pretrained_cfg(name)
    repository: str | None = None if config is None else config.hf_hub_id
    return f"{repository}{name}" if repository == "timm/" else repository


def plain(text: object) -> str:
    """Text out of a file as Markdown that shows it as it is: no tag, link or column of its own."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(str(text), quote=False))
