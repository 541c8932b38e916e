# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from monai_usspeech.data.files import InputError, read_json
from monai_usspeech.engines.weights import check_unseen
from monai_usspeech.label import plane_training
from monai_usspeech.label.model_files import ModelSpec, load_model, read_facts
from monai_usspeech.label.plane_training import train_planes
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.label.training_request import TrainingRequest
from monai_usspeech.studies.lock import FolderLock
from tests.conftest import REPOSITORY
from tests.label.training_server import BACKBONE, CLASSES, SIDE, add_clips, picture, pretrained_server

QUICK = TrainingRequest(mode="finetune", max_epochs=2, batch_size=4, learning_rate=0.02)


@pytest.fixture
def server(tmp_path):
    return pretrained_server(tmp_path)


def weights(server):
    return torch.load(server.models / "standard_plane.pt", weights_only=True)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_server_learns_from_its_labels(server, tmp_path, capsys):
    datalist = add_clips(tmp_path / "studies", 12)
    facts = train_planes(server, datalist, QUICK)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "reading 12 labelled clips"
    assert [line.split(" loss ")[0] for line in printed if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert all(" validation F1 " in line for line in printed if line.startswith("epoch"))
    assert printed[-1].startswith("done: validation F1 ") and len(printed) == 4

    assert facts == read_facts(server.models / "standard_plane.pt")
    settings, training = facts["settings"], facts["training"]
    train, judges = settings["train_subjects"], settings["validation_subjects"]
    assert len(judges) == 1 and sorted(train + judges) == [f"p{number}" for number in range(6)]
    assert set(facts["subjects"]) == {*train, *judges, "s1"}  # whom the pretraining has seen
    assert training["classes"] == {"femur": 6, "lips": 6} and training["frames"] == {"train": 10, "validation": 2}
    assert training["labels"][3] == {"id": "c03", "revision": 2, "frames": 1} and training["clips"] == 12
    assert training["start"] == "pretrained" and training["left_out"] == {}
    assert "Trained on no frame of 3VT, 4CH, abdomen, BrainTv, " in training["note"]
    with pytest.raises(InputError, match="trained on 1 of the test subjects"):
        check_unseen(server.models / "standard_plane.pt", ["p3"])

    network, spec = load_model(server.models / "standard_plane.pt", "standard_plane")
    assert (spec.size, spec.backbone, spec.mode) == (SIDE, BACKBONE, "finetune")
    image = torch.tensor(np.stack([picture(number) for number in range(100, 120)]))[:, None] / 255
    named = network((image - spec.frame_mean) / spec.frame_std).argmax(dim=1)
    wanted = torch.tensor([spec.classes.index(CLASSES[number % 2]) for number in range(20)])
    assert (named == wanted).float().mean() > 0.9  # of clips that it has never seen
    assert training["f1"] == 1.0


@pytest.mark.slow
def test_a_training_can_be_repeated(server, tmp_path):
    datalist = add_clips(tmp_path / "studies", 6)
    runs = []
    for seed in (0, 0, 1):
        train_planes(server, datalist, TrainingRequest(max_epochs=1, batch_size=4, seed=seed, start="pretrained"))
        runs.append(weights(server))
    assert equal(runs[0], runs[1]) and not equal(runs[0], runs[2])


def test_a_probe_leaves_the_backbone_as_it_was(server, tmp_path):
    facts = train_planes(server, add_clips(tmp_path / "studies", 8), TrainingRequest(max_epochs=1, batch_size=4))
    start = torch.load(server.settings["pretrained"], weights_only=True)
    trained = weights(server)
    kept = [name for name in trained if name.startswith("video_stream.")]
    assert kept and all(torch.equal(trained[name], start[name]) for name in kept)
    assert facts["settings"]["mode"] == "probe" and ModelSpec.read(server.models / "standard_plane.pt").mode == "probe"
    assert "f1" not in facts["training"] and "nobody has judged them" in facts["training"]["note"]  # 4 subjects
    assert facts["settings"]["validation_subjects"] == [] and facts["training"]["epoch"] == 1


@pytest.mark.slow
def test_training_goes_on_from_the_model_in_use(server, tmp_path, capsys):
    first = train_planes(server, add_clips(tmp_path / "studies", 12), QUICK)
    datalist = add_clips(tmp_path / "studies", 24)
    second = train_planes(server, datalist, QUICK)
    assert second["training"]["start"] == "model" and second["training"]["f1_before"] == 1.0
    assert "before training validation F1 1.00" in capsys.readouterr().out
    learned, judges = (set(first["settings"][f"{kind}_subjects"]) for kind in ("train", "validation"))
    later = set(second["settings"]["validation_subjects"])
    assert judges <= later and len(later) == 2 and not learned & later

    third = train_planes(server, datalist, TrainingRequest(max_epochs=1, batch_size=4))  # a probe has another head
    assert third["settings"]["initialisation"].endswith("standard_plane.pt") and "f1_before" not in third["training"]
    assert len(third["settings"]["validation_subjects"]) == 2


@pytest.mark.slow
def test_the_model_that_the_server_was_started_with_is_a_start(server, tmp_path):
    train_planes(server, add_clips(tmp_path / "studies", 4), TrainingRequest(max_epochs=1, batch_size=4))
    given = tmp_path / "given.pt"
    for suffix in (".pt", ".json"):
        os.replace(server.models / f"standard_plane{suffix}", given.with_suffix(suffix))
    settings = {**server.settings, "pretrained": None, "models": {"standard_plane": str(given)}}
    other = ServerFolder.create(tmp_path / "other", settings)
    facts = train_planes(other, add_clips(tmp_path / "studies", 4), TrainingRequest(max_epochs=1, batch_size=4))
    assert facts["training"]["start"] == "model" and facts["settings"]["initialisation"] == str(given)
    with pytest.raises(InputError, match="start: the server has no pretrained weights"):
        train_planes(other, [], TrainingRequest(start="pretrained"))


def test_without_a_model_or_labels_nothing_begins(server, tmp_path, capsys):
    studies = tmp_path / "studies"
    with pytest.raises(InputError, match='start: there is no model yet; train with "start": "pretrained"'):
        train_planes(server, [], TrainingRequest(start="model"))
    with pytest.raises(InputError, match=r"there is no label to train on: submit labels \(tag final\) first\.$"):
        train_planes(server, [], QUICK)
    with pytest.raises(InputError, match="the labels name femur alone"):
        train_planes(server, add_clips(studies, 4, classes=("femur", "femur")), QUICK)
    datalist = add_clips(studies, 4)
    for entry in datalist[1::2]:
        os.truncate(entry["image"], 20)
    with pytest.raises(InputError, match="the labels name femur alone"):
        train_planes(server, datalist, QUICK)
    assert "left out c01: " in capsys.readouterr().out
    assert list(server.models.iterdir()) == []


@pytest.mark.slow
def test_a_training_that_fails_leaves_the_model_that_was_there(server, tmp_path, monkeypatch):
    datalist = add_clips(tmp_path / "studies", 6)
    request = TrainingRequest(max_epochs=1, batch_size=4)
    train_planes(server, datalist, request)
    before = {file.name: file.read_bytes() for file in server.models.iterdir()}
    monkeypatch.setattr(plane_training, "CONFIGURATION", _without_room_for_planes(tmp_path))
    datalist = add_clips(tmp_path / "studies", 6, classes=("background", "lips"))
    with pytest.raises(InputError, match="a batch of 2 with background_share"):  # MONAI wraps what a component raises
        train_planes(server, datalist, request)
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in server.models.iterdir()} == before
    assert torch.initial_seed() != request.seed  # the process draws at random again
    train_planes(server, datalist, request)


