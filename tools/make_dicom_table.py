"""Write docs/data/dicom-files.csv: what becomes of every DICOM file that pydicom's packages carry.

    python -m tools.make_dicom_table

Only files on disk are looked at; pydicom would download more, and is never asked to.
"""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import data_store
import pydicom.data

from medlego.errors import ImageError
from medlego.images import is_dicom, parsed, read_image
from medlego.images.dicom.layout import LAYOUT_KEYWORDS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data" / "dicom-files.csv"
FOLDERS = {
    **{
        f"pydicom/{name}": Path(pydicom.data.__file__).parent / name
        for name in ("test_files", "charset_files", "palettes")
    },
    "pydicom-data": Path(data_store.__file__).parent / "data",
}
_CODE = {".py", ".pyc"}


@dataclass(frozen=True)
class Row:
    """One file's fate; `reason` says why it is refused, or what was mended."""

    file: str
    syntax: str
    photometric: str
    outcome: str
    reason: str


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


def page() -> str:
    """The table as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    writer.writerows(astuple(row(name, path)) for name, path in files().items())
    return stream.getvalue()


if __name__ == "__main__":
    PAGE.write_text(page())
