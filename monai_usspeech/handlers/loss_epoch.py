# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Tell a loss which epoch begins."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events

__all__ = ["LossEpochHandler"]


class LossEpochHandler:
    """Call ``loss.set_epoch(epoch)``, counted from 0, at the start of every epoch.

    Losses whose terms ramp up with the epoch, such as :class:`~monai_usspeech.losses.PiModelLoss`, need it. A run that
    is resumed in the middle of an epoch is told that epoch again. A loss without ``set_epoch`` is left alone, so that
    one list of handlers serves every loss.

    Args:
        loss: the trainer's loss.
    """

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Say which epoch begins; ignite counts from 1."""
        set_epoch = getattr(self.loss, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(engine.state.epoch - 1)
