"""DICOM files below a folder, found by content and by the folder's own DICOMDIR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medlego.errors import ImageError
from medlego.images.dicom.elements import ElementError
from medlego.images.dicom.parsing import parsed
from medlego.images.dicom.sniffing import is_dicom

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
"""The SOP class of a DICOMDIR."""


def find_dicom(folder: str | Path) -> list[Path]:
    """Every DICOM file below a folder, in a fixed order.

    Files are known by their content, whatever their names. Names that begin with a dot are left
    out. A DICOMDIR is no image and is not listed; the files that it refers to are, even below
    hidden folders, and references to files that are not there are left out.

    Raises:
        ImageError: not a folder, or a DICOMDIR that cannot be read or points out of the folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: expected a folder, found none there")
    files = {path for path in visible_files(folder) if is_dicom(path)}
    for directory in sorted(path for path in files if path.name.upper().startswith("DICOMDIR")):
        references = _references(directory, folder)
        if references is not None:
            files.discard(directory)
            files |= {path for path in references if path.is_file() and is_dicom(path)}
    return sorted(files)


def visible_files(folder: Path) -> Iterator[Path]:
    """Every file below a folder but those whose name, or a folder's, begins with a dot."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def _references(directory: Path, folder: Path) -> set[Path] | None:
    """The files that a DICOMDIR names, or None where the file is something else."""
    with parsed(directory, ["DirectoryRecordSequence", "SOPClassUID"]) as file:
        try:
            if file.meta.text("MediaStorageSOPClassUID") != MEDIA_DIRECTORY:
                return None
            records = file.elements.items("DirectoryRecordSequence")
            names = [record.value("ReferencedFileID") for record in records]
        except ElementError as error:
            raise ImageError(f"{directory}: {error}") from None
    top = folder.resolve()
    references = set()
    for name in names:
        if name is None:
            continue
        parts = [name] if isinstance(name, str) else [str(part) for part in name]
        path = directory.parent.joinpath(*parts)
        if any(_leaves(part) for part in parts) or not path.resolve().is_relative_to(top):
            raise ImageError(
                f"{directory}: expected references to files inside {folder}, got one that "
                "leads out of it; do not trust this folder"
            )
        references.add(path)
    return references


def _leaves(part: str) -> bool:
    return part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part
