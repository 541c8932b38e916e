# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine

from monai_usspeech.data.files import InputError
from monai_usspeech.handlers.trained_weights import TrainedWeightsHandler


def start(*arguments) -> None:
    engine = Engine(lambda engine, batch: None)
    TrainedWeightsHandler(*arguments).attach(engine)
    engine.run([0])


@pytest.fixture
def weights(tmp_path):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "model.pt")
    (tmp_path / "model.json").write_text(json.dumps({"subjects": ["p001", "p002"]}))
    return tmp_path / "model.pt"


def test_every_tensor_is_loaded_at_the_start(weights):
    network = torch.nn.Linear(3, 2)
    before = network.weight.detach().clone()
    start(network, weights)
    assert not torch.equal(network.weight, before)
    assert all(torch.equal(value, torch.load(weights)[name]) for name, value in network.state_dict().items())


def test_another_network_is_refused_and_left_as_it_was(weights):
    network = torch.nn.Linear(4, 2)
    before = network.weight.detach().clone()
    with pytest.raises(InputError, match="model.pt"):
        start(network, weights)
    assert torch.equal(network.weight, before)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="none.pt"):
        start(torch.nn.Linear(3, 2), tmp_path / "none.pt")


def test_weights_that_saw_a_tested_subject_are_refused(weights):
    start(torch.nn.Linear(3, 2), weights, ["p003"])
    with pytest.raises(InputError, match="p002"):
        start(torch.nn.Linear(3, 2), weights, ["p002", "p003"])
