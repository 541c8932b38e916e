# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator

from monai_usspeech.data.files import InputError
from monai_usspeech.handlers.best_weights import BestWeightsHandler


class Scripted(Metric):
    """A metric that says what it is told, one value for each validation."""

    def __init__(self, values):
        self.values = iter(values)
        super().__init__()

    def reset(self):
        pass

    def update(self, output):
        pass

    def compute(self):
        return next(self.values)


def train(folder, scores, state=None, first_epoch=0, **options):
    """Train so many epochs; the network's weight is the epoch's number."""
    network = torch.nn.Linear(1, 1, bias=False)
    validator = SupervisedEvaluator(
        "cpu",
        [{"image": torch.zeros(1, 1), "label": torch.zeros(1, 1)}],
        network,
        key_val_metric={"score": Scripted(scores)} if scores is not None else None,
    )
    handler = BestWeightsHandler(validator, network, str(folder), facts={"subjects": ["p1"]}, **options)
    if state is not None:
        handler.load_state_dict(state)
    trainer = Engine(lambda engine, batch: None)

    @trainer.on(Events.EPOCH_STARTED)
    def facts_lie_beside_the_best_weights_so_far(engine):
        if engine.state.epoch > 1:
            assert json.loads((folder / "best.json").read_text())["subjects"] == ["p1"]

    @trainer.on(Events.EPOCH_COMPLETED)
    def learn(engine):
        torch.nn.init.constant_(network.weight, float(first_epoch + engine.state.epoch))

    handler.attach(trainer)
    trainer.run([0], max_epochs=1 if scores is None else len(scores))
    return handler, trainer


def kept(folder):
    return float(torch.load(folder / "model.pt", weights_only=True)["weight"])


def test_the_weights_of_the_best_epoch_are_kept(tmp_path):
    _, trainer = train(tmp_path, [0.2, 0.7, 0.5])
    assert kept(tmp_path) == 2
    assert json.loads((tmp_path / "model.json").read_text()) == {
        "subjects": ["p1"], "epoch": 2, "score": 0.7, "metric": "score"}  # fmt: skip
    assert trainer.state.metrics["val_score"] == 0.5
    assert not list(tmp_path.glob("best.*"))


def test_the_first_of_equal_scores_is_kept(tmp_path):
    train(tmp_path, [0.7, 0.7])
    assert kept(tmp_path) == 1


def test_smaller_can_be_better(tmp_path):
    train(tmp_path, [3.0, 1.0, 2.0], smaller_is_better=True)
    assert kept(tmp_path) == 2


def test_a_score_that_is_no_number_gives_way(tmp_path):
    train(tmp_path, [float("nan"), 0.1, float("nan")])
    assert kept(tmp_path) == 2


def test_a_resumed_run_knows_what_it_has_to_beat(tmp_path):
    handler, _ = train(tmp_path, [0.2, 0.7])
    (tmp_path / "model.pt").rename(tmp_path / "best.pt")  # as if killed before the end
    train(tmp_path, [0.6], state=handler.state_dict(), first_epoch=2)
    assert kept(tmp_path) == 2


def test_a_finished_run_keeps_its_weights_when_it_is_started_again(tmp_path):
    handler, _ = train(tmp_path, [0.2, 0.7])
    before = (tmp_path / "model.pt").read_bytes()
    train(tmp_path, [0.6], state=handler.state_dict(), first_epoch=5)
    assert (tmp_path / "model.pt").read_bytes() == before


def test_a_validator_without_a_key_metric_is_refused(tmp_path):
    with pytest.raises(InputError, match="key_val_metric"):
        train(tmp_path, None)
