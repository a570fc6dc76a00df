"""The picture of the idea: sites, bricks, generalist, answers.

python -m tools.draw_idea    # writes docs/images/idea.svg

Words stand on shapes of their own colour or in a grey that reads on white and on black, so that one
picture serves light and dark pages.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from medlego.data import SYNTHETIC_TASKS, synthetic_image
from tools.rooms import ROOT

PICTURE = ROOT / "docs" / "images" / "idea.svg"
GREY, INK, CARD = "#768390", "#1c2733", "#eef3f8"
SITES = (
    ("Hospital A", "brain MRI", "synthetic-mri", 2, "#2f6fbf"),
    ("Hospital B", "chest X-ray", "synthetic-xray", 1, "#b3541e"),
    ("Hospital C", "breast ultrasound", "synthetic-ultrasound", 2, "#2e7d52"),
)
STEP, TOP, SIDE = 104, 52, 64
ANSWERS = ("brain · solid lesion", "chest · opacity", "none of these tasks")


def picture() -> str:
    """The drawing as SVG."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 372" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">',
        "<title>Each hospital trains a brick on its own images; only bricks travel; together they "
        "are one generalist, which answers new images.</title>",
    ]
    for number, site in enumerate(SITES):
        parts += _site(TOP + number * STEP, *site)
    parts += _generalist()
    parts += _answers()
    captions = {110: "images stay", 350: "bricks travel", 592: "one generalist", 838: "answers"}
    parts += [_text(x, 30, words, GREY, size=17, weight=600) for x, words in captions.items()]
    return "\n".join([*parts, "</svg>", ""])


def _site(y: int, name: str, what: str, task: str, label: int, colour: str) -> Iterator[str]:
    yield _card(10, y, 200, 88)
    yield _thumbnail(22, y + 12, task, label)
    yield _text(98, y + 38, name, INK, anchor="start", weight=600)
    yield _text(98, y + 58, what, INK, anchor="start", size=12)
    yield _arrow(216, y + 44, 280, y + 44)
    yield _brick(290, y + 28, 120, 40, colour)
    yield _text(350, y + 53, f"{what.split()[0]} brick", "white", size=13)
    yield _arrow(418, y + 44, 496, TOP + 148)


def _generalist() -> Iterator[str]:
    left, width = 510, 164
    for number, (_, what, *_, colour) in enumerate(SITES):
        y = TOP + 52 + number * 46
        yield _brick(left + 22, y, 120, 40, colour)
        yield _text(left + 82, y + 25, what.split()[0], "white", size=13)
    yield f'<rect x="{left}" y="{TOP + 188}" width="{width}" height="44" rx="5" fill="#52606d"/>'
    yield _text(left + width / 2, TOP + 215, "frozen base", "white", size=13)
    yield _text(left + width / 2, TOP + 256, "add · remove · update · undo", GREY, size=13)
    yield _text(left + width / 2, TOP + 275, "no data, no training", GREY, size=13)


def _answers() -> Iterator[str]:
    seen = (("synthetic-mri", 2), ("synthetic-xray", 1), ("synthetic-cells", 1))
    for number, (words, (task, label)) in enumerate(zip(ANSWERS, seen, strict=True)):
        y = TOP + number * STEP
        yield _arrow(682, TOP + 148, 728, y + 44)
        yield _card(738, y, 212, 88)
        yield _thumbnail(750, y + 12, task, label, seed=9)
        top, _, bottom = words.partition(" · ")
        yield _text(826, y + 38, top if bottom else "no answer:", INK, anchor="start", weight=600)
        yield _text(826, y + 58, bottom or words, INK, anchor="start", size=12)


def _thumbnail(x: int, y: int, task: str, label: int, seed: int = 4) -> str:
    """A procedural image; no patient is behind it."""
    assert 0 <= label < len(SYNTHETIC_TASKS[task].labels)
    pixels = synthetic_image(task, label, size=96, rng=np.random.default_rng(seed))
    stream = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(stream, "JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<image x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" '
        f'href="data:image/jpeg;base64,{data}"/>'
    )


def _card(x: int, y: int, width: int, height: int) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{CARD}" '
        f'stroke="{GREY}"/>'
    )


def _brick(x: int, y: int, width: int, height: int, colour: str) -> str:
    """A brick with four studs."""
    studs = "".join(
        f'<rect x="{x + 10 + 28 * n}" y="{y - 7}" width="16" height="8" rx="2" fill="{colour}"/>'
        for n in range(4)
    )
    return (
        f'{studs}<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{colour}"/>'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    length = max(1.0, ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5)
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    tip = f"{x2 - 9 * dx - 5 * dy:.1f} {y2 - 9 * dy + 5 * dx:.1f}L{x2} {y2}"
    tip += f"L{x2 - 9 * dx + 5 * dy:.1f} {y2 - 9 * dy - 5 * dx:.1f}"
    return f'<path d="M{x1} {y1}L{x2} {y2}M{tip}" fill="none" stroke="{GREY}" stroke-width="2"/>'


def _text(
    x: float, y: float, words: str, colour: str, *, anchor: str = "middle", **font: float
) -> str:
    style = "".join(f' font-{name}="{value}"' for name, value in font.items())
    return f'<text x="{x:g}" y="{y}" text-anchor="{anchor}" fill="{colour}"{style}>{words}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
