# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events

from monai_usspeech.label.training_handlers import EpochLineHandler, LatestBestWeightsHandler


def test_one_plain_line_an_epoch(capsys):
    engine = Engine(lambda engine, batch: None)

    @engine.on(Events.EPOCH_COMPLETED)
    def judge(engine):
        engine.state.metrics["loss"] = 0.4123 / engine.state.epoch
        if engine.state.epoch == 2:
            engine.state.metrics["val_f1"] = 0.6149

    EpochLineHandler().attach(engine)
    engine.run([0, 0, 0], max_epochs=2)
    assert capsys.readouterr().out == "epoch 1/2 loss 0.412\nepoch 2/2 loss 0.206 validation F1 0.61\n"


@pytest.mark.parametrize(
    ("scores", "kept"),
    [((0.5, 1.0, 1.0, 0.9), 3), ((1.0,), 1), ((0.8, 0.7, 0.6), 1), ((float("nan"), 0.2, float("nan")), 2)],
)
def test_of_equal_scores_the_last_is_kept(tmp_path, scores, kept):
    network = torch.nn.Linear(1, 1)

    class Judge:
        state = Engine(lambda engine, batch: None).state

        def run(self, epoch):
            self.state.metrics = {"f1": scores[epoch - 1]}
            self.state.key_metric_name = "f1"

    def train(engine, batch):
        torch.nn.init.constant_(network.weight, engine.state.epoch)

    engine = Engine(train)
    handler = LatestBestWeightsHandler(Judge(), network, str(tmp_path))
    handler.attach(engine)
    engine.run([0], max_epochs=len(scores))
    assert handler.best["epoch"] == kept
    assert torch.load(tmp_path / "model.pt", weights_only=True)["weight"].item() == kept
