"""Programs out of Debian's packages that tests hold results against."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def program(name: str, package: str) -> str:
    """Where it is; skips the test where it is not, but never where CI should have put it."""
    place = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if place is None:
        if os.environ.get("CI"):
            pytest.fail(f"no {name}: expected Debian's {package}, which .ci/run installs")
        pytest.skip(f"no {name}: apt-get install {package}")
    return place


def dciodvfy(path: Path) -> list[str]:
    """What dicom3tools finds wrong with a DICOM object; empty where it conforms."""
    run = subprocess.run(
        [program("dciodvfy", "dicom3tools"), str(path)], capture_output=True, text=True, check=False
    )
    lines = (run.stdout + run.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Abort"))]
