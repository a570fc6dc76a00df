"""Which labels of several sites are one: by code or by name, never by index."""

from __future__ import annotations

from itertools import permutations

import pytest

from medlego.data import Task, match_labels
from medlego.data.label_matching import Matched
from medlego.data.task import MAX_LABELS, Code

GLIOMA = Code(scheme="SCT", value="393564001", meaning="glioma")
NONE = Code(scheme="SCT", value="17621005", meaning="normal")


def site(*labels: str, kind: str = "multiclass", codes=None, **more: object) -> Task:
    return Task.model_validate(
        {"name": "brain", "kind": kind, "labels": labels, "codes": codes, **more}
    )


def match(*tasks: Task) -> Matched:
    return match_labels(tasks, [f"brain {number}" for number in range(len(tasks))])


def test_labels_are_matched_by_name() -> None:
    matched = match(site("a", "b", "c"), site("c", "a", "b"))
    assert matched.task.labels == ("a", "b", "c")
    assert matched.places == ((0, 1, 2), (2, 0, 1))


@pytest.mark.parametrize("other", ["e\u0301te\u0301", " \u00e9t\u00e9", "\u00e9t\u00e9\u200b"])
def test_labels_that_look_alike_are_one(other: str) -> None:
    matched = match(site("\u00e9t\u00e9", "b"), site("b", other))
    assert matched.task.labels == ("\u00e9t\u00e9", "b")
    assert matched.places == ((0, 1), (1, 0))


def test_new_labels_come_after_the_first_site_s_in_order_of_appearance() -> None:
    matched = match(site("b", "a"), site("d", "a", "c"), site("e", "c"))
    assert matched.task.labels == ("b", "a", "d", "c", "e")
    assert matched.places == ((0, 1), (2, 1, 3), (4, 3))


def test_a_code_matches_labels_of_other_names_and_the_first_name_stays() -> None:
    first = site("glioma", "none", codes=(GLIOMA, NONE))
    second = site("ohne Befund", "Gliom", codes=(NONE, GLIOMA))
    matched = match(first, second)
    assert (matched.task.labels, matched.places) == (("glioma", "none"), ((0, 1), (1, 0)))
    assert matched.task.codes == (GLIOMA, NONE)


def test_the_meaning_of_a_code_has_no_say() -> None:
    german = GLIOMA.model_copy(update={"meaning": "Gliom"})
    matched = match(site("x", "a", codes=(GLIOMA, None)), site("y", "a", codes=(german, None)))
    assert matched.task.labels == ("x", "a")
    assert matched.task.codes == (GLIOMA, None)


def test_a_label_without_code_is_matched_by_name_and_takes_the_code() -> None:
    matched = match(site("glioma", "none"), site("none", "glioma", codes=(None, GLIOMA)))
    assert matched.places == ((0, 1), (1, 0))
    assert matched.task.codes == (GLIOMA, None)


@pytest.mark.parametrize("order", tuple(permutations(range(3))))
def test_matching_does_not_depend_on_which_site_comes_first(order: tuple[int, ...]) -> None:
    tasks = [
        site("glioma", "none"),
        site("Gliom", "none", codes=(GLIOMA, None)),
        site("glioma", "none", codes=(GLIOMA, None)),
    ]
    matched = match(*(tasks[i] for i in order))
    assert (matched.problems, matched.places) == ((), ((0, 1),) * 3)


def test_one_site_alone_keeps_its_task_whatever_its_codes() -> None:
    task = site("a", "b", codes=(GLIOMA, GLIOMA))
    matched = match(task)
    assert matched.task is task
    assert matched.problems == ()


def test_what_one_site_leaves_unknown_another_states() -> None:
    matched = match(site("a", "b", modality="MR"), site("a", "b", body_part="BRAIN"))
    assert (matched.task.modality, matched.task.body_part) == ("MR", "BRAIN")


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        (
            (site("x", "a", codes=(GLIOMA, None)), site("x", "a", codes=(NONE, None))),
            "label 'x': expected one code, got SCT 17621005, SCT 393564001; correct the codes",
        ),
        (
            (site("x", "a", codes=(GLIOMA, None)), site("x", "y", codes=(None, GLIOMA))),
            "brick 'brain 1': expected each label once, got 'x' and 'y' for the same one",
        ),
        (
            (site("x", "y", codes=(GLIOMA, GLIOMA)), site("x", "a")),
            "brick 'brain 0': expected each label once, got 'x' and 'y'",
        ),
        (
            (site("a", "b", "c"), site("a", "b", kind="binary")),
            "expected kind multiclass as in brick 'brain 0', got binary in brick 'brain 1'; "
            "retrain it as multiclass",
        ),
        (
            (site("a", "b", kind="binary"), site("b", "a", kind="binary")),
            "in this order, since a binary head speaks of the second label, got ['b', 'a']",
        ),
        (
            (site("a", "b", "c", kind="ordinal"), site("a", "b", kind="ordinal")),
            "in this order, since an ordinal head has its thresholds between neighbours, got",
        ),
        (
            (site("a", "b", modality="MR"), site("a", "b"), site("a", "b", modality="CT")),
            "modality: expected MR as in brick 'brain 0', got CT in brick 'brain 2'; rename one",
        ),
    ],
)
def test_a_contradiction_is_said(tasks: tuple[Task, ...], says: str) -> None:
    (problem,) = match(*tasks).problems
    assert problem.startswith("task 'brain': ")
    assert says in problem


def test_more_labels_than_a_task_may_have_are_refused() -> None:
    first = site(*(f"a{i}" for i in range(MAX_LABELS)))
    (problem,) = match(first, site("a0", "b")).problems
    assert "expected at most 10,000 labels together, got 10,001" in problem
