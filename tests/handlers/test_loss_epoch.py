# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from ignite.engine import Events

from monai_usspeech.handlers.loss_epoch import LossEpochHandler
from monai_usspeech.handlers.run_state import RunStateHandler
from monai_usspeech.losses.consistency import PiModelLoss, ramp_up
from tests.engines.tiny import TwoTerms, tiny_training


class Ramped(TwoTerms):
    """Keeps which epoch each batch was computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch, self.seen = -1, []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def forward(self, prediction, target):
        self.seen.append(self.epoch)
        return super().forward(prediction, target)


def test_the_loss_knows_its_epoch_before_the_first_batch():
    loss = Ramped()
    trainer, _, _ = tiny_training(lambda *_: [LossEpochHandler(loss)])
    trainer.loss_function = loss
    trainer.run()
    assert loss.seen == [0] * 6 + [1] * 6 + [2] * 6


def test_a_resumed_run_goes_on_in_its_epoch(tmp_path):
    def training(loss):
        def handlers(parts, sampler):
            state = RunStateHandler(str(tmp_path / "run_state.pt"), parts, sampler, every_iterations=1)
            return [LossEpochHandler(loss), state]

        trainer, _, _ = tiny_training(handlers)
        trainer.loss_function = loss
        return trainer

    first = training(Ramped())

    @first.on(Events.ITERATION_COMPLETED(once=9))
    def stop(engine):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run()
    again = Ramped()
    training(again).run()
    assert again.seen == [1] * 4 + [2] * 6  # the state of iteration 8 was kept: 4 of epoch 1 are left


def test_a_ramp_follows_the_epochs():
    loss = PiModelLoss(max_weight=1.0, ramp_epochs=4)
    trainer, _, _ = tiny_training(lambda *_: [LossEpochHandler(loss)], epochs=3)
    weights = []
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: weights.append(loss.weight))
    trainer.run()
    assert weights == [ramp_up(epoch, 4) for epoch in range(3)]


def test_a_loss_without_epochs_is_left_alone():
    loss = TwoTerms()
    trainer, _, _ = tiny_training(lambda *_: [LossEpochHandler(loss)], epochs=1)
    trainer.run()
    assert trainer.state.iteration == 6 and not hasattr(loss, "epoch")
