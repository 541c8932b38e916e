# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Handlers that attach to Ignite engines, and the pictures they draw."""

from __future__ import annotations

from monai_usspeech.handlers.best_weights import BestWeightsHandler
from monai_usspeech.handlers.classification_results import ClassificationResultsHandler
from monai_usspeech.handlers.confusion_picture import confusion_figure
from monai_usspeech.handlers.curves import draw_curves
from monai_usspeech.handlers.embedding_export import EmbeddingExportHandler
from monai_usspeech.handlers.embedding_monitor import EmbeddingMonitorHandler, embedding_figures
from monai_usspeech.handlers.embedding_picture import embedding_figure
from monai_usspeech.handlers.figures import figure_bytes, save_figure
from monai_usspeech.handlers.gaze_predictions import GazePredictionHandler
from monai_usspeech.handlers.gaze_strip import gaze_strip_figure
from monai_usspeech.handlers.grad_cam import GradCAMHandler, grad_cam_figure
from monai_usspeech.handlers.gradient_clip import GradientClipHandler
from monai_usspeech.handlers.history import HistoryHandler, iteration_values
from monai_usspeech.handlers.loss_epoch import LossEpochHandler
from monai_usspeech.handlers.momentum_encoder import MomentumEncoderHandler
from monai_usspeech.handlers.non_finite import NonFiniteLossHandler
from monai_usspeech.handlers.pair_picture import PairPictureHandler, draw_pairs_picture
from monai_usspeech.handlers.plane_predictions import PlanePredictionHandler, plane_segments
from monai_usspeech.handlers.plane_strip import plane_strip_figure
from monai_usspeech.handlers.progress import EvaluationProgressBar, TrainingProgressBar
from monai_usspeech.handlers.results import write_results
from monai_usspeech.handlers.run_state import RunStateHandler, random_state, set_random_state
from monai_usspeech.handlers.saliency_picture import saliency_figure
from monai_usspeech.handlers.saliency_results import SaliencyResultsHandler
from monai_usspeech.handlers.synchronisation_picture import synchronisation_figure
from monai_usspeech.handlers.synchronisation_results import SynchronisationHandler
from monai_usspeech.handlers.trained_weights import TrainedWeightsHandler
from monai_usspeech.handlers.view_picture import ViewPictureHandler, draw_views_picture
from monai_usspeech.handlers.weights_at_steps import WeightsAtStepsHandler

__all__ = [
    "BestWeightsHandler",
    "ClassificationResultsHandler",
    "EmbeddingExportHandler",
    "EmbeddingMonitorHandler",
    "EvaluationProgressBar",
    "GazePredictionHandler",
    "GradCAMHandler",
    "GradientClipHandler",
    "HistoryHandler",
    "LossEpochHandler",
    "MomentumEncoderHandler",
    "NonFiniteLossHandler",
    "PairPictureHandler",
    "PlanePredictionHandler",
    "RunStateHandler",
    "SaliencyResultsHandler",
    "SynchronisationHandler",
    "TrainedWeightsHandler",
    "TrainingProgressBar",
    "ViewPictureHandler",
    "WeightsAtStepsHandler",
    "confusion_figure",
    "draw_curves",
    "draw_pairs_picture",
    "draw_views_picture",
    "embedding_figure",
    "embedding_figures",
    "figure_bytes",
    "gaze_strip_figure",
    "grad_cam_figure",
    "iteration_values",
    "plane_segments",
    "plane_strip_figure",
    "random_state",
    "saliency_figure",
    "save_figure",
    "set_random_state",
    "synchronisation_figure",
    "write_results",
]
