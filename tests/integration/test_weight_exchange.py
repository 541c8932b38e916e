# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The video-speech system and HiCo take each other's tests: weights of the one start the evaluations of the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.data.splits import subject_split
from monai_usspeech.networks import HiCoNet
from tests.data.image_set_factory import make_image_set
from tests.data.store_factory import make_store
from tests.integration import downstream, hico, image_set, pretraining

SMALL, RESNET = "se_resnext_small", "resnet18"
BACKBONES = [SMALL, pytest.param(RESNET, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exchange") / "store"
    return make_store(folder, n_scans=6, seconds=16.0, size=32, planes=True, gaze=True)


@pytest.fixture(scope="module")
def tested(store) -> list[str]:
    return list(subject_split(store, require="planes").test)


@pytest.fixture(scope="module")
def hico_run(store, tested, tmp_path_factory) -> Callable[[str], Path]:
    """HiCo's own training, on scans, of a backbone."""

    @cache
    def trained(backbone: str) -> Path:
        folder = tmp_path_factory.mktemp(backbone)
        settings = {"network_def#backbone": backbone, "max_epochs": 1, "exclude_subjects": tested}
        hico.run("hico", store, folder, **settings)
        return folder

    return trained


@pytest.fixture(scope="module")
def video_speech_run(store, tested, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("video_speech")
    made = pretraining.workflow(store, folder, pretraining.CPU, max_epochs=1, exclude_subjects=tested)
    made.initialize()
    made.run()
    return folder


def stream(path: Path) -> dict[str, torch.Tensor]:
    weights = torch.load(path / "model.pt", weights_only=True)
    return {name: value for name, value in weights.items() if name.startswith("video_stream.")}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("task", [downstream.PLANES, downstream.GAZE])
def test_hico_starts_the_planes_and_the_gaze(backbone, task, store, hico_run, tmp_path):
    start = hico_run(backbone)
    settings = {"initialisation": str(start / "model.pt"), "max_epochs": 1, "network_def#backbone": backbone}
    downstream.run(task, store, tmp_path, mode="probe", **settings)
    assert same(stream(tmp_path), stream(start)) and len(stream(start)) > 50
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["settings"]["initialisation"] == settings["initialisation"] and found["metrics"]
    facts = json.loads((tmp_path / "model.json").read_text())
    assert set(json.loads((start / "model.json").read_text())["subjects"]) <= set(facts["subjects"])


def test_hico_is_refused_for_the_planes_of_whom_it_has_seen(store, hico_run, tmp_path):
    settings = {"initialisation": str(hico_run(SMALL) / "model.pt"), "fold": 1}
    with pytest.raises(RuntimeError) as refused:
        downstream.workflow(downstream.PLANES, store, tmp_path, **settings).initialize()
    assert isinstance(refused.value.__cause__, InputError) and "was trained on" in str(refused.value.__cause__)


def test_another_backbone_is_refused_in_a_sentence(store, tmp_path):
    torch.save(HiCoNet(RESNET, channels=16).state_dict(), tmp_path / "hico.pt")
    with pytest.raises(RuntimeError) as refused:
        downstream.workflow(downstream.PLANES, store, tmp_path, initialisation=str(tmp_path / "hico.pt")).initialize()
    assert isinstance(refused.value.__cause__, InputError)
    assert "build the network with the backbone" in str(refused.value.__cause__)


def test_the_video_stream_starts_the_image_set(video_speech_run, tmp_path):
    images = make_image_set(tmp_path / "images")
    start = str(video_speech_run / "model.pt")
    image_set.run(images, tmp_path / "probe", mode="probe", max_epochs=1, initialisation=start)
    assert same(stream(tmp_path / "probe"), stream(video_speech_run))
    image_set.run(images, tmp_path / "last", max_epochs=1, initialisation=start)
    before, after = stream(video_speech_run), stream(tmp_path / "last")
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved and all(name.startswith("video_stream.layer4.") for name in moved)
    assert json.loads((tmp_path / "last/results.json").read_text())["details"]["protocol"] == "clean"


def test_hico_and_the_video_stream_start_each_others_training(store, hico_run, video_speech_run, tmp_path):
    made = hico.workflow("hico", store, tmp_path / "one", initialisation=str(video_speech_run / "model.pt"))
    made.initialize()
    network = made.parser.get_parsed_content("network").state_dict()
    assert all(torch.equal(value, network[name]) for name, value in stream(video_speech_run).items())
    made = pretraining.workflow(
        store, tmp_path / "other", pretraining.CPU, initialisation=str(hico_run(SMALL) / "model.pt")
    )
    made.initialize()
    network = made.parser.get_parsed_content("network").state_dict()
    assert all(torch.equal(value, network[name]) for name, value in stream(hico_run(SMALL)).items())
