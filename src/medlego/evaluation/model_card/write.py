"""A card's text: front matter, the sections of CHAI's Applied Model Card, and what backs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medlego.base import BaseRef
from medlego.bricks import Brick, BrickSignature
from medlego.data import Task
from medlego.evaluation.model_card import fields as told
from medlego.evaluation.model_card.evaluated import Detail, Evaluated, ScoredTask
from medlego.evaluation.model_card.facts import NOT_STATED, Facts
from medlego.evaluation.model_card.front import front_matter
from medlego.evaluation.model_card.markdown import Fields, Section, listed, plain, rendered
from medlego.generalist import Generalist


@dataclass(frozen=True)
class _Model:
    """What both kinds of card are made of."""

    name: str
    version: str
    how_to_use: str
    kind: str
    base: BaseRef
    tasks: tuple[Task, ...]
    bricks: tuple[Brick, ...]
    security: str
    rows: tuple[ScoredTask, ...]
    details: Mapping[str, Detail]
    more: tuple[Section, ...]


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
    identity = (("Digest", f"`{brick.digest}`"), ("Signed by keys", told.signers(signature)))
    weights = Section("Weights and identity", (*told.weights_fields(brick), *identity))
    model = _Model(
        name=brick.task.name,
        version=brick.digest[:12],
        how_to_use="`medlego assemble BRICK -o DIR`, then `medlego predict DIR IMAGE`.",
        kind="Low-rank updates (LoRA) of a frozen vision transformer, with a linear head",
        base=brick.base,
        tasks=(brick.task,),
        bricks=(brick,),
        security="The digest below covers every number and word of the brick.",
        rows=rows,
        details={},
        more=(Section("Training", told.training_fields(brick)), weights),
    )
    return _written(model, facts, evaluated)


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
    recipe = Section(
        "Recipe",
        (
            *told.recipe_fields(generalist),
            ("Tasks of several sites", told.site_notes(generalist.capabilities) or "none"),
            ("Digest", f"`{generalist.recipe.digest}`"),
        ),
        (("Bricks:", told.bricks_table(generalist)),),
    )
    each = tuple(
        Section(
            f"Brick {plain(brick.task.name)} {brick.digest[:12]}",
            (*told.training_fields(brick), *told.weights_fields(brick)),
        )
        for brick in generalist.bricks
    )
    history = Section(
        "Lineage",
        tables=(
            (
                "Each entry is sealed by the next; `medlego edit verify` proves them.",
                told.lineage_table(generalist.lineage),
            ),
        ),
    )
    model = _Model(
        name=listed(task.name for task in generalist.tasks) or "",
        version=generalist.recipe.digest[:12],
        how_to_use="`medlego predict DIR IMAGE`.",
        kind="Low-rank updates (LoRA) of a frozen vision transformer from several specialists, "
        f"with a linear head a task; works {generalist.recipe.mode}",
        base=generalist.base,
        tasks=generalist.tasks,
        bricks=generalist.bricks,
        security="Digests and signatures are under Recipe and Lineage; this card checks none.",
        rows=rows,
        details={} if evaluated is None else evaluated.tasks,
        more=(recipe, *each, history),
    )
    return _written(model, facts, evaluated)


def _written(model: _Model, facts: Facts, evaluated: Evaluated | None) -> str:
    licences = {brick.card.licence for brick in model.bricks}
    split = "" if evaluated is None else evaluated.split
    name = facts.name or model.name
    head = front_matter(name, model.base, model.tasks, licences, model.rows, split, facts)
    sections = (*_about(model, facts), _trust(model, facts), _metrics(model, facts, evaluated))
    body = rendered([*sections, _resources(facts), *model.more])
    title = plain(name) if facts.name else name
    return f"{head}\n# {title}\n\n{told.RESEARCH}\n\n{body}"


def _about(model: _Model, facts: Facts) -> tuple[Section, ...]:
    release, uses, warnings = facts.release, facts.uses, facts.warnings
    return (
        Section("Developer", (("Developer", facts.developer), ("Contact", facts.contact))),
        Section(
            "Release",
            (
                ("Stage", release.stage),
                ("Date", release.date),
                ("Version", release.version or f"content {model.version}"),
                ("Availability", release.availability),
                ("Regulatory approval", release.regulatory_approval),
                ("Licence", _licences(model.bricks)),
            ),
        ),
        Section("Summary", (("Summary", facts.summary), ("Keywords", listed(facts.keywords)))),
        Section(
            "Uses and directions",
            (
                ("Intended use and workflow", uses.intended_use),
                ("Primary intended users", uses.users),
                ("How to use", uses.how_to_use or model.how_to_use),
                ("Targeted patient population", uses.population),
                ("Cautioned out-of-scope settings", uses.out_of_scope),
            ),
        ),
        Section(
            "Warnings",
            (
                ("Known risks and limitations", warnings.risks),
                ("Limits that follow from its making", _limits(model.bricks)),
                ("Known biases or ethical considerations", warnings.biases),
                ("Clinical risk level", warnings.risk_level),
            ),
        ),
    )


def _trust(model: _Model, facts: Facts) -> Section:
    trust = facts.trust
    counts = told.counts(model.bricks)
    security = model.security if trust.security is None else f"{trust.security}\n{model.security}"
    fields: Fields = (
        ("Outcomes and outputs", "; ".join(told.outputs(task) for task in model.tasks)),
        ("Model type", model.kind),
        *told.base_fields(model.base),
        ("Input data source", trust.input_source),
        ("Development data", trust.development_data),
        ("Data licence", facts.data_licence),
        ("Bias mitigation", trust.bias_mitigation),
        ("Ongoing maintenance", trust.maintenance),
        ("Security", security),
        ("Transparency", trust.transparency),
        ("Funding", trust.funding),
        ("Third-party information", trust.third_party),
        ("Stakeholders consulted", trust.stakeholders),
    )
    if counts is None:
        return Section("Trust ingredients", (*fields, ("Training images", None)))
    caption = "Images that training saw, per label and split:"
    return Section("Trust ingredients", fields, ((caption, counts),))


def _metrics(model: _Model, facts: Facts, evaluated: Evaluated | None) -> Section:
    metrics = facts.metrics
    fields: Fields = (
        ("Probabilities", told.calibration(model.details)),
        ("Usefulness, usability and efficacy", metrics.usefulness),
        ("Fairness and equity, by subgroups", metrics.fairness),
        ("Safety and reliability", metrics.safety),
    )
    if evaluated is None:
        return Section("Key metrics", (("Evaluation", None), *fields))
    caption = (
        f"On the {plain(evaluated.split)} split, with {evaluated.level:.0%} intervals; evaluated "
        f"as part of generalist `{evaluated.generalist[:12]}`:"
    )
    tables = [(caption, told.scores(model.rows))]
    if (groups := told.subgroups(model.details)) is not None:
        tables.append(("By subgroup:", groups))
    return Section("Key metrics", fields, tuple(tables))


def _resources(facts: Facts) -> Section:
    resources = facts.resources
    return Section(
        "Resources",
        (
            ("Evaluation references", resources.references),
            ("Clinical trial", resources.clinical_trial),
            ("Peer-reviewed publications", resources.publications),
            ("Reimbursement status", resources.reimbursement),
            ("Patient consent or disclosure", resources.consent),
        ),
    )


def _licences(bricks: Sequence[Brick]) -> str | None:
    """All that the bricks state; None where none states any."""
    stated = dict.fromkeys(brick.card.licence for brick in bricks)
    if not any(stated):
        return None
    return listed(licence or f"{NOT_STATED} by some bricks" for licence in stated)


def _limits(bricks: Sequence[Brick]) -> str:
    limits = [
        "It knows the labels below and no other finding; something must be the likeliest of them.",
        "Weights can leak something about training images; no differential privacy covers them.",
    ]
    if all(brick.profile is None for brick in bricks):
        limits.append("No brick has a profile: an image of another kind is not noticed.")
    else:
        limits.append("The out-of-distribution score sees texture and brightness, not anatomy.")
    return " ".join(limits)
