"""The stress of the tests finds one that fails now and then, and goes on where it was."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from tools.stress_tests import busy_cores, main

TESTS = """
from pathlib import Path

RUNS = Path(__file__).with_name("runs")

def test_that_fails_in_the_first_run():
    before = RUNS.read_text() if RUNS.exists() else ""
    RUNS.write_text(before + "x")
    assert before

def test_that_never_fails():
    pass
"""


@pytest.fixture
def tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


def stress(tests: Path, runs: int) -> int:
    ours = ["--runs", str(runs), "--workers", "0", "--busy", "1", "--"]
    pytests = [str(tests), "--noconftest", "-p", "pytest_randomly"]
    return main([*ours, *pytests], tests / "kept")


def test_what_failed_once_is_listed_and_a_finished_run_is_not_run_again(
    tests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stress(tests, 1) == 1
    assert (tests / "runs").read_text() == "x"
    capsys.readouterr()
    assert stress(tests, 2) == 1
    assert (tests / "runs").read_text() == "xx"
    first, second, failure = capsys.readouterr().out.splitlines()
    assert "1 failed" in first
    assert "0 failed" in second
    assert failure.startswith("1 of 2: ")
    assert failure.endswith(
        f"::test_that_fails_in_the_first_run  --randomly-seed={first.split()[1][:-1]}"
    )


def test_a_suite_without_failures_is_exit_0(tests: Path) -> None:
    (tests / "runs").write_text("x")
    assert stress(tests, 1) == 0


def test_a_run_without_results_is_not_kept(tests: Path) -> None:
    (tests / "test_it.py").write_text("import nothing_of_that_name")
    with pytest.raises(SystemExit, match="expected pytest to end with 0 or 1, got 2"):
        stress(tests, 1)
    assert list((tests / "kept").rglob("*.xml")) == []


def test_the_busy_processes_end_with_the_block() -> None:
    before = set(multiprocessing.active_children())
    with busy_cores(1):
        (worker,) = set(multiprocessing.active_children()) - before
    assert not worker.is_alive()
