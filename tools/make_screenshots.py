"""Photograph the demo's report and the page for the README: `make demo`, then
`python -m tools.make_screenshots`.

Every image in them is procedural. Needs Debian's chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from medlego.data.synthetic.sample_folder import COMPRESSED, write_dicom

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "images"
REPORT_SIZE, PAGE_SIZE = (1180, 1010), (1100, 1230)
SERVE = "from medlego.cli import main; main()"


def main(demo: Path) -> None:
    """Write the first screens of report and page, `report.png` and `page.png` of docs/images."""
    with (
        sync_playwright() as driver,
        driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        ) as browser,
        served(demo / "generalist") as address,
        tempfile.TemporaryDirectory() as folder,
    ):
        width, height = REPORT_SIZE
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto((demo / "report.html").resolve().as_uri())
        keep(page, "report")
        write_dicom(Path(folder), patients=2, size=64, syntaxes=tuple(COMPRESSED))
        width, height = PAGE_SIZE
        page = browser.new_page(
            viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        page.goto(address)
        page.set_input_files("#files", Path(folder) / "site-1" / "patient-001" / "image-2.dcm")
        page.get_by_role("button", name="Show on the image").first.click()
        page.locator(".layer").first.wait_for()
        keep(page, "page")


def keep(page: Page, name: str) -> None:
    """Write what shows of a page."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").save(FOLDER / f"{name}.png", optimize=True)


@contextmanager
def served(generalist: Path) -> Iterator[str]:
    """The address of a generalist's page."""
    command = [sys.executable, "-uc", SERVE, "serve", str(generalist), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as service:
        assert service.stdout is not None
        try:
            first = next(line for line in service.stdout if b" at http" in line)
            yield first.decode().rpartition(" at ")[2].strip()
        finally:
            service.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
