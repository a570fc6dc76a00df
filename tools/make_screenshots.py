"""Photograph the demo's report for the README: `make demo`, then
`python -m tools.make_screenshots`.

Every image in it is procedural. Needs Debian's chromium.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1180, 1010


def main(report: Path) -> None:
    """Write `docs/images/report.png`, the page's first screen."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        taken = page.screenshot()
        browser.close()
    FOLDER.mkdir(exist_ok=True)
    with Image.open(io.BytesIO(taken)) as picture:
        picture.convert("RGB").quantize(128).save(FOLDER / "report.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/report.html"))
