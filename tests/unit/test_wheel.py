"""The wheel holds what it should, and an installed one gives types for every public name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import pytest

import medlego
from tools.rooms import PACKAGE, ROOMS, ROOT

PLACES = ["medlego", *(f"medlego.{room}" for room in ROOMS if room != "errors")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, by the build requirement that is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        folder,
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel installed, and with this environment's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    ZipFile(wheel).extractall(site)
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "python"


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {
        f"medlego/{path.relative_to(PACKAGE)}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == files
    assert "medlego/py.typed" in names


@pytest.mark.parametrize("ending", ["page.css", "page.html", ".js", "mini_base.safetensors"])
def test_the_wheel_holds_what_is_no_code(wheel: Path, ending: str) -> None:
    assert any(name.endswith(ending) for name in ZipFile(wheel).namelist())


def test_the_installed_wheel_runs(python: Path, tmp_path: Path) -> None:
    code = "import medlego; print(medlego.__file__, medlego.__version__)"
    run = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    place, version = run.stdout.split()
    assert Path(place).is_relative_to(python.parent.parent)
    assert version == medlego.__version__


def test_every_public_name_has_a_type(
    python: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    names = [f"{place}.{name}" for place in PLACES for name in import_module(place).__all__]
    program = tmp_path / "program.py"
    lines = [f"# {tmp_path}: mypy says nothing of a program that it has seen before"]
    lines += [f"import {place}" for place in PLACES] + [f"reveal_type({name})" for name in names]
    program.write_text("\n".join(lines) + "\n")
    folders = getattr(pytestconfig, "cache", None)  # absent with -p no:cacheprovider
    cache = folders.mkdir("mypy") if folders else tmp_path / "cache"
    options = ["--strict", "--no-error-summary", f"--cache-dir={cache}"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--python-executable", python, program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    types = re.findall(r'Revealed type is "(.*)"$', run.stdout, re.MULTILINE)
    untyped = [
        name
        for name, revealed in zip(names, types, strict=True)
        if name not in ("medlego.support.plain", "medlego.support.data_frame")  # JSON; pandas
        if revealed in ("Any", "types.ModuleType")
        or revealed.endswith("-> Any")
        or "(*Any" in revealed.split(":")[0]
    ]
    assert untyped == []
