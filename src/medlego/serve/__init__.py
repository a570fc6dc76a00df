"""Answers leave the house: the HTTP service, the page, the picture archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.serve.app import make_app
    from medlego.serve.limits import ServiceLimits
    from medlego.serve.logs import log_to
    from medlego.serve.pacs.answering import InstanceOutcome, answer_study
    from medlego.serve.pacs.client import PacsClient
    from medlego.serve.pacs.connection import PacsAccess
    from medlego.serve.pacs.journal import Journal
    from medlego.serve.pacs.rule import Rule
    from medlego.serve.pacs.watch import PollResult, Watcher, keep_watching
    from medlego.serve.page.page import PageSettings
    from medlego.serve.page.proposals import PageGate
    from medlego.serve.server import bound, check_host, serve_app
    from medlego.serve.service import Service
    from medlego.serve.token_check import read_token

__all__ = [
    "InstanceOutcome",
    "Journal",
    "PacsAccess",
    "PacsClient",
    "PageGate",
    "PageSettings",
    "PollResult",
    "Rule",
    "Service",
    "ServiceLimits",
    "Watcher",
    "answer_study",
    "bound",
    "check_host",
    "keep_watching",
    "log_to",
    "make_app",
    "read_token",
    "serve_app",
]

load_lazily(__name__)
