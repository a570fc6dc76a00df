"""What reading had to mend: how such a step is spelled, and many of them in few sentences."""

from __future__ import annotations

from collections.abc import Iterable

WARNING = "warning: "
"""What a step of `Image.applied` begins with that people should see."""

LEAST_SPREAD = 0.02
"""Share of the range that a picture uses at least, unless its stored values use less themselves."""


def warnings_of(applied: Iterable[str]) -> tuple[str, ...]:
    """The steps that people should see, out of `Image.applied`."""
    return tuple(step for step in applied if step.startswith(WARNING))


def by_subject(warnings: Iterable[Iterable[str]]) -> dict[str, list[str]]:
    """Warnings of several images by what they are about, at most one of an image each."""
    subjects: dict[str, list[str]] = {}
    for own in warnings:
        texts = [text.removeprefix(WARNING) for text in own]
        for subject, text in {text.partition(":")[0]: text for text in texts}.items():
            subjects.setdefault(subject, []).append(text)
    return subjects


def warning_notes(warnings: Iterable[Iterable[str]], count: int) -> tuple[str, ...]:
    """The warnings of some of `count` images in few sentences, each with the first of its kind."""
    subjects = by_subject(warnings).values()
    return tuple(f"{len(texts)} of {count} images: {texts[0]}" for texts in subjects)


def share(spread: float) -> str:
    """How much of the range a picture uses, in words."""
    return f"{spread:.1%} of the range" if spread > 0 else "one grey"
