"""A headless Chromium from Debian's package, for tests that look at pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

KEPT = Path(__file__).resolve().parent.parent / "build" / "screenshots"
"""Where screenshots stay for people to look at; git ignores it."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; skips the test where there is none, but never where CI should have put one."""
    place = shutil.which("chromium")
    if place is None:
        if os.environ.get("CI"):
            pytest.fail("no chromium: expected Debian's package, which .ci/run installs")
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=place, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def screenshot_path(name: str) -> Path:
    """Where a screenshot of this name is kept."""
    KEPT.mkdir(parents=True, exist_ok=True)
    return KEPT / f"{name}.png"
