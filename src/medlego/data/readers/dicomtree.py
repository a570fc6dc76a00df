"""Rows of a table matched to the DICOM files below a folder, by what their headers say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from medlego.data.readers.headers import patient_images
from medlego.data.readers.table import TextTable
from medlego.errors import DatasetError
from medlego.images import Header, find_dicom


def find_rows(
    table: TextTable, key: str, of: Callable[[Header], str | None], folder: Path
) -> tuple[list[int], tuple[Path, ...], Mapping[Path, Header], list[str]]:
    """The images of each row, in the table's order, those of a row by path.

    Args:
        table: with the column `key`.
        key: `sop_instance_uid`, `series_instance_uid` or `study_instance_uid`.
        of: that value in a header.
        folder: searched with all that is below.

    Returns:
        For every image its row's position and its file; the headers by file; notes on rows whose
        images are not there, and on files that no row names or that cannot be used.

    Raises:
        DatasetError: a row without a key, or no row's images are there.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder of DICOM files, found none; check it")
    values = table.filled(key)
    assert values is not None, "the caller saw the column"
    _, headers, notes = patient_images(find_dicom(folder), all_dicom=True)
    by_key: dict[str, list[Path]] = {}
    repeated = 0
    sops: set[str] = set()
    for path, header in headers.items():
        if header.sop_uid and header.sop_uid in sops:
            repeated += 1
            continue
        sops.add(header.sop_uid or "")
        by_key.setdefault(of(header) or "", []).append(path)
    there = [row for row, value in enumerate(values) if value in by_key]
    _, missing = table.only(there, f"a DICOM image with this {key} below {folder}")
    pairs = [(row, path) for row in there for path in by_key[values[row]]]
    files = tuple(path for _, path in pairs)
    others = sum(map(len, by_key.values())) - len(set(files))
    counts = {
        "images that the table does not name": others,
        "files that repeat another's SOP instance UID": repeated,
    }
    notes += tuple(f"left out: {count} DICOM {what}" for what, count in counts.items() if count)
    return [row for row, _ in pairs], files, headers, [*missing, *notes]
