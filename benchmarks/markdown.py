"""Numbers and tables as the results' page spells them."""

from __future__ import annotations

from typing import Any

BASE_NAMES = {"deit": "DeiT-Tiny", "dino": "DINOv2-S"}
"""Of the bases of `benchmarks.fifteen`, both at 112 px."""


def interval(value: dict[str, Any] | None) -> str:
    """`.5 [.4, .6]`, or a dash."""
    if value is None:
        return "-"
    bounds = value.get("interval")
    text = f"{value['value']:.3f}"
    return f"{text} [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else text


def deviation(value: float | None) -> str:
    """Three places, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Markdown; every row as long as the heads."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
