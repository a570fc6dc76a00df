"""Which images `benchmarks.stem` trains on."""

from __future__ import annotations

import numpy as np

from benchmarks.fifteen import IDS
from benchmarks.stem import Job, draw, jobs

LABELS = np.repeat([0, 1, 2], [60, 30, 10])


def test_a_draw_keeps_every_labels_share() -> None:
    assert np.bincount(LABELS[draw(LABELS, None, 50)]).tolist() == [30, 15, 5]


def test_a_draw_parts_no_patient() -> None:
    ids = np.arange(100) // 4
    taken = draw(LABELS, ids, 50)
    assert 30 <= taken.sum() <= 50
    assert not set(ids[taken]) & set(ids[~taken])


def test_few_images_are_all_taken() -> None:
    assert draw(LABELS, None, 100).all()


def test_every_stems_brick_holds_about_as_many_numbers() -> None:
    ranks = {stem: Job("deit", "btc_mri", stem, 0).settings.rank for stem in (0, 1, 3, 6, 9)}
    assert ranks == {0: 4, 1: 4, 3: 5, 6: 8, 9: 16}


def test_no_stem_and_half_of_the_base_come_first() -> None:
    order = [(job.base, job.stem) for job in jobs(["deit", "dino"], [0, 1, 6], [0])]
    assert list(dict.fromkeys(order)) == [
        (base, stem) for base in ("deit", "dino") for stem in (0, 6, 1)
    ]
    assert len(order) == 6 * 15
    assert len(IDS) == 10
