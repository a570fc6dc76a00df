"""Bricks from outside, looked at before they enter: what a sound specialist does not show."""

from __future__ import annotations

from medlego.exchange.screening.behaviour import Ordinary
from medlego.exchange.screening.findings import Finding, Screening, ScreeningLimits, Verdict
from medlego.exchange.screening.screen import screen

__all__ = ["Finding", "Ordinary", "Screening", "ScreeningLimits", "Verdict", "screen"]
