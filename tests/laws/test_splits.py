"""Laws of the split: every image once, no patient twice, labels spread where that is possible."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medlego.data import SPLITS
from medlego.data.samples import split_by_patient

SHARES = (0.7, 0.1, 0.2)


@st.composite
def studies(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and patients of images whose label is their study's; patients have 1 to 3 studies."""
    cohort = draw(
        st.lists(
            st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), min_size=1, max_size=3),
            min_size=1,
            max_size=40,
        )
    )
    rows = [
        (label, f"p{number}")
        for number, patient in enumerate(cohort)
        for label, images in patient
        for _ in range(images)
    ]
    labels, patients = zip(*rows, strict=True)
    return np.array(labels), np.array(patients)


@given(studies(), st.integers(0, 9))
def test_every_image_is_in_one_split(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    labels, patients = case
    parts = split_by_patient(labels, patients, seed)
    assert np.sort(np.concatenate([parts[s] for s in SPLITS])).tolist() == list(range(len(labels)))


@given(studies(), st.integers(0, 9))
def test_no_patient_is_in_two_splits(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    labels, patients = case
    sides = [set(patients[part]) for part in split_by_patient(labels, patients, seed).values()]
    assert sum(map(len, sides)) == len(set(patients))


@given(studies(), st.integers(0, 9))
def test_names_of_patients_decide_only_the_order(
    case: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    labels, patients = case
    renamed = np.array([f"x{patient}" for patient in patients])
    first, second = (split_by_patient(labels, ids, seed) for ids in (patients, renamed))
    assert all(first[s].tolist() == second[s].tolist() for s in SPLITS)


@given(studies(), st.integers(0, 9))
def test_a_split_of_studies_is_off_by_less_than_the_largest_patients(
    case: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    labels, patients = case
    parts = split_by_patient(labels, patients, seed)
    largest = np.unique(patients, return_counts=True)[1].max()
    for name, share in zip(SPLITS, SHARES, strict=True):
        assert abs(len(parts[name]) - share * len(labels)) <= 2 * largest


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 60), st.just(3)),
        elements=st.sampled_from([0.0, 1.0, float("nan")]),
    )
)
def test_unknown_findings_break_no_law(labels: np.ndarray) -> None:
    parts = split_by_patient(labels, None, 0)
    assert np.sort(np.concatenate([parts[s] for s in SPLITS])).tolist() == list(range(len(labels)))
