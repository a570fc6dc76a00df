"""Gates: the change between two generalists on the same images, judged by limits."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from torch import Tensor

from factories import make_base, make_brick, with_measured_profile
from medlego.base import Inputs
from medlego.bricks import Brick, Head, Signer
from medlego.data import ArrayImages, Dataset, Samples
from medlego.errors import DatasetError, GeneralistError, SettingsError
from medlego.evaluation import GateLimits, check
from medlego.evaluation.gate import TaskLimits
from medlego.generalist import Generalist, Stamp, Trust, add, assemble, remove, with_gate
from medlego.generalist.lineage import chain_problems
from medlego.metrics import Sample, interval, score_replicates
from medlego.prediction import Backbone, TaskAnswers, features_of

BASE = make_base(depth=1)
A = make_brick("a", seed=0, base=BASE)
B = make_brick("b", seed=1, base=BASE)
COUNT = 90
LOOSE = TaskLimits(max_loss=1.0, max_subgroup_loss=1.0)


def answers(generalist: Generalist, task: str, images: np.ndarray) -> np.ndarray:
    return TaskAnswers.read(generalist.reader(task), pooled(generalist, images)).probs


def pooled(generalist: Generalist, images: np.ndarray) -> Tensor:
    backbone = Backbone.of(generalist, BASE)
    return features_of(backbone.features, Inputs(ArrayImages(images), BASE))


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16), dtype=np.uint8)


def data(brick: Brick, wrong: float = 0.0, groups: dict[str, np.ndarray] | None = None) -> Dataset:
    """Images that the brick alone answers right, but for a share."""
    pictures = images()
    labels = answers(assemble([brick]), brick.task.name, pictures).argmax(axis=1)
    count = int(wrong * COUNT)
    labels[:count] = (labels[:count] + 1) % len(brick.task.labels)
    part = Samples(ArrayImages(pictures), labels, None, groups or {})
    return Dataset(brick.task, part, part, part)


def sharp(brick: Brick, turn: float = 0.0) -> Brick:
    """The brick with a head that spreads the images over its labels, or one turned from that."""
    mean = pooled(assemble([brick]), images()).mean(dim=0)
    other = make_brick("x", seed=7, base=BASE).head.weight
    weight = 50 * (math.cos(turn) * brick.head.weight + math.sin(turn) * other)
    return replace(brick, head=Head(weight, -weight @ mean))


A, B = sharp(A), sharp(B)
TURNED = {turn: sharp(make_brick("a", seed=0, base=BASE), turn) for turn in (0.3, math.pi)}


@pytest.mark.parametrize(
    ("score", "count", "verdict"),
    [
        ("accuracy", 2, "undecided"),
        ("accuracy", 19, "undecided"),
        ("accuracy", 20, "unclear"),
        ("accuracy", 180, "unclear"),
        ("accuracy", 190, "pass"),
        ("balanced_accuracy", 190, "unclear"),
        ("balanced_accuracy", 600, "pass"),
    ],
)
def test_nothing_changed_passes_where_the_images_are_enough_to_say_so(score, count, verdict):
    dataset = data(A, 0.2)
    rows = np.resize(np.arange(COUNT), count)
    part = Samples(ArrayImages(images()[rows]), dataset.test.labels[rows], None, {})
    limits = GateLimits(default=TaskLimits(score=score))
    report = check(
        assemble([A]), assemble([A]), {"a": replace(dataset, test=part)}, limits, base=BASE
    )
    (change,) = report.tasks
    assert (change.verdict, change.images) == (verdict, count)
    assert report.passed == (verdict == "pass")
    assert change.change is not None
    assert change.change.low < change.change.value == 0 < change.change.high


def test_images_without_a_known_label_do_not_count():
    brick = make_brick("m", kind="multilabel", base=BASE)
    labels = np.full((COUNT, len(brick.task.labels)), np.nan, np.float32)
    labels[:3, 0] = 1
    part = Samples(ArrayImages(images()), labels)
    limits = GateLimits(default=TaskLimits(score="accuracy"))
    dataset = Dataset(brick.task, part, part, part)
    (change,) = check(assemble([brick]), assemble([brick]), {"m": dataset}, limits, base=BASE).tasks
    assert (change.images, change.verdict) == (3, "undecided")


def test_a_score_that_is_undefined_is_undecided():
    dataset = data(A)
    rows = np.flatnonzero(dataset.test.labels == dataset.test.labels[0])[:30]
    part = Samples(ArrayImages(images()[rows]), dataset.test.labels[rows], None, {})
    limits = GateLimits(
        default=TaskLimits(score="auroc", min_task_images=1), unclear="pass", min_images=5
    )
    report = check(
        assemble([A]), assemble([A]), {"a": replace(dataset, test=part)}, limits, base=BASE
    )
    assert (report.tasks[0].verdict, report.passed) == ("undecided", False)
    assert report.tasks[0].reason == "auroc is undefined on these images"


def test_a_task_that_is_lost_fails():
    report = check(assemble([TURNED[math.pi]]), assemble([A]), {"a": data(A)}, base=BASE)
    (change,) = report.tasks
    assert not report.passed
    assert change.verdict == "fail"
    assert change.reason.startswith("lost more than 0.02 at 95%; label label-")


def test_the_interval_is_of_the_paired_change():
    before, after = assemble([A]), assemble([TURNED[0.3]])
    dataset = data(A, 0.1)
    (change,) = check(after, before, {"a": dataset}, base=BASE, seed=3).tasks
    drawn = [
        score_replicates(Sample(A.task, answers(g, "a", images()), dataset.test.labels), seed=3)
        for g in (before, after)
    ]
    expected = interval(drawn[1]["balanced_accuracy"] - drawn[0]["balanced_accuracy"])
    assert change.change == expected


@pytest.mark.parametrize(("unclear", "passed"), [("fail", False), ("pass", True)])
def test_too_few_images_are_unclear_and_the_limits_say_what_that_means(unclear, passed):
    dataset, after = data(A), assemble([TURNED[0.3]])
    (change,) = check(after, assemble([A]), {"a": dataset}, base=BASE).tasks
    assert change.change is not None
    loss = -change.change.value
    limits = GateLimits(default=TaskLimits(max_loss=loss, max_subgroup_loss=1), unclear=unclear)
    report = check(after, assemble([A]), {"a": dataset}, limits, base=BASE)
    (change,) = report.tasks
    assert (change.verdict, report.passed) == ("unclear", passed)


def test_the_worst_subgroup_is_named_and_can_fail_alone():
    dataset = data(A)
    pictures = images()
    worse = assemble([TURNED[0.3]])
    lost = answers(worse, "a", pictures).argmax(axis=1) != dataset.test.labels
    assert 5 <= lost.sum() <= COUNT - 5
    groups = {"site": np.where(lost, "north", "south")}
    dataset = data(A, groups=groups)
    own = TaskLimits(score="accuracy", max_loss=1, max_subgroup_loss=0.1)
    limits = GateLimits(default=own, min_images=5)
    (change,) = check(worse, assemble([A]), {"a": dataset}, limits, base=BASE).tasks
    assert change.worst_subgroup is not None
    assert (change.worst_subgroup.name, change.worst_subgroup.images) == (
        "site north",
        int(lost.sum()),
    )
    assert change.worst_subgroup.change.value == -1
    assert change.verdict == "fail"
    assert change.reason.endswith("; site north lost more than 0.1")


def test_small_subgroups_and_unknown_groups_are_left_out():
    groups = {"sex": np.where(np.arange(COUNT) < 3, "x", "")}
    limits = GateLimits(default=LOOSE, min_images=COUNT)
    (change,) = check(
        assemble([A]), assemble([A]), {"a": data(A, groups=groups)}, limits, base=BASE
    ).tasks
    assert change.worst_subgroup is None


def test_a_new_task_is_held_against_its_least_score_only():
    before = assemble([A])
    after = add(before, make_brick("b", seed=1, base=BASE))
    limits = GateLimits(default=LOOSE, task={"b": TaskLimits(min_score=0.9)})
    report = check(after, before, {"b": data(B)}, limits, base=BASE)
    (change,) = report.tasks
    assert (change.before, change.change, change.verdict) == (None, None, "fail")
    assert report.unchecked == ("a",)
    assert check(after, before, {"b": data(B)}, GateLimits(default=LOOSE), base=BASE).passed


def test_a_task_with_more_labels_than_before_is_compared_by_name():
    more = make_brick("a", seed=0, base=BASE, count=4)
    wide = replace(A, task=more.task, head=more.head)
    dataset = data(A)
    whole = replace(dataset, task=A.task)
    report = check(
        assemble([wide]), assemble([A]), {"a": whole}, GateLimits(default=LOOSE), base=BASE
    )
    assert report.notes == ("a: its labels changed; those that are new count as never answered",)
    assert report.tasks[0].before is not None
    assert report.tasks[0].before.value == 1


def test_a_required_task_needs_data():
    with pytest.raises(DatasetError, match="expected data for b too, as the gate says"):
        check(
            assemble([A, B]), assemble([A]), {"a": data(A)}, GateLimits(require=("b",)), base=BASE
        )


def test_no_data_and_unknown_tasks_are_refused():
    with pytest.raises(DatasetError, match="expected at least one data set"):
        check(assemble([A]), assemble([A]), {}, base=BASE)
    with pytest.raises(GeneralistError, match="expected one of a, got 'x'"):
        check(assemble([A]), assemble([A]), {"x": data(A)}, base=BASE)
    with pytest.raises(DatasetError, match="expected train, val, test or all, got 'sets'"):
        check(assemble([A]), assemble([A]), {"a": data(A)}, base=BASE, split="sets")


def test_the_findings_stand_in_the_lineage_and_are_signed():
    signer = Signer.new()
    stamp = Stamp("2026-11-25T10:00:00Z", "Ada", signer)
    after = remove(assemble([A, B], stamp=stamp), "b", stamp=stamp)
    report = check(after, assemble([A, B]), {"a": data(A)}, GateLimits(default=LOOSE), base=BASE)
    lineage = with_gate(after.lineage, report.as_dict(), stamp)
    assert lineage[-1].gate is not None
    assert lineage[-1].gate["passed"]
    assert lineage[-1].removed == (B.digest,)
    assert chain_problems(lineage) == []
    key = {"name": "Ada", "public": signer.public.text, "roles": ["edit"]}
    trust = Trust.model_validate({"key": [key]})
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert trust.lineage_problems(lineage, now) == []
    softened = lineage[-1].model_copy(update={"gate": {"passed": True}})
    assert trust.lineage_problems((lineage[0], softened), now) != []


LIMITS = """
level = 0.9
require = ["a"]
[default]
max_loss = 0.02
[task.a]
score = "auroc"
max_loss = 0.01
"""


def test_limits_are_read_from_toml(tmp_path):
    (tmp_path / "g.toml").write_text(LIMITS)
    limits = GateLimits.load(tmp_path / "g.toml")
    assert (limits.level, limits.of("a").score, limits.of("b").max_loss) == (0.9, "auroc", 0.02)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("default = ", "expected limits in TOML"),
        ("level = 2", "level: "),
        ("speed = 1", "speed: "),
        ("[default]\nmax_loss = -0.1", r"default\.max_loss: "),
        ('[task.a]\nscore = "charm"', r"task\.a\.score: "),
    ],
)
def test_limits_that_are_wrong_are_refused(text, says, tmp_path):
    (tmp_path / "g.toml").write_text(text)
    with pytest.raises(SettingsError, match=says):
        GateLimits.load(tmp_path / "g.toml")
    with pytest.raises(SettingsError, match="found nothing there"):
        GateLimits.load(tmp_path / "none")


def test_a_brick_that_draws_another_tasks_images_to_itself_fails_the_gate():
    own = with_measured_profile(A, BASE, data(A))
    thief = with_measured_profile(B, BASE, data(B))
    assert thief.profile is not None
    moved = thief.profile.distance + torch.tensor([5.0, 0.0])
    thief = replace(thief, profile=replace(thief.profile, distance=moved))
    stated = [
        replace(b, task=b.task.model_copy(update={"modality": m, "body_part": "CHEST"}))
        for b, m in ((own, "DX"), (thief, "MR"))
    ]
    before, after = assemble(stated[:1]), assemble(stated)
    assert (before.recipe.mode, after.recipe.mode) == ("routed", "routed")
    report = check(after, before, {"a": data(A)}, base=BASE)
    (change,) = report.tasks
    assert not report.passed
    assert change.before is not None
    assert (change.before.value, change.after.value) == (1, 0)
