# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What training from few labels needs beside the package's handlers: a choice among equals, and plain lines."""

from __future__ import annotations

import math

from ignite.engine import Engine, Events

from monai_usspeech.handlers.best_weights import BestWeightsHandler

__all__ = ["EpochLineHandler", "LatestBestWeightsHandler"]


class LatestBestWeightsHandler(BestWeightsHandler):
    """As :class:`~monai_usspeech.handlers.BestWeightsHandler`, but of equal scores the last is kept.

    A few frames judge here, so many epochs have one score, often the highest there is; under a falling learning rate
    the later of them have learned more. The arguments are the same.
    """

    def _is_better(self, score: float) -> bool:
        equal = "score" in self.best and math.isclose(score, float(self.best["score"]))
        return equal or super()._is_better(score)


class EpochLineHandler:
    """Print one line after each epoch: ``epoch 3/20 loss 0.412 validation F1 0.61``.

    The server shows the last twenty lines that its training process has printed.

    The loss is ``engine.state.metrics["loss"]`` of :class:`~monai_usspeech.handlers.HistoryHandler`, the score is
    ``val_f1`` of :class:`~monai_usspeech.handlers.BestWeightsHandler`: put this one after both. Without a score its
    part is left out.
    """

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Print the line of the epoch that is complete."""
        metrics = engine.state.metrics
        line = f"epoch {engine.state.epoch}/{engine.state.max_epochs} loss {metrics['loss']:.3f}"
        if "val_f1" in metrics:
            line += f" validation F1 {metrics['val_f1']:.2f}"
        print(line, flush=True)
