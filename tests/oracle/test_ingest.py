"""A few of the files of `benchmarks/ingest.py`: read as dcmtk and the standard's formulas say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.common import RESULTS
from benchmarks.ingest import PEERS, agrees, one, reason
from benchmarks.ingest_files import Case, allowed, cases, writable
from benchmarks.ingest_tables import PAGE, page
from debian import program

SOME = [case for case in dict.fromkeys(cases()) if allowed(case) and writable(case)][::59]


@pytest.mark.parametrize("case", SOME, ids=lambda case: case.name)
def test_file_is_read_as_dcmtk_and_the_standard_have_it(tmp_path: Path, case: Case) -> None:
    program("dcm2pnm", "dcmtk")
    said = one(case, tmp_path / "x.dcm", stored=None)
    known = {row["reason"] for row in json.loads((RESULTS / "ingest.json").read_text())["refusals"]}
    if "refused" in said:
        assert said["refused"] in known
        return
    assert said["warned"] == ()
    for peer in PEERS[:2]:
        gap = said[peer]
        assert gap is None or agrees(case, peer, gap) or reason(case, peer) != "unexplained"


def test_the_page_is_written_from_the_committed_figures() -> None:
    assert PAGE.read_text() == page(), "run make docs"


def test_every_disagreement_has_a_reason_and_no_folder_a_crash() -> None:
    document = json.loads((RESULTS / "ingest.json").read_text())
    assert "unexplained" not in {row["reason"] for row in document["disagreements"]}
    outcomes = {name for folder in document["folders"] for name in folder["outcomes"]}
    assert not outcomes & {"crash", "flat without a word"}
