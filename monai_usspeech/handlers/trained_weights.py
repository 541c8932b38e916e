# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Put trained weights into a network before an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.weights import check_unseen, load_trained

__all__ = ["TrainedWeightsHandler"]


class TrainedWeightsHandler:
    """Load every tensor of a network when an engine starts.

    MONAI's ``CheckpointLoader`` does the same; when the file does not fit it shows torch's list of all tensors, or, for
    a file that is missing, the traceback of ``open``. This one says in a sentence what is wrong and what to give.

    Args:
        network: built as for the training.
        path: its weights (``model.pt`` of a run or of a bundle).
        tested: subjects about to be tested on; weights that were trained on one of them are refused. None: no check.

    Raises:
        InputError: at the start, when the file is missing, damaged, or holds another network's weights, or when a
            tested subject was trained on.
    """

    def __init__(self, network: torch.nn.Module, path: str | Path, tested: Sequence[str] | None = None) -> None:
        self.network, self.path, self.tested = network, Path(path), tested
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.add_event_handler(Events.STARTED, self._load)

    def _load(self, engine: Engine) -> None:
        if not self.path.is_file():
            raise InputError(f"checkpoint: {self.path}: no such file; give the weights of a trained network.")
        if self.tested is not None:
            check_unseen(self.path, self.tested, "checkpoint")
        load_trained(self.network, self.path)
        self.logger.info("The weights are those of %s.", self.path)
