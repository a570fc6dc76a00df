"""Scores with intervals, comparisons, subgroups, curves, calibration and thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.metrics.bootstrap import (
        LEVEL,
        RESAMPLES,
        Interval,
        draws,
        interval,
        mean_over_tasks,
    )
    from medlego.metrics.calibration import (
        MAX_KNOTS,
        Aim,
        Calibration,
        LogitMap,
        OperatingPoint,
        State,
        calibration_problems,
        has_thresholds,
    )
    from medlego.metrics.comparison import Comparison, PairedTest, compare, paired_tests
    from medlego.metrics.curves import Curves, confusion, curves
    from medlego.metrics.delong import delong_interval
    from medlego.metrics.reliability import Bin, Diagram, ece_floor, reliability
    from medlego.metrics.sample import Column, Sample, decide
    from medlego.metrics.scores import (
        LABEL_SCORES,
        PROBABILISTIC,
        SCORES,
        label_replicates,
        point_scores,
        score_names,
        score_replicates,
        scores,
        wrong_answers,
    )
    from medlego.metrics.subgroups import GroupRow, group_rows, subgroups

__all__ = [
    "LABEL_SCORES",
    "LEVEL",
    "MAX_KNOTS",
    "PROBABILISTIC",
    "RESAMPLES",
    "SCORES",
    "Aim",
    "Bin",
    "Calibration",
    "Column",
    "Comparison",
    "Curves",
    "Diagram",
    "GroupRow",
    "Interval",
    "LogitMap",
    "OperatingPoint",
    "PairedTest",
    "Sample",
    "State",
    "calibration_problems",
    "compare",
    "confusion",
    "curves",
    "decide",
    "delong_interval",
    "draws",
    "ece_floor",
    "group_rows",
    "has_thresholds",
    "interval",
    "label_replicates",
    "mean_over_tasks",
    "paired_tests",
    "point_scores",
    "reliability",
    "score_names",
    "score_replicates",
    "scores",
    "subgroups",
    "wrong_answers",
]

load_lazily(__name__)
