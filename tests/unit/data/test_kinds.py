"""Kinds of task: what each decides, and that nothing but its file and its line decides it."""

from __future__ import annotations

import ast
from pathlib import Path
from types import MappingProxyType
from typing import final

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from factories import make_base, make_brick, make_dataset, make_task
from medlego.bricks import brick_bytes, brick_from_bytes
from medlego.data import KINDS, Dataset, Task, kinds
from medlego.data.kinds.kind import Kind
from medlego.data.kinds.multilabel import MAX_POSITIVE_WEIGHT
from medlego.errors import InputError
from medlego.evaluation import check, evaluate
from medlego.generalist import assemble
from medlego.metrics import score_names
from medlego.prediction import predict
from medlego.train import TrainSettings, train_brick
from tools.rooms import PACKAGE

BINARY = make_task(kind="binary").rules
FINDINGS = make_task(kind="multilabel", count=2).rules


@final
class Rival(Kind):
    """A made-up kind: a sigmoid for each label, scaled so that they sum to one."""

    name = "rival"
    summary = "exactly one of several labels, each judged alone"
    merging = "rows"
    scores = ("quadratic_kappa",)

    def probabilities(self, logits: Tensor) -> Tensor:
        odds = logits.sigmoid()
        return odds / odds.sum(dim=1, keepdim=True)

    def loss(
        self, logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0
    ) -> Tensor:
        goal = F.one_hot(labels, self.count).to(logits) * (1 - smoothing) + smoothing / 2
        each = F.binary_cross_entropy_with_logits(logits, goal, reduction="none").sum(dim=1)
        return (each * weights[labels]).mean()


@pytest.fixture
def rival(monkeypatch: pytest.MonkeyPatch) -> None:
    more = MappingProxyType({**KINDS, Rival.name: Rival})
    monkeypatch.setattr(kinds, "KINDS", more)


def rival_data(name: str = "task") -> Dataset:
    return make_dataset(name, kind="rival", images=40)


@pytest.mark.usefixtures("rival")
def test_a_new_kind_is_trained_saved_read_asked_scored_and_checked() -> None:
    base, data = make_base(), rival_data()
    brick = train_brick(base, data, TrainSettings(epochs=2, rank=2), device="cpu")
    assert brick.calibration is not None
    read = brick_from_bytes(brick_bytes(brick), "rival")
    assert (read.digest, read.task.kind) == (brick.digest, "rival")
    generalist = assemble([read, make_brick("other", base=base)], mode="merged")
    images = [data.test.images[i] for i in range(3)]
    for prediction in predict(generalist, images, base=base, every_task=True):
        answer = prediction.answers[0]
        assert sum(answer.probs) == pytest.approx(1, abs=1e-6)
        assert answer.labels == (answer.task.labels[int(np.argmax(answer.probs))],)
    report = evaluate(generalist, {"task": data}, base=base, resamples=5)
    assert set(report.rows[0].scores) == set(score_names(data.task))
    assert "quadratic_kappa" in report.rows[0].scores
    (change,) = check(generalist, generalist, {"task": data}, base=base, resamples=5).tasks
    assert change.change is not None
    assert change.change.value == 0


@pytest.mark.usefixtures("rival")
def test_sites_of_a_new_kind_have_one_head() -> None:
    base = make_base()
    sites = [make_brick("task", seed, kind="rival", base=base) for seed in (1, 2)]
    (capability,) = assemble(sites).capabilities
    mean = (sites[0].head.weight.double() + sites[1].head.weight.double()) / 2
    torch.testing.assert_close(capability.head.weight.double(), mean, rtol=0, atol=1e-6)


def test_a_kind_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of multiclass, binary, multilabel, ordinal"):
        Task(name="task", kind="rival", labels=("a", "b"))


