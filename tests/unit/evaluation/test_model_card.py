"""Model cards: every promised field is there, the unknown says so, foreign text stays text."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from huggingface_hub import ModelCard
from pydantic import BaseModel

from factories import make_base, make_brick, with_profile
from medlego.bricks import Brick, Card, Signer, sign_brick
from medlego.data import Task
from medlego.data.task import Code
from medlego.errors import SettingsError
from medlego.evaluation import Evaluated, Facts, brick_card, generalist_card
from medlego.evaluation.model_card.write import hub_name, plain
from medlego.evaluation.result import GENERALIST, SPECIALIST
from medlego.generalist import Stamp, assemble
from medlego.merge import Provider

NOT_STATED = "not stated"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "model-card.md"
CHAI = (
    *("Developer", "Contact", "Stage", "Date", "Version", "Availability", "Regulatory approval"),
    *("Summary", "Keywords", "Intended use and workflow", "Primary intended users", "How to use"),
    *("Targeted patient population", "Cautioned out-of-scope settings"),
    *("Known risks and limitations", "Known biases or ethical considerations"),
    *("Clinical risk level", "Outcomes and outputs", "Model type", "Foundation model"),
    *("Input data source", "Input", "Development data", "Bias mitigation", "Ongoing maintenance"),
    *("Security", "Transparency", "Funding", "Third-party information", "Stakeholders consulted"),
    *("Usefulness, usability and efficacy", "Fairness and equity, by subgroups"),
    *("Safety and reliability", "Evaluation references", "Clinical trial"),
    *("Peer-reviewed publications", "Reimbursement status", "Patient consent or disclosure"),
)
"""Elements of CHAI's Applied Model Card v0.2, by our names."""
OURS = (
    *("Licence", "Foundation model's licence", "Foundation model's fingerprint", "Data licence"),
    *("Limits that follow from its making", "Training data", "Training settings", "Adapted"),
    *("Delta parameters", "Head parameters", "Grams", "Profile", "Digest"),
)
FACTS = """
name = "Brain | one"
developer = "Radiology, Example Hospital"
contact = "ai@hospital.example"
keywords = ["glioma"]
base_model = "owner/name"
datasets = ["owner/scans"]
data_licence = "CC BY 4.0"
[release]
stage = "research"
[uses]
intended_use = '''
Second reading.
Never alone.'''
population = "adults"
[warnings]
risk_level = "high"
[metrics]
fairness = "sex: no difference found"
"""


def front_matter(card: str) -> Any:
    """What the hub's own reader makes of it."""
    return ModelCard(card).data


def fields(card: str) -> dict[str, str]:
    """Every field of a card by name; a field that stands twice keeps its first value."""
    values: dict[str, str] = {}
    for line in card.splitlines():
        if line.startswith("- **") and ":** " in line:
            name, _, value = line.removeprefix("- **").partition(":** ")
            values.setdefault(name, value)
    return values


def brick(name: str = "brain", **card: object) -> Brick:
    base = make_base()
    plain_brick = with_profile(make_brick(name, base=base, count=2))
    labels, codes = ("none", "glioma"), (None, Code(scheme="SCT", value="393564001", meaning="g"))
    task = {"name": name, "kind": "multiclass", "labels": labels, "codes": codes}
    task |= {"modality": "MR", "body_part": "BRAIN"}
    images = {"train": {"none": 30, "glioma": 1200}, "val": {"none": 5, "glioma": 7}}
    made = {"images": images, "data": "made up", "licence": "Apache-2.0", "scores": {"auroc": 0.9}}
    return replace(
        plain_brick, task=Task.model_validate(task), card=Card.model_validate(made | card)
    )


def evaluated(own, **change):
    score = {"value": 0.875, "low": 0.75, "high": 1.0}
    undefined = {"value": None, "low": None, "high": None}
    rows = [
        {"model": m, "task": t.name, "images": 40, "auroc": score, "f1": undefined}
        for m in (GENERALIST, SPECIALIST)
        for t in own.tasks
    ]
    bricks = {c.task.name: [b.digest for b in c.bricks] for c in own.capabilities}
    document = {"generalist": own.recipe.digest, "bricks": bricks, "split": "test"}
    return document | {"level": 0.95, "rows": rows, "notes": []} | change


def save(tmp_path, document):
    path = tmp_path / "e.json"
    path.write_text(json.dumps(document))
    return Evaluated.load(path)


def test_a_bricks_card_has_every_promised_field():
    values = fields(brick_card(brick()))
    assert [name for name in (*CHAI, *OURS) if name not in values] == []


def test_a_generalists_card_has_every_promised_field():
    values = fields(generalist_card(assemble([brick("a"), brick("b")])))
    wanted = (*CHAI, *OURS, "Mode", "Merge method", "Coefficients", "Tasks of several sites")
    assert [name for name in wanted if name not in values] == []


