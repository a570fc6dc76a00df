"""The k-th largest against sorting, in short rows and in long ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medlego.merge import selection
from medlego.merge.selection import kth_largest


@pytest.mark.parametrize("short", [0, selection.SHORT])
@settings(deadline=None)
@given(
    row=hnp.arrays(np.float32, st.integers(1, 300), elements=st.sampled_from([0, 1, 2, 2.5, 1e30])),
    data=st.data(),
)
def test_equal_to_sorting(short, row, data):
    k = data.draw(st.integers(1, len(row)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "SHORT", short)
        assert kth_largest(row[None], k) == [np.sort(row)[len(row) - k]]


@pytest.mark.parametrize("k", [1, 2, 500, 4915, 24575, 24576])
def test_long_rows_whose_sample_misleads(k):
    generator = np.random.default_rng(0)
    honest = generator.standard_normal(24576).astype(np.float32)
    striped = honest.copy()
    striped[::16] += 1000
    rows = np.stack([honest, striped, np.sort(honest), np.sort(honest)[::-1]])

    assert np.array_equal(kth_largest(rows, k), np.sort(rows, axis=1)[:, len(honest) - k])
