"""docs/ingest.md from the committed JSON: who reads which DICOM files alike, and who does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks.common import RESULTS, ROOT
from benchmarks.markdown import table

PAGE = ROOT / "docs" / "ingest.md"
_NAMES = {"standard": "the standard", "dcmtk": "dcmtk", "gdcm": "GDCM"}

_HEAD = """# DICOM files of every kind, beside dcmtk and GDCM

Written by `make docs` from `benchmarks/results/ingest.json`, which `python -m benchmarks.ingest`
measures.

{files} files are written: every photometric interpretation, width, sign and planar setting by
every transfer syntax by every form of window or table that the standard allows and an encoder
here can write; compressed ones also in one and in several fragments and frames, with and without
offset tables. Each is read by `read_image` and compared with

- *the standard*: PS3.3's formulas applied to the values that were written, equal to 2·10⁻⁶ where
  nothing is lost;
- *dcmtk {dcmtk}*: `dcmj2pnm` or `dcml2pnm` with the same window, at 8 or 16 bits;
- *GDCM {gdcm}*: the stored values, where no window enters. medlego decodes JPEG Lossless and
  12-bit JPEG by GDCM itself, so there it is no second opinion.

Pictures in [0, 1] agree if they differ by at most 0.02 on average and 0.06 anywhere. "Cannot" are
files that a peer does not decode (JPEG 2000 in Debian's dcmtk, which has no codec for it) or on
which it ends its process. Not among the files: what no installed encoder writes (YBR_FULL in JPEG
Lossless), video, YBR_PARTIAL, and what is retired.
"""


def page() -> str:
    """The page's text."""
    document = json.loads((RESULTS / "ingest.json").read_text())
    versions = document["versions"]
    files = sum(row["files"] for row in document["rows"])
    head = _HEAD.format(files=f"{files:,}", dcmtk=versions["dcmtk"], gdcm=versions["python-gdcm"])
    return head + _agreements(document) + _disagreements(document) + _folders(document)


def _agreements(document: dict[str, Any]) -> str:
    rows = [
        [
            row["pixels"],
            row["syntax"],
            str(row["files"]),
            str(row["refused"] or ""),
            *(_tally(row[peer]) for peer in _NAMES),
        ]
        for row in document["rows"]
    ]
    heads = ["pixels", "transfer syntax", "files", "refused", *_NAMES.values()]
    return (
        "\n## Who agrees\n\nOf each peer: files that agree (largest difference), that differ, that "
        "it cannot decode.\n\n" + table(heads, rows)
    )


def _tally(peer: dict[str, Any]) -> str:
    parts = [f"{peer['agree']} ({peer['largest']:.3f})"] if peer["agree"] else []
    parts += [f"{peer[name]} {name}" for name in ("differ", "cannot") if peer[name]]
    return ", ".join(parts)


def _disagreements(document: dict[str, Any]) -> str:
    differing = [
        [_NAMES[row["peer"]], str(row["files"]), row["reason"], row["example"]]
        for row in document["disagreements"]
    ]
    refused = [[str(row["files"]), row["reason"], row["example"]] for row in document["refusals"]]
    return (
        "\n## Who differs, and why\n\n"
        + table(["medlego and", "files", "reason", "for example"], differing)
        + "\n## What medlego refuses\n\n"
        + table(["files", "reason", "for example"], refused)
    )


def _folders(document: dict[str, Any]) -> str:
    names = ["read", "read with a warning", "no image of a patient", "refused", "crash"]
    names.append("flat without a word")
    rows = [
        [folder["name"], str(folder["files"])]
        + [str(folder["outcomes"].get(name, 0)) for name in names]
        for folder in document["folders"]
    ]
    return (
        "\n## Other projects' test files\n\nEvery file that a package brings, images or not, by "
        "`python -m benchmarks.ingest --folder DIR`. The packages of dcmtk (Debian's source 3.6.7) "
        'and highdicom (its source 0.28.2) bring none. "Flat" uses under 2 % of its range though '
        "its stored values use more.\n\n" + table(["files of", "in all", *names], rows)
    )


def _pointer(document: dict[str, Any]) -> str:
    rows = document["rows"]
    files = sum(row["files"] for row in rows)
    agree = [f"{sum(row[peer]['agree'] for row in rows):,} ({_NAMES[peer]})" for peer in _NAMES]
    return (
        f"Of {files:,} DICOM files of every kind, this many are read as a peer reads them: "
        f"{', '.join(agree)}. [docs/ingest.md](../docs/ingest.md) has the tables and the reasons.\n"
    )


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {"ingest": _pointer}
