"""Words of the report: scores as people write them, and how they are to be read."""

from __future__ import annotations

TITLES = {
    "auroc": "AUROC",
    "f1": "F1",
    "ece": "ECE",
    "brier": "Brier score",
    "rms_calibration_error": "RMS calibration error",
    "sensitivity_at_90_specificity": "sensitivity at 90 % specificity",
    "specificity_at_90_sensitivity": "specificity at 90 % sensitivity",
    "quadratic_kappa": "quadratic κ",
}

METHOD = (
    "Where images are sent by their looks, the generalist's row is what it answers when nobody "
    "tells it the task: an image that it sends elsewhere, or does not answer, counts as wrong. "
    "Where no brick has a profile, each task is asked of its own images.",
    "A specialist is a task's brick alone, told the task. The base with the specialist's head, and "
    "the linear probe, need no brick's deltas: a generalist that does not beat the probe is not "
    "worth its bricks.",
    "Intervals are percentiles of bootstrap replicates at 95 %; patients are drawn whole where ids "
    "are known. They speak of other images like these, not of another hospital's.",
    "Balanced accuracy is the mean over labels of the share that is found. “Undefined” says that a "
    "score does not exist for these images, for example an AUROC without positives.",
    "ECE is biased upwards in small sets; beside it stands what chance alone would show.",
)


def score_title(name: str) -> str:
    """A score's name as people write it."""
    return TITLES.get(name, name.replace("_", " "))