def test_what_nobody_stated_says_so():
    values = fields(brick_card(brick(data=None, licence=None, images={})))
    names = ("Developer", "Contact", "Intended use and workflow", "Targeted patient population")
    for name in (*names, "Training data", "Licence", "Training images", "Evaluation", "Funding"):
        assert values[name] == NOT_STATED, name


def test_a_bricks_card_tells_what_the_brick_knows():
    own = brick()
    card = brick_card(own)
    values = fields(card)
    assert values["Training data"] == "made up"
    assert values["Licence"] == "Apache-2.0"
    assert values["Digest"] == f"`{own.digest}`"
    assert f"`{own.base.fingerprint}`" in card
    assert values["Delta parameters"].startswith(f"{own.delta_parameters:,} (")
    assert f"{len(own.targets)} targets of rank 2" in values["Adapted"]
    assert "none, glioma (SCT 393564001); MR, BRAIN" in values["Outcomes and outputs"]
    assert "over 64 training images" in values["Profile"]
    assert f"| brain | {own.digest[:12]} | glioma | 1,200 | 7 |" in card


def test_front_matter_is_read_by_the_hubs_own_reader():
    read = front_matter(brick_card(brick()))
    assert read.library_name == "medlego"
    assert read.license == "apache-2.0"
    assert read.pipeline_tag == "image-classification"
    assert {"medlego", "medical", "mr", "brain"} <= set(read.tags)
    assert read.base_model is None


def test_scores_reach_the_model_index_with_their_split(tmp_path):
    own = assemble([brick()])
    card = generalist_card(own, evaluated=save(tmp_path, evaluated(own)))
    (result,) = front_matter(card).eval_results
    assert (result.metric_type, result.metric_value) == ("roc_auc", 0.875)
    assert (result.dataset_name, result.dataset_split) == ("brain", "test")
    assert "| brain | 40 | auroc | 0.875 [0.750, 1.000] |" in card
    assert "| brain | 40 | f1 | undefined [undefined, undefined] |" in card


def test_subgroups_and_calibration_are_told_where_they_are_known(tmp_path):
    own = assemble([brick()])
    score = {"value": 0.5, "low": 0.25, "high": 0.75}
    part = {"group": "sex", "value": "F", "images": 7, "small": True}
    part |= {"balanced_accuracy": score, "auroc": score}
    tasks = {"brain": {"calibration": "stale", "subgroups": [part]}}
    card = generalist_card(own, evaluated=save(tmp_path, evaluated(own, tasks=tasks)))
    line = "| brain | sex: F | 7 (too few to judge) | 0.500 [0.250, 0.750] | 0.500 [0.250, 0.750] |"
    assert line in card
    assert "brain: not calibrated, since" in fields(card)["Probabilities"]
    assert "By subgroup" not in generalist_card(own, evaluated=save(tmp_path, evaluated(own)))


def test_a_bricks_scores_are_those_of_its_specialist(tmp_path):
    own, other = brick("brain"), brick("chest")
    card = brick_card(own, evaluated=save(tmp_path, evaluated(assemble([own, other]))))
    assert "| brain | 40 | auroc | 0.875 [0.750, 1.000] |" in card
    assert "chest" not in card


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"generalist": "0" * 64}, "expected one of generalist"),
        ({"generalist": None}, "generalist: expected text, got None"),
        ({"rows": 3}, "rows: expected a list, got 3"),
    ],
)
def test_numbers_of_another_model_are_refused(tmp_path, change, says):
    own = assemble([brick()])
    with pytest.raises(SettingsError, match=says):
        generalist_card(own, evaluated=save(tmp_path, evaluated(own, **change)))


@pytest.mark.parametrize("text", ["<!DOCTYPE html>", "task,model", "{}"])
def test_another_file_than_an_evaluation_is_told_which_one_it_is_to_be(tmp_path, text):
    (tmp_path / "x").write_text(text)
    with pytest.raises(SettingsError, match="x: expected what medlego evaluate --json FILE writes"):
        Evaluated.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bricks": {"brain": ["0" * 64]}}, "alone as brain, got 000000000000"),
        ({"bricks": {}}, "alone as brain, got none"),
        ({"rows": []}, "expected scores of brain, got none"),
    ],
)
def test_numbers_of_another_brick_are_refused(tmp_path, change, says):
    own = brick()
    with pytest.raises(SettingsError, match=says):
        brick_card(own, evaluated=save(tmp_path, evaluated(assemble([own]), **change)))


def test_a_file_that_is_no_evaluation_is_refused(tmp_path):
    (tmp_path / "e.json").write_text("[1")
    with pytest.raises(SettingsError, match=r"e\.json: .* writes: expected a JSON object"):
        Evaluated.load(tmp_path / "e.json")


