# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.label.training_request import TrainingRequest, training_devices

CARDS = ["cuda:0", "cuda:1", "cpu"]


def test_what_a_request_does_not_say_has_its_default():
    assert TrainingRequest.read({}, ["cpu"]) == TrainingRequest()
    assert TrainingRequest.read(
        {"mode": "", "start": None, "model": "standard_plane", "image": "/etc/passwd"}, ["cpu"]
    ) == (TrainingRequest())
    assert training_devices()[-1] == "cpu"


def test_values_are_taken_as_clients_send_them():
    request = {"max_epochs": "3", "batch_size": 8.0, "learning_rate": "0.01", "mode": ["finetune", "probe"], "seed": 5}
    read = TrainingRequest.read({**request, "start": "pretrained", "device": "cuda"}, CARDS)
    assert read == TrainingRequest("finetune", 3, 8, 0.01, 5, "cuda:0", "pretrained")
    assert read.values() == {
        "mode": "finetune", "max_epochs": 3, "batch_size": 8, "head_learning_rate": 0.01, "seed": 5, "device": "cuda:0",
    }  # fmt: skip
    assert type(read.batch_size) is int and TrainingRequest.read({}, CARDS).device == "cuda:0"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"mode": "prob"}, r'mode: .*none of probe, finetune\. Did you mean "probe"'),
        ({"mode": "$exit()"}, "mode: "),
        ({"start": "scratch"}, "start: 'scratch' is none of model, pretrained"),
        ({"max_epochs": 0}, "max_epochs: is '0'; give a whole number from 1 to 1000"),
        ({"max_epochs": 2.5}, "max_epochs: is '2.5'"),
        ({"max_epochs": True}, "max_epochs: is 'True'"),
        ({"max_epochs": {"$": 1}}, "max_epochs: is"),
        ({"max_epochs": 10**400}, "max_epochs: is"),
        ({"batch_size": 1}, "batch_size: is '1'; give a whole number from 2"),
        ({"learning_rate": 0}, "learning_rate: is '0'; give a number above 0"),
        ({"learning_rate": "nan"}, "learning_rate: is 'nan'"),
        ({"seed": -1}, "seed: is '-1'"),
        ({"device": "cuda"}, "device: 'cuda' is none of this machine's: cpu"),
        ({"device": "@network"}, "device: "),
    ],
)
def test_what_cannot_be_used_is_refused(request_, message):
    with pytest.raises(InputError, match=message):
        TrainingRequest.read(request_, ["cpu"])
