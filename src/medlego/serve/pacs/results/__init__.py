"""Answers as DICOM: a structured report, and captures of what the answers rest on."""

from medlego.serve.pacs.results.algorithm import Algorithm
from medlego.serve.pacs.results.analysis import Analysis, analyse
from medlego.serve.pacs.results.capture import saliency_capture
from medlego.serve.pacs.results.report import RESEARCH_USE, structured_report
from medlego.serve.pacs.results.source import Source, read_source
from medlego.serve.pacs.results.uids import derived_uid

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