def test_facts_stand_in_their_fields(tmp_path):
    (tmp_path / "facts.toml").write_text(FACTS)
    card = brick_card(brick(), facts=Facts.load(tmp_path / "facts.toml"))
    values = fields(card)
    assert values["Developer"] == "Radiology, Example Hospital"
    assert values["Stage"] == "research"
    assert values["Targeted patient population"] == "adults"
    assert values["Clinical risk level"] == "high"
    assert values["Fairness and equity, by subgroups"] == "sex: no difference found"
    assert values["Data licence"] == "CC BY 4.0"
    assert "- **Intended use and workflow:** Second reading.\n  Never alone.\n" in card
    assert "\n# Brain \\| one\n" in card
    read = front_matter(card)
    assert (read.base_model, read.datasets) == ("owner/name", ["owner/scans"])
    assert "glioma" in read.tags


def test_every_fact_that_can_be_stated_reaches_the_card():
    def filled(model, path=""):
        return {
            name: filled(field.default, f"{path}{name}.")
            if isinstance(field.default, BaseModel)
            else f"said {path}{name}"
            for name, field in type(model).model_fields.items()
            if name not in ("keywords", "base_model", "datasets")
        }

    facts = filled(Facts())
    card = brick_card(brick(), facts=Facts.model_validate(facts))
    said = [v for t in facts.values() for v in (t.values() if isinstance(t, dict) else [t])]
    assert len(said) == 35
    assert [text for text in said if text not in card] == []


def test_unknown_keys_of_a_facts_file_are_refused_together(tmp_path):
    (tmp_path / "facts.toml").write_text("colour = 'red'\n[uses]\nintended = 'x'\n")
    with pytest.raises(SettingsError, match=r"(?s)2 problems.*uses\.intended: .*colour: "):
        Facts.load(tmp_path / "facts.toml")


def test_text_out_of_a_brick_brings_no_markup_of_its_own():
    card = brick_card(brick(data="<img src=x> | [a](b) `c` **d**", licence="--- x"))
    assert fields(card)["Training data"] == "&lt;img src=x&gt; \\| \\[a\\](b) \\`c\\` \\*\\*d\\*\\*"
    assert plain("btc_mri") == "btc_mri"
    assert front_matter(card).license == "other"


def test_licences_that_differ_are_named():
    both = assemble([brick("a"), brick("b", licence=None)])
    read = front_matter(generalist_card(both))
    assert (read.license, read.license_name) == ("other", "Apache-2.0, not stated by some bricks")


def test_a_generalists_card_has_bricks_lineage_and_signatures():
    signer = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    own = brick()
    stamp = Stamp("2026-01-02T03:04:05Z", "ada")
    card = generalist_card(assemble([own], stamp=stamp).signed([sign_brick(own, signer)]))
    assert f"| brain | `{own.digest}` | 1 |" in card
    assert f"`{signer.id[:12]}`" in card
    assert "| 0 | assemble | 2026-01-02T03:04:05Z | ada |" in card


def test_gates_and_screening_of_the_lineage_are_told():
    own = assemble([brick()])
    gate = {"passed": True, "tasks": [{"task": "brain"}]}
    gate["screening"] = [{"task": "brain", "flagged": ["push by a patch"]}]
    entry = own.lineage[0].model_copy(update={"gate": gate})
    card = generalist_card(replace(own, lineage=(entry,)))
    assert "| passed: brain | brain: push by a patch |" in card


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        (Provider(distribution="medlego-x", version="1.2"), "linear; from package medlego-x 1.2"),
        (Provider(), "linear; from no installed package"),
    ],
)
def test_the_package_of_a_method_from_outside_is_named(provider, words):
    own = assemble([brick()])
    recipe = own.recipe.model_copy(update={"provider": provider})
    assert fields(generalist_card(replace(own, recipe=recipe)))["Merge method"] == words


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("deit_tiny_patch16_224", "timm/deit_tiny_patch16_224.fb_in1k"),
        ("vit_base_patch16_224.augreg_in21k", "timm/vit_base_patch16_224.augreg_in21k"),
        ("mini", None),
        ("tiny", None),
    ],
)
def test_a_base_is_named_as_the_hub_knows_it(name, repository):
    assert hub_name(name) == repository


def test_the_example_in_the_docs_states_every_fact():
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    facts = Facts.model_validate(tomllib.loads(example)).model_dump()
    missing = [
        k for t in (facts, *facts.values()) if isinstance(t, dict) for k in t if t[k] is None
    ]
    assert missing == []


def test_cards_of_the_same_files_are_the_same():
    assert brick_card(brick()) == brick_card(brick())
