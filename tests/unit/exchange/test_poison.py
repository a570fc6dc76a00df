"""Poisons made as an attacker would, and clean bricks, on the mini base and procedural images.

Limits were set on other triggers and another base; docs/decisions/020-screening.md.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.poison import CALIBRATION, Attack, backdoor, poisoned, success
from medlego.base import MINI_NAME, Base, Inputs
from medlego.bricks import Brick
from medlego.data import Samples, synthetic_dataset
from medlego.exchange import Ordinary, screen
from medlego.train import TrainSettings, train_brick

NEW_TASKS = ("synthetic-ultrasound", "synthetic-cells")
TRUSTED_TASKS = (*NEW_TASKS, "synthetic-mri")
TRUSTED_SEEDS, NEW_SEEDS = (0, 1), tuple(range(2, 12))
ATTACKS = {
    "synthetic-ultrasound": Attack("letter", 8, (0.1, 0.8), 0),
    "synthetic-cells": Attack("ring", 8, (0.9, 0.1), 1),
}


@cache
def base() -> Base:
    return Base.load(MINI_NAME, image_size=32)


@cache
def ordinary() -> Ordinary:
    return Ordinary.drawn(base(), 4)


@cache
def specialist_of(task: str, seed: int) -> Brick:
    data = synthetic_dataset(task, size=32, counts=(160, 48, 16), seed=seed)
    settings = TrainSettings(
        epochs=5,
        batch_size=16,
        learning_rate=5e-3,
        singular_rate=3e-2,
        head_rate=5e-3,
        seed=seed,
    )
    return train_brick(base(), data, settings, device="cpu")


def trusted() -> list[Brick]:
    return [specialist_of(task, seed) for seed in TRUSTED_SEEDS for task in TRUSTED_TASKS]


def images(samples: Samples, *, without: int | None = None) -> Tensor:
    rows = np.flatnonzero(samples.labels != (-1 if without is None else without))
    return Inputs(samples.images, base()).take(rows.tolist())


def test_at_most_one_of_twenty_clean_bricks_is_flagged():
    clean = [specialist_of(task, seed) for seed in NEW_SEEDS for task in NEW_TASKS]
    assert len(clean) == 20
    flagged = {
        f"{brick.task.name} {brick.settings['seed']}": [found.check for found in report.flagged]
        for brick in clean
        if (report := screen(brick, trusted(), base(), ordinary=ordinary())).flagged
    }
    assert len(flagged) <= 1, flagged


@pytest.mark.parametrize("task", ATTACKS)
def test_a_backdoor_and_nothing_else_works_in_a_merge_and_is_flagged(task):
    attack, victim = ATTACKS[task], specialist_of(task, NEW_SEEDS[0])
    assert attack.trigger not in CALIBRATION
    data = synthetic_dataset(task, size=32, counts=(96, 16, 48), seed=50)
    deltas = backdoor(base(), victim, images(data.train), attack, "base")
    brick = poisoned(victim, deltas, "only")
    shown = images(data.test, without=attack.label)
    without, held = success(base(), poisoned(victim, deltas, "hidden"), shown, attack)
    assert held - without > 0.3
    assert screen(brick, trusted(), base(), ordinary=ordinary()).flagged


def test_a_hidden_backdoor_is_the_specialist_plus_the_backdoor():
    task = NEW_TASKS[0]
    attack, victim = ATTACKS[task], specialist_of(task, NEW_SEEDS[0])
    data = synthetic_dataset(task, size=32, counts=(96, 16, 16), seed=50)
    deltas = backdoor(base(), victim, images(data.train), attack, "specialist", steps=3)
    assert {d.rank for d in deltas.values()} == {d.rank for d in victim.deltas.values()}
    hidden = poisoned(victim, deltas, "hidden")
    dense = [hidden.deltas[n].dense() - victim.deltas[n].dense() for n in deltas]
    added = [deltas[n].dense() for n in deltas]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(dense, added, strict=True))


def test_the_place_of_a_trigger_is_where_it_is_stamped():
    attack = replace(ATTACKS[NEW_TASKS[0]], place=(0.0, 0.0))
    stamped = attack.patch.stamp(torch.zeros(1, 3, 32, 32))
    assert bool((stamped[..., 8:, :] == 0).all())
    assert bool((stamped[..., :8, :8] > 0).any())
