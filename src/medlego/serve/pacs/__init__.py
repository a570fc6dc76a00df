"""A picture archive asked over DICOMweb: its images answered, the results stored beside them."""

from medlego.serve.pacs.answering import InstanceOutcome, answer_instances, answer_study
from medlego.serve.pacs.client import Instance, PacsClient
from medlego.serve.pacs.connection import PacsAccess
from medlego.serve.pacs.journal import Journal
from medlego.serve.pacs.rule import Rule
from medlego.serve.pacs.watch import Look, Watcher, keep_watching

__all__ = [
    "Instance",
    "InstanceOutcome",
    "Journal",
    "Look",
    "PacsAccess",
    "PacsClient",
    "Rule",
    "Watcher",
    "answer_instances",
    "answer_study",
    "keep_watching",
]
