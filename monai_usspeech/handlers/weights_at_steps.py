# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Keep the weights that a network has after given steps of the optimiser: the points of a learning curve."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.trainer import step_is_due, step_number
from monai_usspeech.engines.weights import write_weights
from monai_usspeech.handlers.processes import unwrapped

__all__ = ["WeightsAtStepsHandler", "step_weights_name"]


def step_weights_name(step: int) -> str:
    """The file of the weights after a step: ``model_step400.pt``."""
    return f"model_step{step}.pt"


class WeightsAtStepsHandler:
    """Write the network's weights after given optimiser steps, as ``model_step<n>.pt`` in the run's folder.

    Steps are those of the optimiser, counted over the whole run: with gradients accumulated over several batches a step
    is not an iteration, and a resumed run goes on counting. Beside each file lie the facts with the ``step``
    (``model_step400.json``), so that a later run is refused when it tests on whom the weights have seen.

    MONAI's ``CheckpointSaver`` and ignite's ``Checkpoint`` save at every n-th iteration, not at a list of steps, and
    write nothing about the weights beside them.

    Put it into the list of handlers beside :class:`~monai_usspeech.handlers.RunStateHandler`, before or after it: that
    one saves last, so a state that is beyond a step always has the step's file beside it. A step that is gone through
    again after a kill writes its file again.

    Args:
        network: whose weights are kept; a ``DistributedDataParallel`` wrapper is taken off.
        output_dir: the run's folder.
        steps: after which steps, counted from 1.
        facts: plain values written beside the weights with the step, such as ``{"subjects": [...]}``.

    Raises:
        InputError: for steps that are no whole numbers from 1 on; and when training starts, before its first batch,
            with a step beyond the run's last one, or with one that the resumed run is past without having its file.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        output_dir: str | Path,
        steps: Sequence[int],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        listed = list(steps) if isinstance(steps, Sequence) and not isinstance(steps, str) else [None]
        if not all(isinstance(step, int) and not isinstance(step, bool) and step > 0 for step in listed):
            raise InputError(f"keep_steps: is {steps!r}; give a list of whole numbers from 1 on, such as [200, 400].")
        self.network, self.folder, self.steps = network, Path(output_dir), sorted(set(steps))
        self.facts = dict(facts or {})
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: SupervisedTrainer) -> None:
        """Register with a MONAI trainer."""
        # the trainer that attaches its handlers does not know yet over how many batches it will accumulate
        engine.add_event_handler(Events.STARTED, self._check)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)

    def _check(self, engine: SupervisedTrainer) -> None:
        if engine.state.epoch_length is not None and engine.state.max_epochs is not None:
            last = int(engine.state.max_epochs) * -(-int(engine.state.epoch_length) // int(engine.accumulation_steps))
            beyond = [step for step in self.steps if step > last]
            if beyond:
                raise InputError(
                    f"keep_steps: the run ends after {last} optimiser steps, before step {beyond[0]}; keep earlier"
                    " ones, or raise max_epochs."
                )
        done = step_number(engine)
        gone = [step for step in self.steps if step <= done and not (self.folder / step_weights_name(step)).is_file()]
        if gone:
            raise InputError(
                f"keep_steps: {self.folder} has a run that is at step {done} and did not keep step {gone[0]}; take the"
                " step out, or choose another output_dir."
            )

    def _keep(self, engine: SupervisedTrainer) -> None:
        step = step_number(engine)
        if step not in self.steps or not step_is_due(engine):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / step_weights_name(step)
        write_weights(path, unwrapped(self.network).state_dict(), {**self.facts, "step": step})
        self.logger.info("The weights after step %d are in %s.", step, path)
