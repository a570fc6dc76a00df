"""Answers against the truth: scores, gate, report, model card, inspection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.evaluation.evaluate import evaluate
    from medlego.evaluation.gate import GateLimits, GateReport, check
    from medlego.evaluation.inspect import brick_facts, curve_line, generalist_facts, task_facts
    from medlego.evaluation.model_card.evaluated import Evaluated
    from medlego.evaluation.model_card.facts import Facts
    from medlego.evaluation.model_card.write import brick_card, generalist_card
    from medlego.evaluation.plots import (
        plot_confusion,
        plot_groups,
        plot_precision_recall,
        plot_reliability,
        plot_roc,
        plot_scores,
    )
    from medlego.evaluation.report.examples import find_examples
    from medlego.evaluation.report.page import write_page
    from medlego.evaluation.report.pictures import plot_diagnosis, plot_report
    from medlego.evaluation.result import Report

__all__ = [
    "Evaluated",
    "Facts",
    "GateLimits",
    "GateReport",
    "Report",
    "brick_card",
    "brick_facts",
    "check",
    "curve_line",
    "evaluate",
    "find_examples",
    "generalist_card",
    "generalist_facts",
    "plot_confusion",
    "plot_diagnosis",
    "plot_groups",
    "plot_precision_recall",
    "plot_reliability",
    "plot_report",
    "plot_roc",
    "plot_scores",
    "task_facts",
    "write_page",
]

load_lazily(__name__)
