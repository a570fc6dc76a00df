"""Images to answers: routing, modes, engine, saliency, many images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medlego.support import load_lazily

if TYPE_CHECKING:
    from medlego.prediction.answers import Answer, Prediction, TaskAnswers
    from medlego.prediction.asked import OneImage
    from medlego.prediction.backbone import Backbone, features_of
    from medlego.prediction.batch.run import predict_many
    from medlego.prediction.batch.sources import list_images
    from medlego.prediction.engine import Engine
    from medlego.prediction.modes import working_readers
    from medlego.prediction.module import as_module
    from medlego.prediction.predict import Predictor, answer_task, predict, predict_images
    from medlego.prediction.predictions import Predictions
    from medlego.prediction.routing import OOD_LIMIT, Route, expected_ood_score, groups, profiles
    from medlego.prediction.saliency.explain import check_method, explain
    from medlego.prediction.saliency.maps import Saliency
    from medlego.prediction.saliency.overlay import draw_overlay, layer, overlay, scale
    from medlego.prediction.saliency.pictures import draw_answers, empty_folder

__all__ = [
    "OOD_LIMIT",
    "Answer",
    "Backbone",
    "Engine",
    "OneImage",
    "Prediction",
    "Predictions",
    "Predictor",
    "Route",
    "Saliency",
    "TaskAnswers",
    "answer_task",
    "as_module",
    "check_method",
    "draw_answers",
    "draw_overlay",
    "empty_folder",
    "expected_ood_score",
    "explain",
    "features_of",
    "groups",
    "layer",
    "list_images",
    "overlay",
    "predict",
    "predict_images",
    "predict_many",
    "profiles",
    "scale",
    "working_readers",
]

load_lazily(__name__)
