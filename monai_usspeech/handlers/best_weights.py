# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Keep the weights of the best epoch, judged on subjects that are neither trained nor tested on."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator

from monai_usspeech.data.files import InputError, write_json
from monai_usspeech.engines.weights import provenance_path, write_weights

__all__ = ["BestWeightsHandler"]


class BestWeightsHandler:
    """Run the validator after each epoch and keep the weights with the best key metric.

    During training the best weights so far are in ``best.pt`` of the run's folder; when training is complete they
    become ``model.pt``. The facts (with epoch and score) lie beside either, in ``best.json`` and ``model.json``. The
    first of equal scores is kept. The validator's metrics go to ``engine.state.metrics`` of the trainer as
    ``val_<name>``, where the handlers that log find them: put this one before them.

    It is part of the run's state (``save_dict`` of :class:`~monai_usspeech.handlers.RunStateHandler`), so that a
    resumed run knows what it has to beat. MONAI's ``ValidationHandler`` and ``CheckpointSaver`` together do the same
    without that memory: after a resume the next epoch would win whatever its score.

    Args:
        validator: a MONAI evaluator with a key metric.
        network: whose weights are kept.
        output_dir: the run's folder.
        smaller_is_better: for a key metric such as a divergence.
        facts: written beside the weights with the epoch and the score, such as ``{"subjects": [...]}``.

    Raises:
        InputError: when training starts with a validator that has no key metric.
    """

    def __init__(
        self,
        validator: Evaluator,
        network: torch.nn.Module,
        output_dir: str,
        smaller_is_better: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.validator, self.network = validator, network
        self.folder, self.smaller_is_better = Path(output_dir), smaller_is_better
        self.facts = dict(facts or {})
        self.logger = logging.getLogger(__name__)
        self.best: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._validate)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, score and name of the metric of the best weights so far; empty before the first validation."""
        return dict(self.best)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self.best = dict(state)

    def _validate(self, engine: Engine) -> None:
        self.validator.run(engine.state.epoch)
        metrics = self.validator.state.metrics
        name = self.validator.state.key_metric_name
        if name is None or name not in metrics:
            raise InputError("BestWeightsHandler: the validator has no key metric; give it a key_val_metric.")
        for key, value in metrics.items():
            engine.state.metrics[f"val_{key}"] = float(value)
        score = float(metrics[name])
        if self._is_better(score):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.best = {"epoch": engine.state.epoch, "score": score, "metric": name}
            write_weights(self.folder / "best.pt", self.network.state_dict(), {**self.facts, **self.best})

    def _is_better(self, score: float) -> bool:
        if "score" not in self.best:
            return True  # also when the score is not a number: some weights must be there at the end
        best = float(self.best["score"])
        if math.isnan(best):
            return not math.isnan(score)
        return score < best if self.smaller_is_better else score > best

    def _finish(self, engine: Engine) -> None:
        best, model = self.folder / "best.pt", self.folder / "model.pt"
        if not best.is_file():
            return  # a finished run that was started again: model.pt is there
        write_json(provenance_path(model), {**self.facts, **self.best})
        os.replace(best, model)
        provenance_path(best).unlink(missing_ok=True)
        self.logger.info("Training is complete; the weights of epoch %d are in %s.", self.best["epoch"], model)
