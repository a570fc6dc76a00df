"""What stands around the code: workflows, templates, hooks, citation, and the one version."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import medlego

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY: str = PROJECT["urls"]["Repository"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
YAML = [
    path
    for at in (".github/**/*.yml", "*.yaml", ".pre-commit-config.yaml", "*.cff")
    for path in ROOT.glob(at)
]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def jobs() -> dict[str, dict[str, Any]]:
    definitions: dict[str, dict[str, Any]] = read(".github/workflows/ci.yml")["jobs"]
    return definitions


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", sorted(YAML), ids=lambda path: path.name)
def test_yaml_parses(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize("name", jobs())
def test_a_job_installs_packages_and_makes_a_target_that_exists(name: str) -> None:
    packages, command = commands(jobs()[name])
    assert (ROOT / packages).stat().st_mode & 0o111
    make, target = command.split()
    assert make == "make"
    assert target in TARGETS


def test_the_workflow_runs_all_that_make_check_does() -> None:
    (rule,) = re.findall(r"^check: (.*?)  ##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    ran = {command.split()[-1] for job in jobs().values() for command in commands(job)}
    assert set(rule.split()) <= ran


def test_tests_run_on_every_python_that_is_supported() -> None:
    versions = jobs()["test"]["strategy"]["matrix"]["python"]
    stated = [c.split(" :: ")[-1] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert versions == stated


def test_the_make_targets_are_phony() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(phony.split()) == TARGETS


def test_hooks_use_the_projects_own_environment() -> None:
    (repo,) = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_pre_commit_takes_the_hooks() -> None:
    run: list[str | Path] = [
        sys.executable,
        "-m",
        "pre_commit",
        "validate-config",
        ROOT / ".pre-commit-config.yaml",
    ]
    subprocess.run(run, check=True)


def test_the_issue_forms_ask_something() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.name != "config.yml":
            assert {"name", "description", "body"} <= set(form)
            asked = [part["id"] for part in form["body"] if part["type"] != "markdown"]
            assert len(asked) == len(set(asked)) > 0


def test_there_is_one_version() -> None:
    assert PROJECT["dynamic"] == ["version"]
    tags = re.findall(r"^ +image: [a-z-]+:(.+)$", (ROOT / "compose.yaml").read_text(), re.MULTILINE)
    assert {str(read("CITATION.cff")["version"]), *tags} == {medlego.__version__}


def test_the_citation_names_what_the_project_names() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"]
    assert citation["title"] == PROJECT["name"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["repository-code"] == REPOSITORY
    assert citation["abstract"] == f"{PROJECT['description']}."
    assert {"message", "type"} <= set(citation)


def test_every_address_of_the_repository_is_the_same() -> None:
    places = [
        *ROOT.glob("*.md"),
        *ROOT.glob("*.cff"),
        *ROOT.glob(".github/**/*.*"),
        *ROOT.glob("docs/*.md"),
    ]
    owners = {
        address
        for path in (*places, ROOT / "pyproject.toml")
        for address in re.findall(r"https://github\.com/[\w-]+/medlego\b", path.read_text())
    }
    assert owners == {REPOSITORY}
