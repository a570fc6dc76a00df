"""A picture archive asked over DICOMweb: its images answered, the results stored beside them."""

from medlego.serve.pacs.answering import Answered, answer_instances, answer_study
from medlego.serve.pacs.client import Instance, PictureArchive
from medlego.serve.pacs.connection import Access
from medlego.serve.pacs.journal import Journal
from medlego.serve.pacs.rule import Rule
from medlego.serve.pacs.watch import Look, Watcher, keep_watching

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
