"""The YAML front matter of a card, as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Sequence

from huggingface_hub import EvalResult, ModelCardData

from medlego.base import MINI_NAME, BaseRef
from medlego.data import Task
from medlego.evaluation.model_card.evaluated import ScoredTask
from medlego.evaluation.model_card.facts import Facts

LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0"),
    *("gpl-3.0", "lgpl-3.0", "agpl-3.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)
"""Of the hub's licence identifiers those that a model is likely to have; all others are `other`."""
METRIC_IDS = {"auroc": "roc_auc"}
"""Names that the hub has for scores; the others have their own."""


def front_matter(
    name: str,
    base: BaseRef,
    tasks: Sequence[Task],
    licences: set[str | None],
    rows: Sequence[ScoredTask],
    split: str,
    facts: Facts,
) -> str:
    """YAML between its two lines of dashes.

    Args:
        name: of the model.
        base: what the bricks stand on.
        tasks: what is answered.
        licences: of all bricks, None for one that states none.
        rows: scores; undefined ones are left out.
        split: that they were measured on.
        facts: what a person states.
    """
    results = [
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
    licence, licence_name = _licence(licences)
    data = ModelCardData(
        license=licence,
        license_name=licence_name,
        library_name="medlego",
        pipeline_tag="image-classification",
        base_model=facts.base_model or hub_name(base.name),
        base_model_relation="adapter",
        datasets=list(facts.datasets) or None,
        tags=_tags(tasks, facts),
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def hub_name(name: str) -> str | None:
    """The repository that timm fetches an architecture's weights from; None for the mini base."""
    import timm

    if name == MINI_NAME or not timm.is_model(name.split(".")[0]):
        return None
    config = timm.get_pretrained_cfg(name)
    found: str | None = None if config is None else config.hf_hub_id
    return f"{found}{name}" if found == "timm/" else found


def _licence(licences: set[str | None]) -> tuple[str | None, str | None]:
    """The one identifier that all bricks state, or `other` with what they state by name."""
    stated = sorted(licence for licence in licences if licence is not None)
    if not stated:
        return None, None
    if len(licences) == 1 and stated[0].lower() in LICENCES:
        return stated[0].lower(), None
    missing = ["not stated by some bricks"] if None in licences else []
    return "other", ", ".join([*stated, *missing])


def _tags(tasks: Sequence[Task], facts: Facts) -> list[str]:
    seen = [part for task in tasks for part in (task.modality, task.body_part) if part]
    words = [*facts.keywords, *(part.lower() for part in seen)]
    return list(dict.fromkeys(["medlego", "medical", "lora", "image-classification", *words]))
