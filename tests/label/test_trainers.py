# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("monailabel")

from monai_usspeech.data.files import InputError
from monai_usspeech.label.trainers import PlaneTrainTask
from tests.label.training_server import CLASSES, add_clips, pretrained_server


@pytest.fixture
def server(tmp_path):
    return pretrained_server(tmp_path)


class Labels:
    """As much of a datastore as training asks for."""

    def __init__(self, datalist):
        self.files = datalist

    def datalist(self):
        return self.files


def test_a_client_sees_what_it_may_ask(server):
    task = PlaneTrainTask(server)
    info = json.loads(json.dumps(task.info()))
    assert info["description"] == "Standard planes, from corrected labels"
    assert {**info["config"], "device": 0} == {
        "max_epochs": 20, "batch_size": 16, "learning_rate": 0.005, "mode": ["probe", "finetune"],
        "start": ["pretrained"], "device": 0, "seed": 0,
    }  # fmt: skip
    assert info["config"]["device"][-1] == "cpu" and task.stats() == {}


def test_a_training_is_seen_in_the_statistics(server, tmp_path):
    task = PlaneTrainTask(server)
    request = {"model": "standard_plane", "max_epochs": 1, "batch_size": 4, "device": "cpu", "gpus": "all"}
    result = task(request, Labels(add_clips(tmp_path / "studies", 12)))
    assert json.loads(json.dumps(result)) == task.stats()
    assert result["classes"] == dict.fromkeys(CLASSES, 6)
    assert (result["clips"], result["subjects"], result["mode"], result["epochs"]) == (12, 6, "probe", 1)
    assert 0 <= result["f1"] <= 1 and "labels" not in result
    assert task.config()["start"] == ["model", "pretrained"]


def test_what_cannot_be_trained_is_refused_before_it_begins(server, tmp_path):
    task, labels = PlaneTrainTask(server), Labels([])
    with pytest.raises(InputError, match="max_epochs"):
        task({"max_epochs": "many"}, labels)
    with pytest.raises(InputError, match="there is no label to train on"):
        task({}, labels)
    (server.models / "standard_plane.json").write_text("{")
    (server.models / "standard_plane.pt").write_bytes(b"")
    assert "not valid JSON" in task.stats()["problem"]


def test_the_process_that_trains_ends_with_the_sentence(server, monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(InputError) as caught:
        PlaneTrainTask(server)({"local_rank": 0}, Labels([]))
    sys.excepthook(caught.type, caught.value, caught.tb)
    assert capsys.readouterr().err.startswith("error: there is no label to train on")
