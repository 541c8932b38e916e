# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A MONAI trainer whose loss has several named terms."""

from __future__ import annotations

from typing import Any, cast

import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer

from monai_usspeech.data.files import InputError

__all__ = ["MultiTermTrainer", "iteration_output", "step_is_due", "step_number"]


def step_is_due(engine: SupervisedTrainer) -> bool:
    """Whether the optimiser steps at the end of the current iteration, which it does not amid an accumulation."""
    if engine.accumulation_steps == 1:
        return True
    length = engine.state.epoch_length
    position = engine.state.iteration if length is None else (engine.state.iteration - 1) % length + 1
    return bool(position % engine.accumulation_steps == 0 or position == length)


def step_number(engine: SupervisedTrainer) -> int:
    """How often the optimiser has stepped by the end of the current iteration, over all epochs of the run.

    It follows from the place in the run alone, so it goes on where a resumed run does. With gradients accumulated over
    n batches a step is n iterations, and every epoch has one more for the batches that are left over.
    """
    each, iteration = int(engine.accumulation_steps), int(engine.state.iteration)
    if engine.state.epoch_length is None:
        return iteration // each
    length = int(engine.state.epoch_length)
    epochs, position = divmod(iteration - 1, length)
    return epochs * -(-length // each) + -(-(position + 1) // each)


def iteration_output(engine: Engine) -> dict[str, Any]:
    """``engine.state.output`` of a MONAI trainer, by the type it really has."""
    return cast(dict[str, Any], engine.state.output)


class MultiTermTrainer(SupervisedTrainer):
    """``SupervisedTrainer`` that reports each term of its loss.

    The loss function returns one scalar, as MONAI expects, and keeps two dictionaries: ``terms`` (the named terms,
        detached)
    and ``figures`` (accuracies, counts). Both are copied into ``engine.state.output`` after each iteration, so that any
    handler can log them by name. Everything else, mixed precision, gradient accumulation, events, is MONAI's.

    Args:
        args, kwargs: as for :class:`monai.engines.SupervisedTrainer`. ``decollate`` defaults to ``False`` here: a
            pretraining batch has no per-item post-processing, and splitting it costs time.

    Raises:
        InputError: when the data loader yields no batch at all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"decollate": False, **kwargs})
        if self.state.epoch_length == 0:
            raise InputError("The training set has fewer items than one batch: lower batch_size or add data.")

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        output: dict[str, Any] = super()._iteration(engine, batchdata)
        for kind in ("terms", "figures"):
            output[kind] = {name: float(value) for name, value in getattr(engine.loss_function, kind, {}).items()}
        return output
