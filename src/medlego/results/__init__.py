"""Answers as DICOM: a structured report, and captures of what the answers rest on."""

from medlego.results.algorithm import Algorithm
from medlego.results.analysis import Analysis, analyse
from medlego.results.capture import saliency_capture
from medlego.results.identity import derived_uid
from medlego.results.report import RESEARCH_USE, structured_report
from medlego.results.source import Source, read_source

__all__ = [
    "RESEARCH_USE",
    "Algorithm",
    "Analysis",
    "Source",
    "analyse",
    "derived_uid",
    "read_source",
    "saliency_capture",
    "structured_report",
]
