"""Scores with intervals, comparisons, subgroups, curves, calibration and thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.metrics.bootstrap import LEVEL, RESAMPLES, Interval, Replicates, interval
    from medlego.metrics.calibration import (
        MAX_KNOTS,
        Aim,
        Calibration,
        LogitMap,
        OperatingPoint,
        State,
        calibration_problems,
        check_aim,
        missing_thresholds,
    )
    from medlego.metrics.comparison import Comparison, paired_tests
    from medlego.metrics.curves import Curves, confusion, curves
    from medlego.metrics.delong import delong_interval
    from medlego.metrics.reliability import Diagram, ece_floor, reliability
    from medlego.metrics.sample import Column, Sample
    from medlego.metrics.scores import (
        LABEL_SCORES,
        MAIN_SCORES,
        PROBABILISTIC,
        SCORES,
        label_replicates,
        point_scores,
        score_names,
        score_replicates,
    )
    from medlego.metrics.subgroups import GroupRow, group_rows, subgroups

__all__ = [
    "LABEL_SCORES",
    "LEVEL",
    "MAIN_SCORES",
    "MAX_KNOTS",
    "PROBABILISTIC",
    "RESAMPLES",
    "SCORES",
    "Aim",
    "Calibration",
    "Column",
    "Comparison",
    "Curves",
    "Diagram",
    "GroupRow",
    "Interval",
    "LogitMap",
    "OperatingPoint",
    "Replicates",
    "Sample",
    "State",
    "calibration_problems",
    "check_aim",
    "confusion",
    "curves",
    "delong_interval",
    "ece_floor",
    "group_rows",
    "interval",
    "label_replicates",
    "missing_thresholds",
    "paired_tests",
    "point_scores",
    "reliability",
    "score_names",
    "score_replicates",
    "subgroups",
]

load_lazily(__name__)
