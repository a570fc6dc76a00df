"""Which labels of several sites mean the same: matched by code or by name, never by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medlego.data.label_text import visible_label
from medlego.data.task import MAX_LABELS, Code, Task

Key = str | tuple[str, str]
"""A label's name, or the scheme and value of its code."""


@dataclass(frozen=True)
class Matched:
    """Several sites' tasks as one.

    `places` holds, per site, where its labels stand among the labels of `task`. Where there are
    `problems`, `task` is the first site's.
    """

    task: Task
    places: tuple[tuple[int, ...], ...]
    problems: tuple[str, ...] = ()


def match_labels(tasks: Sequence[Task], names: Sequence[str]) -> Matched:
    """One task of all labels: the first site's in its order, then new ones as they appear.

    Two labels are one where they share a code, or a name while one of them states no code. Names
    that look alike are the same.
    The first name and the first code stated are kept.

    Args:
        tasks: of one name, one per site.
        names: what a message calls each site.
    """
    if len(tasks) == 1:
        return Matched(tasks[0], (tuple(range(len(tasks[0].labels))),))
    root = _joined(tasks)
    groups: dict[Key, int] = {}
    places = tuple(
        tuple(groups.setdefault(root[label], len(groups)) for label in task.labels)
        for task in tasks
    )
    labels, codes = [""] * len(groups), [set[Code]() for _ in groups]
    first_codes: list[Code | None] = [None] * len(groups)
    for task, where in zip(tasks, places, strict=True):
        for (label, code), place in zip(_coded(task), where, strict=True):
            labels[place] = labels[place] or label
            if code is not None:
                first_codes[place] = first_codes[place] or code
                codes[place].add(code)
    problems = [
        *_kind_problems(tasks, names),
        *_code_problems(labels, codes),
        *_twice_problems(tasks, names, places),
        *_order_problems(tasks, names, places),
        *_stated_problems(tasks, names),
    ]
    if len(labels) > MAX_LABELS:
        problems.append(f"expected at most {MAX_LABELS:,} labels together, got {len(labels):,}")
    first = tasks[0]
    if problems:
        return Matched(first, places, tuple(f"task {first.name!r}: {p}" for p in problems))
    whole = first.model_copy(
        update={
            "labels": tuple(labels),
            "codes": tuple(first_codes) if any(first_codes) else None,
            "modality": next((t.modality for t in tasks if t.modality), None),
            "body_part": next((t.body_part for t in tasks if t.body_part), None),
        }
    )
    return Matched(whole, places)


def _joined(tasks: Sequence[Task]) -> dict[str, Key]:
    """Per label name, one key of all that is linked to it by a name or a code."""
    parent: dict[Key, Key] = {}

    def root(key: Key) -> Key:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for task in tasks:
        for label, code in _coded(task):
            top = root(label)
            parent[root(("", visible_label(label)))] = top
            if code is not None:
                parent[root((code.scheme, code.value))] = root(label)
    return {label: root(label) for task in tasks for label in task.labels}


def _coded(task: Task) -> list[tuple[str, Code | None]]:
    return list(zip(task.labels, task.codes or (None,) * len(task.labels), strict=True))


def _kind_problems(tasks: Sequence[Task], names: Sequence[str]) -> list[str]:
    first = tasks[0].kind
    return [
        f"expected kind {first} as in brick {names[0]!r}, got {task.kind} in brick {name!r}; "
        f"retrain it as {first}, or rename one of the tasks"
        for task, name in zip(tasks, names, strict=True)
        if task.kind != first
    ]


def _code_problems(labels: Sequence[str], codes: Sequence[set[Code]]) -> list[str]:
    problems = []
    for label, stated in zip(labels, codes, strict=True):
        values = sorted({f"{code.scheme} {code.value}" for code in stated})
        if len(values) > 1:
            problems.append(
                f"label {label!r}: expected one code, got {', '.join(values)}; "
                "correct the codes or rename the label"
            )
    return problems


def _twice_problems(
    tasks: Sequence[Task], names: Sequence[str], places: Sequence[Sequence[int]]
) -> list[str]:
    problems = []
    for task, name, where in zip(tasks, names, places, strict=True):
        by_place: dict[int, list[str]] = {}
        for label, place in zip(task.labels, where, strict=True):
            by_place.setdefault(place, []).append(label)
        problems += [
            f"brick {name!r}: expected each label once, got {' and '.join(map(repr, same))} "
            "for the same one; correct names or codes"
            for same in by_place.values()
            if len(same) > 1
        ]
    return problems


def _order_problems(
    tasks: Sequence[Task], names: Sequence[str], places: Sequence[Sequence[int]]
) -> list[str]:
    first = tasks[0]
    if not first.rules.fixed_order:
        return []
    return [
        f"expected labels {list(first.labels)} in this order, since {first.rules.fixed_order}, got "
        f"{list(task.labels)} in brick {name!r}; retrain it with these, or rename one of the tasks"
        for task, name, where in zip(tasks, names, places, strict=True)
        if task.kind == first.kind and tuple(where) != tuple(places[0])
    ]


def _stated_problems(tasks: Sequence[Task], names: Sequence[str]) -> list[str]:
    """Modality and body part may be unknown at a site, but must not contradict another's."""
    problems = []
    for field in ("modality", "body_part"):
        stated = [
            (name, value)
            for task, name in zip(tasks, names, strict=True)
            if (value := getattr(task, field))
        ]
        problems += [
            f"{field}: expected {stated[0][1]} as in brick {stated[0][0]!r}, got {value} in brick "
            f"{name!r}; rename one of the tasks"
            for name, value in stated[1:]
            if value != stated[0][1]
        ]
    return problems
