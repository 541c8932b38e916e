# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from torch.utils.data import DataLoader

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.trainer import MultiTermTrainer, step_is_due
from tests.engines.tiny import Numbers, TwoTerms, tiny_training


def test_every_term_and_figure_is_in_the_output_of_each_iteration():
    trainer, parts, _ = tiny_training(epochs=1)
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(dict(engine.state.output)))
    trainer.run()
    assert len(seen) == 6
    for output in seen:
        total = output["terms"]["loss_error"] + 0.01 * output["terms"]["loss_size"]
        assert output["loss"].item() == pytest.approx(total, rel=1e-6)
        assert output["figures"]["largest"] > 0
    assert len({output["terms"]["loss_error"] for output in seen}) == 6


@pytest.mark.parametrize(("accumulation", "expected"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (4, [4, 6])])
def test_step_is_due_exactly_when_the_weights_change(accumulation, expected):
    trainer, parts, _ = tiny_training(epochs=1, accumulation=accumulation)
    weights = [parts["network"][0].weight.detach().clone()]
    due, changed = [], []

    def look(engine):
        now = parts["network"][0].weight.detach().clone()
        if step_is_due(engine):
            due.append(engine.state.iteration)
        if not torch.equal(now, weights[-1]):
            changed.append(engine.state.iteration)
        weights.append(now)

    trainer.add_event_handler(Events.ITERATION_COMPLETED, look)
    trainer.run()
    assert due == changed == expected


def test_a_training_set_smaller_than_a_batch_is_refused():
    network = torch.nn.Linear(4, 1)
    loader = DataLoader(Numbers(3), batch_size=4, drop_last=True)
    with pytest.raises(InputError, match="fewer items than one batch"):
        MultiTermTrainer(
            device="cpu",
            max_epochs=1,
            train_data_loader=loader,
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            loss_function=TwoTerms(),
        )