def _without_room_for_planes(folder):
    config = read_json(plane_training.CONFIGURATION)
    config["train"]["batch_sampler"].update(background_share=0.9, batch_size=2)
    (folder / "changed.json").write_text(json.dumps(config))
    return folder / "changed.json"


def test_two_trainings_do_not_meet(server, tmp_path):
    datalist = add_clips(tmp_path / "studies", 4)
    lock = FolderLock(server.logs / "training.lock")
    with pytest.raises(InputError, match=r"is at work here"):
        train_planes(server, datalist, QUICK)
    lock.release()
    assert list(server.models.iterdir()) == []


def test_what_the_run_before_wrote_is_cleared(server, tmp_path):
    (server.logs / "training/deep").mkdir(parents=True)
    (server.logs / "training/non_finite.json").write_text("{}")
    train_planes(server, add_clips(tmp_path / "studies", 4), TrainingRequest(max_epochs=1, batch_size=4))
    found = sorted(file.name for file in (server.logs / "training").iterdir())
    assert found == ["curves.png", "history.jsonl"]


@pytest.mark.slow
def test_a_killed_training_leaves_the_model_that_was_there(server, tmp_path):
    datalist = add_clips(tmp_path / "studies", 12)
    train_planes(server, datalist, TrainingRequest(max_epochs=1, batch_size=4))
    before = {file.name: file.read_bytes() for file in server.models.iterdir()}
    code = (
        "import json, sys\n"
        "from monai_usspeech.label.plane_training import train_planes\n"
        "from monai_usspeech.label.server_folder import ServerFolder\n"
        "from monai_usspeech.label.training_request import TrainingRequest\n"
        "request = TrainingRequest(mode='finetune', max_epochs=1000, batch_size=4)\n"
        "train_planes(ServerFolder.read(sys.argv[1]), json.loads(sys.argv[2]), request)\n"
    )
    command = [sys.executable, "-c", code, str(server.path), json.dumps(datalist)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert any(line.startswith("epoch 2/") for line in process.stdout)
        process.kill()
    assert {file.name: file.read_bytes() for file in server.models.iterdir()} == before
    facts = train_planes(server, datalist, TrainingRequest(max_epochs=1, batch_size=4))
    assert facts["training"]["start"] == "model"
