"""The generated pages: write them anew, or name those that are out of date.

python -m tools.pages            # writes
python -m tools.pages --check    # exits 1 if a page differs
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path

from benchmarks import headline, ingest_tables, tables
from tools import make_cli_reference, make_dicom_table, make_settings, rooms

PAGES: dict[Path, Callable[[], str]] = {
    make_cli_reference.PAGE: make_cli_reference.reference,
    make_dicom_table.PAGE: make_dicom_table.page,
    make_settings.PAGE: make_settings.page,
    tables.PAGE: tables.page,
    ingest_tables.PAGE: ingest_tables.page,
    headline.PAGE: headline.page,
    rooms.PICTURE: rooms.picture,
}


def main() -> None:
    """Handle every page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for path, make in PAGES.items():
        name, before, after = path.relative_to(rooms.ROOT), path.read_text(), make()
        if check and after != before:
            stale.append(str(name))
            diff = unified_diff(before.splitlines(), after.splitlines(), str(name), "now", n=0)
            print(*list(diff)[:20], sep="\n")
        elif not check:
            path.write_text(after)
    if stale:
        raise SystemExit(f"{', '.join(stale)}: out of date; run make docs")


if __name__ == "__main__":
    main()
