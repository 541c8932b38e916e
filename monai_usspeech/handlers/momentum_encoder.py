# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A slowly moving copy of the network: MoCo's key encoder, and the averaged network that FixMatch keeps."""

from __future__ import annotations

from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.engines import SupervisedTrainer

from monai_usspeech.engines.trainer import step_is_due, step_number

__all__ = ["MomentumEncoderHandler"]


class MomentumEncoderHandler(EMAHandler):
    """ignite's ``EMAHandler``, for a MONAI trainer's list of handlers.

    After every step of the optimiser, ``copy = momentum * copy + (1 - momentum) * network`` for each parameter (He et
    al., CVPR 2020, Eq. 2; Sohn et al., NeurIPS 2020). ignite's handler updates after every batch, and MONAI attaches
    without a word on when: with gradients accumulated over n batches the copy would move n times a step. Its
    ``momentum`` is also the other share, the one that is taken over.

    The copy is made when the handler is, so the network must have its first weights by then. The handler's state is the
    copy's: it can stand in the ``save_dict`` of :class:`~monai_usspeech.handlers.RunStateHandler` like a network, and
    be the ``product`` of a run.

    Args:
        network: the network that is trained; a ``DistributedDataParallel`` wrapper is taken off.
        momentum: share of the copy that stays at each step, between 0 and 1: 0.999 in MoCo and FixMatch.
        handle_buffers: ``"ema_train"``: the copy stays in training mode and normalises by the statistics of its own
            batches, as MoCo's keys; ``"copy"``: it is in evaluation mode and has the network's running statistics, as
            FixMatch's average.
        warm_up: at the n-th step, keep at most the share ``(1 + n) / (10 + n)``, the rule of TensorFlow's
            ``ExponentialMovingAverage`` with a step count. Without it, the copy of a run of some hundred steps and a
            momentum of 0.999 is still mostly the first, random weights: right for keys, useless as a product.

    Attributes:
        ema_model: the copy; its parameters have no gradient.

    Raises:
        ValueError: for a momentum out of range or an unknown ``handle_buffers``.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        momentum: float = 0.999,
        handle_buffers: str = "ema_train",
        warm_up: bool = False,
    ) -> None:
        if not 0 < momentum < 1:
            raise ValueError(f"momentum must lie between 0 and 1, got {momentum}.")
        if handle_buffers not in ("ema_train", "copy"):
            raise ValueError(f'handle_buffers must be "ema_train" or "copy", got "{handle_buffers}".')
        super().__init__(network, 1.0 - momentum, handle_buffers=handle_buffers)
        self.warm_up = warm_up

    def state_dict(self) -> dict[str, Any]:
        """The state of the copy."""
        return dict(self.ema_model.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state of the copy."""
        self.ema_model.load_state_dict(state)

    def attach(self, engine: SupervisedTrainer) -> None:  # type: ignore[override]  # MONAI attaches with the engine alone
        """Register with a MONAI trainer."""
        stepped = Events.ITERATION_COMPLETED(event_filter=_has_stepped)
        if self.warm_up:
            engine.add_event_handler(stepped, self._set_momentum)  # before the update of the same event
        super().attach(engine, event=stepped)

    def _set_momentum(self, engine: SupervisedTrainer) -> None:
        """Limit the share that stays; it follows from the place in the run, so a resumed run needs no more."""
        step = step_number(engine)
        engine.state.ema_momentum = max(self.momentum, 9.0 / (10.0 + step))


def _has_stepped(engine: Engine, _: int) -> bool:
    """Whether the optimiser stepped in the iteration that has just ended."""
    return step_is_due(cast(SupervisedTrainer, engine))
