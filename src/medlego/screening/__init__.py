"""Bricks from outside, looked at before they enter: what a sound specialist does not show."""

from __future__ import annotations

from medlego.screening.behaviour import Ordinary
from medlego.screening.findings import Finding, Limits, Screening, Verdict
from medlego.screening.screen import screen

__all__ = ["Finding", "Limits", "Ordinary", "Screening", "Verdict", "screen"]
