"""Images to answers: routing, modes, engine, saliency, many images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.prediction.batch.run import predict_many
    from medlego.prediction.engine import Running
    from medlego.prediction.modes import working_readers
    from medlego.prediction.predict import (
        Answer,
        Found,
        Prediction,
        Predictor,
        answer_batch,
        answer_images,
        answer_task,
        predict,
        read_probs,
        tasks_to_ask,
    )
    from medlego.prediction.routing import OOD_LIMIT, Route, expected_ood_score, groups, profiles
    from medlego.prediction.saliency.explain import check_method, explain
    from medlego.prediction.saliency.maps import Saliency
    from medlego.prediction.saliency.overlay import draw_overlay, layer, overlay, scale
    from medlego.prediction.saliency.pictures import draw_answers, empty_folder

__all__ = [
    "OOD_LIMIT",
    "Answer",
    "Found",
    "Prediction",
    "Predictor",
    "Route",
    "Running",
    "Saliency",
    "answer_batch",
    "answer_images",
    "answer_task",
    "check_method",
    "draw_answers",
    "draw_overlay",
    "empty_folder",
    "expected_ood_score",
    "explain",
    "groups",
    "layer",
    "overlay",
    "predict",
    "predict_many",
    "profiles",
    "read_probs",
    "scale",
    "tasks_to_ask",
    "working_readers",
]

load_lazily(__name__)
