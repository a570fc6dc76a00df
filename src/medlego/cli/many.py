"""medlego predict --input --output"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medlego.cli.console import Options, emit, progress, say


def into_table(
    options: Options, json: Path | None, directory: Path, source: str, output: Path, **asked: Any
) -> None:
    """Run or end a job over many images, and say what it came to."""
    from medlego.batch import predict_many

    with progress(options) as show:
        summary = predict_many(directory, source, output, show=show, **asked)
    if summary.before:
        say(options, f"{summary.before:,} of {summary.images:,} images were answered before")
    counts = ", ".join(
        f"{count:,} {what}"
        for count, what in (
            (summary.rows - summary.abstained - summary.unreadable, "answers"),
            (summary.abstained, "images without an answer"),
            (summary.unreadable, "unreadable images"),
        )
    )
    rate = (summary.images - summary.before) / summary.seconds
    say(options, f"{summary.images:,} images: {counts}; {rate:,.1f} images/s")
    say(options, f"wrote {output}")
    emit(options, summary.as_dict(), json)
