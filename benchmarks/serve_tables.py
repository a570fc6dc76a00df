"""The service's tables of the results' page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.markdown import table


def _serve_load(document: dict[str, Any]) -> str:
    setting = document["setting"]
    rows = [
        [
            row["name"],
            str(row["requests"]),
            f"{row['errors']} / {row['lost']}",
            f"{row['largest_difference']:.1e}",
            f"{row['images_per_second']:.2f}",
            f"{max(row['peer_images_per_second'].values()):.2f}",
            f"{row['ratio']:.3f}",
            f"{row['p50_s']:.2f} / {row['p99_s']:.2f}",
            " / ".join(f"{mib:.0f}" for mib in row["rss_mib"]),
        ]
        for row in document["rows"]
    ]
    heads = [
        "load",
        "requests",
        "errors / lost",
        "largest difference",
        "images a second",
        "offline",
        "ratio",
        "p50 / p99, s",
        "MiB, at times",
    ]
    load = ", ".join(f"{x:.1f}" for x in setting["load_average"])
    return (
        f"{setting['base']} at {setting['image_size']} px, {setting['mode']}, on "
        f"{setting['threads']} threads; the machine's load averages before were {load}.\n\n"
        + table(heads, rows)
    )


def _serve_hostile(document: dict[str, Any]) -> str:
    whole, *kinds = document["rows"]
    rows = [
        [row["kind"], ", ".join(f"{n} × {status}" for status, n in row["statuses"].items())]
        for row in kinds
    ]
    memory = whole["rss_mib"]
    return (
        f"{whole['uploads']} uploads, of which {whole['neither 200 nor 4xx']} ended in neither 200 "
        f"nor 4xx; sane requests in between: {whole['sane requests answered']} of "
        f"{whole['sane requests']} answered. Resident memory of all processes after 50, 500 and "
        f"all: {memory[1]:.0f}, {memory[len(memory) // 2]:.0f} and {memory[-1]:.0f} MiB.\n\n"
        + table(["kind", "answers"], rows)
    )


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "serve_hostile": _serve_hostile,
    "serve_load": _serve_load,
}