def decides(node: ast.AST) -> list[ast.expr]:
    """What a comparison, a case or a look-up is decided by."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.MatchValue):
        return [node.value]
    return [node.slice] if isinstance(node, ast.Subscript) else []


def names_a_kind(node: ast.expr) -> bool:
    return any(isinstance(n, ast.Constant) and n.value in KINDS for n in ast.walk(node))


def test_no_other_file_asks_which_kind_a_task_is() -> None:
    asking = [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if Path("data", "kinds") not in path.relative_to(PACKAGE).parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if any(map(names_a_kind, decides(node)))
    ]
    assert asking == []


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_says_what_an_image_has_and_answers_its_own_labels(name: str) -> None:
    rules, generator = make_task(kind=name).rules, np.random.default_rng(0)
    assert rules.summary
    assert rules.name == name
    labels = np.arange(6) % rules.count
    if not rules.exclusive:
        labels = generator.integers(0, 2, (6, rules.count)).astype(np.float32)
    sure = np.abs(rules.matrix(labels) - 0.1)
    assert (rules.matrix(rules.decide(sure)) == rules.matrix(labels)).all()
    assert (rules.read(labels[:, None] if rules.exclusive else labels) == labels).all()


@pytest.mark.parametrize("name", KINDS)
def test_a_free_bias_makes_the_heads_bias_again(name: str) -> None:
    rules = make_task(kind=name).rules
    bias = torch.linspace(1, -1, rules.head_shape[1])
    torch.testing.assert_close(rules.bias(rules.free_bias(bias)), bias, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "labels", "size"),
    [("binary", 3, "2"), ("multiclass", 1, "at least 2"), ("ordinal", 1, "at least 2")],
)
def test_a_kind_refuses_too_few_or_too_many_labels(kind: str, labels: int, size: str) -> None:
    with pytest.raises(InputError, match=f"labels: expected {size} for a {kind} task"):
        make_task(kind=kind, count=labels)


def test_labels_that_become_one_are_present_where_one_is_and_absent_where_all_are() -> None:
    nan = float("nan")
    labels = np.array([[1, nan, 0], [0, nan, 0], [0, 0, nan]], dtype=np.float32)
    rows, placed = FINDINGS.relabel(labels, np.array([1, 1, -1]))
    np.testing.assert_array_equal(placed, [[nan, 1], [nan, nan], [nan, 0]])
    assert rows.tolist() == [0, 1, 2]


def test_unknown_labels_carry_no_loss() -> None:
    rules = make_task(kind="multilabel").rules
    logits = torch.tensor([[0.3, -2.0, 5.0]], requires_grad=True)
    labels = torch.tensor([[1.0, float("nan"), float("nan")]])
    loss = rules.loss(logits, labels, torch.ones(3))
    loss.backward()
    torch.testing.assert_close(loss, F.softplus(torch.tensor(-0.3)), rtol=1e-6, atol=0)
    assert logits.grad is not None
    assert logits.grad[0, 1:].tolist() == [0.0, 0.0]


def test_a_batch_without_any_known_label_has_zero_loss() -> None:
    labels = torch.full((2, 2), float("nan"))
    assert FINDINGS.loss(torch.zeros(2, 2), labels, torch.ones(2)).item() == 0.0


def test_binary_loss_is_weighted_cross_entropy() -> None:
    logits, labels = torch.tensor([[0.5], [-1.0]]), torch.tensor([1, 0])
    expected = (3 * F.softplus(torch.tensor(-0.5)) + F.softplus(torch.tensor(-1.0))) / 4
    loss = BINARY.loss(logits, labels, torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_ordinal_loss_asks_each_threshold() -> None:
    rules, logits = make_task(kind="ordinal").rules, torch.tensor([[2.0, -1.0]])
    expected = (F.softplus(torch.tensor(-2.0)) + F.softplus(torch.tensor(-1.0))) / 2
    loss = rules.loss(logits, torch.tensor([1]), torch.ones(3))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)


def test_balanced_class_weights_average_one_over_the_images() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = make_task().rules.class_weights(labels)
    assert float(weights[labels].mean()) == pytest.approx(1.0, rel=1e-6)
    np.testing.assert_allclose((weights.numpy() * np.bincount(labels)), 10 / 3, rtol=1e-6)


def test_multilabel_weights_ignore_unknown_labels_and_are_bounded() -> None:
    rules = make_task(kind="multilabel").rules
    labels = np.array([[1, 0, 0], [0, np.nan, 0], [0, 1, 0], [np.nan, 1, 0]], dtype=np.float32)
    np.testing.assert_allclose(rules.class_weights(labels).numpy(), [2.0, 0.5, 4.0], rtol=1e-6)
    rare = np.zeros((1000, 3), dtype=np.float32)
    assert rules.class_weights(rare).max() == MAX_POSITIVE_WEIGHT


def test_a_threshold_decides_what_a_binary_task_answers() -> None:
    probs = np.array([[0.7, 0.3], [0.4, 0.6]])
    assert BINARY.decide(probs).tolist() == [0, 1]
    assert BINARY.decide(probs, np.array([0.2])).tolist() == [1, 1]


def test_thresholds_decide_label_by_label() -> None:
    decisions = FINDINGS.decide(np.array([[0.3, 0.3]]), np.array([0.2, 0.4]))
    assert decisions.tolist() == [[True, False]]


@pytest.mark.parametrize("limits", [None, [0.1, 0.9]], ids=["half", "thresholds"])
def test_no_answer_is_wrong_for_every_finding(limits: list[float] | None) -> None:
    thresholds = None if limits is None else np.array(limits)
    labels = np.array([[0, 1], [1, 0]])
    wrong = FINDINGS.decide(FINDINGS.wrong_answers(labels, thresholds), thresholds)
    assert (wrong != labels).all()


@pytest.mark.parametrize("limits", [None, [0.1]], ids=["half", "threshold"])
def test_no_answer_is_wrong_for_a_binary_task(limits: list[float] | None) -> None:
    thresholds = None if limits is None else np.array(limits)
    labels = np.array([0, 1])
    wrong = BINARY.decide(BINARY.wrong_answers(labels, thresholds), thresholds)
    assert (wrong != labels).all()
