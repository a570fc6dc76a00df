"""What every result gets in the end: its moment instead of the clock's, its patient and study."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset

from medlego.serve.pacs.results.source import Source


def finish(result: Dataset, source: Source, when: datetime) -> None:
    """Date a result and file it under its source, so that equal arguments give equal bytes."""
    stamp(result, "InstanceCreation{}", when)
    for equipment in result.ContributingEquipmentSequence:
        equipment.ContributionDateTime = when.strftime("%Y%m%d%H%M%S")
    source.hand_over(result)


def stamp(result: Dataset, keywords: str, when: datetime) -> None:
    """Write a date and a time, whose keywords differ by these words."""
    setattr(result, keywords.format("Date"), when.strftime("%Y%m%d"))
    setattr(result, keywords.format("Time"), when.strftime("%H%M%S"))
