"""Results of odd DICOM files: whatever the source breaks, what medlego adds conforms."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from debian import dciodvfy
from factories import make_base, make_brick
from medlego.generalist import assemble
from medlego.images import nothing_said
from medlego.serve.pacs.results.analysis import analyse
from medlego.serve.reload import Model

WHEN = datetime(2026, 3, 4, 5, 6, 7)
CONFORMING = (
    "examples_palette.dcm",
    "color3d_jpeg_baseline.dcm",
    "emri_small_RLE.dcm",
    "eCT_Supplemental.dcm",
    "MR_small_bigendian.dcm",
    "dicomdirtests/77654033/CR1/6154",
    "J2K_pixelrep_mismatch.dcm",
)
BREAKING = {
    "color-pl.dcm": r"Value invalid for this VR - \(0x0008,0x00[23]0\)|Illegal root for UID",
    "ExplVR_BigEnd.dcm": r"Value invalid for this VR - \(0x0008,0x00[23]0\)",
    "SC_rgb_2frame.dcm": "Class that is not multi-frame",
}
"""Files that break the standard in a way that their results cannot but repeat."""
REFUSED = ("MR_truncated.dcm", "badVR.dcm", "rtplan.dcm", "ExplVR_LitEndNoMeta.dcm", "README.txt")


def analysed(*names):
    paths = [Path(str(get_testdata_file(name, download=False))) for name in names]
    base = make_base()
    made = assemble([make_brick("task", base=base)])
    return analyse(Model.of(made, base, "cpu"), [(path, WHEN) for path in paths])


def complaints(analysis, path):
    lines = []
    for result in analysis.results:
        with nothing_said():
            result.save_as(path, enforce_file_format=True)
        lines += dciodvfy(path)
    return lines


def test_results_of_odd_files_conform(tmp_path):
    for name, analysis in zip(CONFORMING, analysed(*CONFORMING), strict=True):
        assert len(analysis.results) == 2, (name, analysis.problem)
        assert complaints(analysis, tmp_path / "result.dcm") == [], name


@pytest.mark.parametrize("name", BREAKING)
def test_results_repeat_what_the_source_breaks_and_nothing_else(name, tmp_path):
    (analysis,) = analysed(name)
    lines = complaints(analysis, tmp_path / "result.dcm")
    assert lines
    general = "|Dicom dataset contains invalid data values"
    assert [line for line in lines if not re.search(BREAKING[name] + general, line)] == []


def test_files_that_are_no_readable_image_have_a_problem_and_no_results():
    for name, analysis in zip(REFUSED, analysed(*REFUSED), strict=True):
        assert analysis.results == (), name
        assert analysis.problem, name
