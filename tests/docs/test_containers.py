"""The Dockerfile and compose.yaml hold to what docs/containers.md says; no engine is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.make_cli_reference import PAGE

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n\s*", " ", DOCKERFILE).splitlines()
    if re.match(r"[A-Z]+ ", line)
]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions by the stage's name."""
    instructions: dict[str, list[tuple[str, str]]] = {}
    for word, rest in INSTRUCTIONS:
        if word == "FROM":
            instructions[rest.split()[-1]] = []
        list(instructions.values())[-1].append((word, rest))
    return instructions


def last(stage: str, word: str) -> str:
    return [rest for instruction, rest in stages()[stage] if instruction == word][-1]


def commands() -> dict[str, list[str]]:
    """What each container of medlego is told to do."""
    return {
        "Dockerfile": json.loads(last("medlego", "CMD")),
        **{name: service["command"] for name, service in SERVICES.items() if "command" in service},
    }


def test_hadolint_finds_nothing():
    linter = Path(sysconfig.get_path("scripts")) / "hadolint"
    words = ("--failure-threshold", "info", "--no-color", ROOT / "Dockerfile")
    run = subprocess.run([linter, *words], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_bases_are_pinned_to_a_full_version_of_no_named_registry():
    bases = [rest.split()[0] for word, rest in INSTRUCTIONS if word == "FROM"]
    assert len(bases) == 3
    for base in bases:
        assert re.fullmatch(r"(python:\d+\.\d+\.\d+|debian:[a-z]+-\d{8})(-[a-z]+)+", base)


@pytest.mark.parametrize("stage", ["medlego", "orthanc"])
def test_an_image_has_a_user_of_its_own_and_a_health_check(stage):
    assert re.fullmatch(r"1000[12]:1000[12]", last(stage, "USER"))
    assert "CMD" in last(stage, "HEALTHCHECK")


def test_the_last_stage_is_medlego():
    assert list(stages())[-1] == "medlego"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_neither_write_its_root_nor_gain_rights(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["user"] == last(service["build"]["target"], "USER")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_reached_from_this_machine_alone(name):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_checked_unless_it_answers_no_one(name):
    disabled = SERVICES[name].get("healthcheck", {}).get("disable", False)
    assert disabled is ("ports" not in SERVICES[name])


def test_the_health_check_asks_the_port_that_is_served():
    command = json.loads(last("medlego", "CMD"))
    port = command[command.index("--port") + 1]
    assert f"127.0.0.1:{port}/health/ready" in last("medlego", "HEALTHCHECK")
    assert SERVICES["serve"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert last("medlego", "EXPOSE") == port


def test_secrets_are_files_that_neither_git_nor_the_image_gets():
    files = {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert all(file.startswith("./secrets/") for file in files)
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert allowed[0] == "*"
    assert not any("secrets" in line for line in allowed)
    variables = {line for service in SERVICES.values() for line in service.get("environment", ())}
    assert variables == set()


def test_a_token_is_read_from_the_secret_that_the_service_gets():
    command = json.loads(last("medlego", "CMD"))
    assert command[command.index("--token-file") + 1] == "/run/secrets/medlego_token"
    assert SERVICES["serve"]["secrets"] == ["medlego_token"]


def test_what_is_copied_is_there_and_let_through():
    copied = [
        word
        for kind, rest in INSTRUCTIONS
        if kind == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    ]
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.lstrip("!").rstrip("/") for line in lines}
    for word in copied:
        assert (ROOT / word).exists(), word
        assert word.split("/")[0] in allowed, word


def test_the_archive_wants_a_password():
    settings = json.loads((ROOT / "containers" / "orthanc.json").read_text())
    assert settings["AuthenticationEnabled"] is True
    assert "RegisteredUsers" not in settings


@pytest.mark.parametrize("place", commands())
def test_commands_have_the_options_that_they_are_given(place):
    words = commands()[place]
    verb = " ".join(word for word in words[:2] if re.fullmatch(r"[a-z]+", word))
    _, _, section = PAGE.read_text().partition(f"## medlego {verb}\n")
    section = section.partition("\n## ")[0]
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"^  (-., )?{option}\b", section, flags=re.MULTILINE), option
