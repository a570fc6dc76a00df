"""The head round: what leaves, what is fitted, what comes back, and what it may be put on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from factories import make_base, make_bricks, make_dataset, make_task, shut_test, with_grams
from medlego.bricks import Brick, brick_bytes, brick_from_bytes, load_head, save_head
from medlego.data import KINDS
from medlego.errors import DatasetError, GeneralistError
from medlego.evaluation import evaluate
from medlego.generalist import Generalist, assemble, specialist
from medlego.prediction import predict
from medlego.train import export_model, refit_head, with_heads
from medlego.train.head_fit import fit_head

BASE = make_base()


def quartet() -> Generalist:
    return assemble(make_bricks(KINDS, BASE, of_kinds=True))


GENERALIST = quartet()


def planted(kind: str, count: int = 90) -> tuple[Tensor, Tensor]:
    """Features whose first column tells the label, with noise and a large offset."""
    generator = np.random.default_rng(0)
    task = make_task(kind, kind)
    width, many = len(task.labels), kind == "multilabel"
    level = np.arange(count) % (width + many)
    x = generator.normal(size=(count, 6))
    x[:, 0] = level + 0.2 * x[:, 0]
    labels = (level[:, None] > np.arange(width)).astype(np.float32) if many else level
    return torch.from_numpy(100 + 5 * x), torch.from_numpy(labels)


def test_an_exported_model_is_the_merge_with_one_task() -> None:
    model = export_model(GENERALIST, "binary")
    assert model.task == GENERALIST.brick("binary").task
    assert model.settings == {"merged_model": GENERALIST.recipe.model}
    for name, delta in GENERALIST.deltas.items():
        torch.testing.assert_close(model.deltas[name].U, delta.U, rtol=0, atol=0)


def test_an_exported_model_answers_as_the_generalist() -> None:
    image = make_dataset("binary", kind="binary").test.images[0]
    (ours,) = predict(GENERALIST, [image], base=BASE, task="binary")
    (theirs,) = predict(specialist(export_model(GENERALIST, "binary")), [image], base=BASE)
    assert theirs.answers[0].probs == pytest.approx(ours.answers[0].probs, abs=1e-6)


def test_an_exported_model_holds_no_site_s_grams() -> None:
    bricks = [with_grams(brick) for brick in GENERALIST.bricks]
    model = export_model(assemble(bricks, "regmean"), "binary")
    assert model.grams == {}
    assert brick_from_bytes(brick_bytes(model), "x").digest == model.digest


def test_an_unknown_task_is_not_exported() -> None:
    with pytest.raises(GeneralistError, match="expected one of multiclass, binary"):
        export_model(GENERALIST, "chest")


@pytest.mark.parametrize("kind", KINDS)
def test_a_fitted_head_reads_what_is_planted(kind: str) -> None:
    task, (x, y) = make_task(kind, kind), planted(kind)
    head = fit_head(task, x, y, strength=10.0)
    rows, outputs = task.head_shape
    assert (tuple(head.weight.shape), tuple(head.bias.shape)) == ((rows, 6), (outputs,))
    probs = task.rules.probabilities(head.logits(x)).numpy()
    truth = y.numpy()
    correct = (probs > 0.5) == truth if kind == "multilabel" else probs.argmax(1) == truth
    assert correct.mean() > 0.9


def test_a_fitted_head_is_scikit_learns_logistic_regression() -> None:
    x, y = planted("multiclass")
    y = torch.where(y == 2, torch.zeros_like(y), y + (torch.arange(90) < 12))  # unequal classes
    standard = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    peer = LogisticRegression(C=0.3, class_weight="balanced", max_iter=5000, tol=1e-10)
    expected = peer.fit(standard, y.numpy()).predict_proba(standard)
    task = make_task()
    probs = task.rules.probabilities(fit_head(task, x, y, strength=0.3).logits(x)).numpy()
    np.testing.assert_allclose(probs, expected, rtol=0, atol=2e-4)


def test_unknown_labels_of_a_multilabel_task_are_left_out() -> None:
    task, (x, y) = make_task("m", "multilabel"), planted("multilabel")
    hidden = y.clone()
    hidden[::3, 1] = torch.nan
    head = fit_head(task, x, hidden, strength=1.0)
    assert torch.isfinite(head.weight).all()
    assert not torch.allclose(head.weight[1], fit_head(task, x, y, 1.0).weight[1], rtol=1e-3)


def test_a_feature_that_never_changes_does_no_harm() -> None:
    x, y = planted("multiclass")
    x[:, 3] = 7.0
    assert torch.isfinite(fit_head(make_task(), x, y, strength=1.0).weight).all()


def test_the_test_split_stays_unread() -> None:
    shut = shut_test(make_dataset("binary", kind="binary"))
    model = export_model(GENERALIST, "binary")
    assert refit_head(model, shut, base=BASE).task.name == "binary"


@pytest.mark.parametrize("kind", KINDS)
def test_a_refitted_head_comes_back_and_is_read(kind: str, tmp_path: Path) -> None:
    data = make_dataset(kind, kind=kind, images=40)
    refit = refit_head(export_model(GENERALIST, kind), data, base=BASE)
    save_head(refit, tmp_path / "x.head.safetensors")
    back = load_head(tmp_path / "x.head.safetensors")
    assert back.digest == refit.digest
    after = with_heads(GENERALIST, [back])
    before = evaluate(GENERALIST, {kind: data}, base=BASE, split="val").means["generalist"]
    scores = evaluate(after, {kind: data}, base=BASE, split="val").means["generalist"]
    assert scores["auroc"].value > before["auroc"].value
    assert scores["auroc"].value > 0.9


def test_the_same_data_give_the_same_head() -> None:
    model, data = export_model(GENERALIST, "binary"), make_dataset("binary", kind="binary")
    assert len({refit_head(model, data, base=BASE).digest for _ in range(2)}) == 1


def refitted(name: str = "binary", generalist: Generalist = GENERALIST):
    return refit_head(export_model(generalist, name), make_dataset(name, kind=name), base=BASE)


def test_the_lineage_says_that_heads_have_seen_data() -> None:
    after = with_heads(GENERALIST, [refitted()])
    assert [step.action for step in after.lineage] == ["assemble", "head-round"]
    assert after.lineage[-1].recipe == after.recipe.digest != GENERALIST.recipe.digest
    assert after.recipe.model == GENERALIST.recipe.model


def test_a_generalist_with_heads_is_saved_and_loaded(tmp_path: Path) -> None:
    after = with_heads(GENERALIST, [refitted()])
    after.save(tmp_path / "g")
    loaded = Generalist.load(tmp_path / "g")
    assert loaded.recipe == after.recipe
    (reader,) = (b for b in loaded.readers if b.task.name == "binary")
    torch.testing.assert_close(reader.head.weight, refitted().head.weight, rtol=0, atol=0)


def test_a_directory_without_its_head_or_with_another_s_is_refused(tmp_path: Path) -> None:
    after = with_heads(GENERALIST, [refitted("binary"), refitted("ordinal")])
    after.save(tmp_path / "g")
    first, second = sorted((tmp_path / "g" / "heads").iterdir())
    first.write_bytes(second.read_bytes())
    with pytest.raises(GeneralistError, match="the directory was changed"):
        Generalist.load(tmp_path / "g")
    first.unlink()
    with pytest.raises(GeneralistError, match="expected a refitted head, found nothing there"):
        Generalist.load(tmp_path / "g")


def test_a_second_round_replaces_the_first() -> None:
    once = with_heads(GENERALIST, [refitted()])
    data = make_dataset("binary", seed=5, kind="binary")
    newer = refit_head(export_model(once, "binary"), data, base=BASE)
    twice = with_heads(once, [newer])
    assert twice.heads["binary"].digest == newer.digest


def test_a_head_of_another_merge_is_refused() -> None:
    other = assemble(GENERALIST.bricks, coefficients=0.25)
    with pytest.raises(GeneralistError, match=r"^heads: head of 'binary': expected merged model"):
        with_heads(other, [refitted()])


def test_a_head_of_other_labels_is_refused() -> None:
    head = refitted()
    turned = replace(head, task=head.task.model_copy(update={"labels": ("b", "a")}))
    with pytest.raises(GeneralistError, match="expected the generalist's task and labels, got"):
        with_heads(GENERALIST, [turned])


def test_a_head_of_no_task_and_two_of_one_are_refused_together() -> None:
    head = refitted()
    stranger = replace(head, task=head.task.model_copy(update={"name": "chest"}))
    with pytest.raises(GeneralistError) as caught:
        with_heads(GENERALIST, [head, head, stranger])
    assert "head of 'binary': expected one, got several" in str(caught.value)
    assert "head of 'chest': expected a head of multiclass, binary," in str(caught.value)


def test_an_ordinary_brick_is_no_model_to_refit() -> None:
    brick: Brick = GENERALIST.brick("binary")
    with pytest.raises(GeneralistError, match="expected a merged model from medlego head-round"):
        refit_head(brick, make_dataset("binary", kind="binary"), base=BASE)


def test_labels_that_the_task_lacks_are_refused() -> None:
    data = make_dataset("binary", kind="binary")
    other = replace(data, task=data.task.model_copy(update={"labels": ("cat", "dog")}))
    with pytest.raises(DatasetError, match="got also cat, dog"):
        refit_head(export_model(GENERALIST, "binary"), other, base=BASE)
