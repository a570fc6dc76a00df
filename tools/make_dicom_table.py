"""Write docs/dicom.md: what becomes of every DICOM file that pydicom's packages carry.

    python -m tools.make_dicom_table

Only files on disk are looked at; pydicom would download more, and is never asked to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import data_store
import pydicom.data

from medlego.errors import ImageError
from medlego.images import is_dicom, parsed, read_image
from medlego.images.dicom.layout import LAYOUT_KEYWORDS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dicom.md"
FOLDERS = {
    **{
        f"pydicom/{name}": Path(pydicom.data.__file__).parent / name
        for name in ("test_files", "charset_files", "palettes")
    },
    "pydicom-data": Path(data_store.__file__).parent / "data",
}
_CODE = {".py", ".pyc"}
_START = "## Every test file"


@dataclass(frozen=True)
class Row:
    """One file's fate; `reason` says why it is refused, or what was mended."""

    file: str
    syntax: str
    photometric: str
    outcome: str
    reason: str

    def line(self) -> str:
        """The row as Markdown."""
        cells = (f"`{self.file}`", self.syntax, self.photometric, self.outcome, self.reason)
        return f"| {' | '.join(cells)} |"


def files() -> dict[str, Path]:
    """Every file of both packages' data by the name that the table gives it."""
    paths = {}
    for name, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in _CODE:
                paths[f"{name}/{path.relative_to(folder)}"] = path
    return paths


def row(name: str, path: Path) -> Row:
    """Read one file and say what became of it."""
    try:
        warnings = read_image(path).warnings
    except ImageError as error:
        return described(name, path, "refused", str(error).removeprefix(f"{path}: "))
    return described(name, path, "mended" if warnings else "read", "; ".join(warnings))


def described(name: str, path: Path, outcome: str, reason: str) -> Row:
    """The row of a file whose pixels were read before."""
    syntax = photometric = "–"
    if is_dicom(path):
        with parsed(path, LAYOUT_KEYWORDS) as file:
            syntax = file.syntax.name
            photometric = file.elements.text("PhotometricInterpretation") or "–"
    return Row(name, syntax, photometric, outcome, reason.replace("warning: ", ""))


def table(rows: list[Row]) -> str:
    """The page's generated part."""
    count, mended = (sum(row.outcome == word for row in rows) for word in ("read", "mended"))
    head = (
        f"{_START}\n\n"
        f"{len(rows)} files lie in the packages pydicom {pydicom.__version__} and pydicom-data: "
        f"{count} are read\nand agree with pydicom's own pipeline "
        f"(`tests/oracle/test_dicom_files.py`), {mended} are read with a warning,\nand the others "
        "are refused for the reason given.\n\n"
        "| file | transfer syntax | photometric interpretation | outcome | reason |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    return head + "".join(f"{row.line()}\n" for row in rows)


def page() -> str:
    """The page's text: what people wrote, and the table anew."""
    written = PAGE.read_text().partition(_START)[0]
    return written + table([row(name, path) for name, path in files().items()])


if __name__ == "__main__":
    PAGE.write_text(page())
