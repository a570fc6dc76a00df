"""A picture archive asked over DICOMweb: its images answered, the results stored beside them."""

from medlego.dicomweb.access import Access
from medlego.dicomweb.answering import Answered, answer_instances, answer_study
from medlego.dicomweb.journal import Journal
from medlego.dicomweb.pacs import Instance, PictureArchive
from medlego.dicomweb.rule import Rule
from medlego.dicomweb.watch import Look, Watcher, keep_watching

__all__ = [
    "Access",
    "Answered",
    "Instance",
    "Journal",
    "Look",
    "PictureArchive",
    "Rule",
    "Watcher",
    "answer_instances",
    "answer_study",
    "keep_watching",
]
