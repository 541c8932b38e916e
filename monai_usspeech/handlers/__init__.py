# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Handlers that attach to Ignite engines."""

from __future__ import annotations

from monai_usspeech.handlers.curves import draw_curves
from monai_usspeech.handlers.embedding_monitor import EmbeddingMonitorHandler, embedding_figures
from monai_usspeech.handlers.gradient_clip import GradientClipHandler
from monai_usspeech.handlers.history import HistoryHandler, iteration_values
from monai_usspeech.handlers.non_finite import NonFiniteLossHandler
from monai_usspeech.handlers.pair_picture import PairPictureHandler, draw_pairs_picture
from monai_usspeech.handlers.progress import TrainingProgressBar
from monai_usspeech.handlers.run_state import RunStateHandler, random_state, set_random_state

__all__ = [
    "EmbeddingMonitorHandler",
    "GradientClipHandler",
    "HistoryHandler",
    "NonFiniteLossHandler",
    "PairPictureHandler",
    "RunStateHandler",
    "TrainingProgressBar",
    "draw_curves",
    "draw_pairs_picture",
    "embedding_figures",
    "iteration_values",
    "random_state",
    "set_random_state",
]
