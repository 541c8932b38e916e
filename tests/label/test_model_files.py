# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.engines.weights import load_trained, write_weights
from monai_usspeech.label import model_files
from monai_usspeech.label.model_files import (
    ModelSpec,
    load_model,
    load_pretrained,
    load_stream,
    pretrained_stream,
    publish,
    read_facts,
)
from monai_usspeech.networks import FrameClassifier, SaliencyNet, VideoSpeechNet
from tests.conftest import REPOSITORY

BACKBONE = "se_resnext_small"
SETTINGS = {
    "backbone": BACKBONE,
    "output_stride": 16,
    "size": 32,
    "frame_mean": 0.4,
    "frame_std": 0.2,
    "mode": "finetune",
}


def write(path, network, /, **settings):
    write_weights(path, network.state_dict(), {"subjects": [], "settings": {**SETTINGS, **settings}})
    return path


@pytest.fixture
def planes(tmp_path):
    return write(tmp_path / "model.pt", FrameClassifier(BACKBONE))


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


@pytest.mark.parametrize("mode", ["finetune", "last_layers", "probe"])
def test_a_plane_model_of_a_run_is_read(tmp_path, mode):
    trained = FrameClassifier(BACKBONE, freeze=mode != "finetune", train_last_block=mode == "last_layers").eval()
    path = write(tmp_path / "model.pt", trained, mode=mode)
    network, spec = load_model(path)
    assert spec == ModelSpec(path, "standard_plane", BACKBONE, 16, 32, 0.4, 0.2, mode, PLANES)
    assert same(network, trained) and not network.training
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(network(image), trained(image))


def test_a_gaze_model_of_a_run_is_read(tmp_path):
    trained = SaliencyNet(BACKBONE, map_size=(8, 6), freeze=True)
    path = write(tmp_path / "model.pt", trained, mode="probe", map_size=[8, 6], sigma=0.02)
    network, spec = load_model(path)
    assert (spec.task, spec.map_size, spec.classes) == ("gaze_saliency", (8, 6), ())
    assert same(network, trained)
    with pytest.raises(InputError, match="is a model for gaze_saliency, and one for standard_plane is needed"):
        ModelSpec.read(path, "standard_plane")


@pytest.mark.parametrize("spec", [
    ModelSpec("w", "standard_plane", BACKBONE, 8, 40, 0.1, 0.3, "probe", PLANES, backbone_options={"width": 4}),
    ModelSpec("w", "gaze_saliency", "resnet18", 32, 64, map_size=(16, 16)),
])  # fmt: skip
def test_what_is_published_can_be_read_again(tmp_path, spec):
    network = spec.network()
    publish(tmp_path / "model.pt", network, {"settings": spec.settings()})
    found, again = load_model(tmp_path / "model.pt", spec.task)
    assert {**vars(again), "weights": "w"} == vars(spec)
    assert same(found, network)


def test_the_bundle_is_read_from_its_folder_and_from_its_weights():
    folder = REPOSITORY / "bundle"
    network, spec = load_model(folder, "standard_plane")
    config = json.loads((folder / "configs/inference.json").read_text())
    assert (spec.size, spec.frame_mean, spec.backbone) == (config["size"], 0.5, config["network_def"]["backbone"])
    trained = FrameClassifier(spec.backbone)
    load_trained(trained, folder / "models/model.pt")
    assert same(network, trained)
    assert ModelSpec.read(folder / "models/model.pt") == spec


def bundle(tmp_path, **values):
    config = {"size": 32, "network_def": {"_target_": "FrameClassifier", "backbone": BACKBONE}, **values}
    for name in ("configs", "models"):
        (tmp_path / name).mkdir()
    (tmp_path / "configs/inference.json").write_text(json.dumps(config))
    torch.save(FrameClassifier(BACKBONE).state_dict(), tmp_path / "models/model.pt")
    return tmp_path


def test_references_of_a_bundle_are_followed_and_nothing_is_evaluated(tmp_path):
    folder = bundle(tmp_path, size="@side", side="@sides#small", sides={"small": 48}, frame_std="$1 / 0")
    assert ModelSpec.read(folder).size == 48
    assert ModelSpec.read(folder).frame_std == 0.25


def test_a_size_that_is_computed_is_not_known(tmp_path):
    with pytest.raises(InputError, match='"size" is None'):
        ModelSpec.read(bundle(tmp_path, size="$32"))


def test_a_bundle_of_another_network_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'inference.json: "network_def" is UNet; the server has FrameClassifier and'):
        ModelSpec.read(bundle(tmp_path, network_def={"_target_": "monai.networks.nets.UNet"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "se_resnext_smal"}, r'"backbone" is .*Did you mean "se_resnext_small"'),
        ({"size": [32, 48]}, '"size" is .*square pictures'),
        ({"size": True}, '"size" is True'),
        ({"channels": 3}, '"in_channels" is 3, and the server reads grey'),
        ({"standardise": "image"}, '"standardise" is not "fixed"'),
        ({"frame_std": 0}, '"frame_std" is 0; give a positive number'),
        ({"frame_mean": "0.5"}, '"frame_mean" is .*give a number'),
        ({"mode": "prob"}, "\"mode\" is 'prob'"),
        ({"classes": ["covid", "regular"]}, '"classes" are not the 14 standard planes'),
        ({"network": "PyramidClassifier"}, '"network" is PyramidClassifier'),
        ({"map_size": [64]}, '"map_size" is'),
        ({"task": "retrieval"}, '"task" is'),
        ({"output_stride": 7}, "output_stride must be one of"),
        ({"backbone_options": {"width": "$exit()"}}, '"backbone_options" is'),
        ({"backbone_options": {"widht": 4}}, "widht"),
    ],
)
def test_a_model_that_the_server_cannot_use_is_refused(planes, settings, message):
    write(planes, FrameClassifier(BACKBONE), **settings)
    with pytest.raises(InputError, match=message) as caught:
        ModelSpec.read(planes)
    assert str(planes) in str(caught.value)


def test_a_scale_goes_into_the_standard_deviation(planes):
    write(planes, FrameClassifier(BACKBONE), frame_scale=4.0, size=[32, 32])
    spec = ModelSpec.read(planes)
    assert (spec.frame_std, spec.size) == (0.05, 32)


def test_weights_of_which_nothing_is_said_are_refused(planes, tmp_path):
    planes.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"copy model\.json of its run beside it"):
        ModelSpec.read(planes)
    with pytest.raises(InputError, match="no such file. Correct the path"):
        ModelSpec.read(tmp_path / "absent.pt")
    with pytest.raises(InputError, match="or the folder of a bundle"):
        ModelSpec.read(tmp_path)


def test_a_link_stands_for_its_file(planes, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere/mine.pt"
    link.symlink_to(planes)
    assert ModelSpec.read(link).size == 32
    assert read_facts(link)["settings"]["size"] == 32
    assert read_facts(tmp_path / "absent.pt") == {}


def test_weights_of_another_network_are_refused(planes):
    write(planes, FrameClassifier(BACKBONE, freeze=True))  # says "finetune"
    with pytest.raises(InputError, match="holds the weights of another network"):
        load_model(planes)


def test_a_failed_publication_leaves_the_model_that_was_there(planes, monkeypatch):
    before = planes.read_bytes(), planes.with_suffix(".json").read_bytes()

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        publish(planes, FrameClassifier(BACKBONE), {"settings": {}})
    assert (planes.read_bytes(), planes.with_suffix(".json").read_bytes()) == before
    assert sorted(file.name for file in planes.parent.iterdir()) == ["model.json", "model.pt"]


def test_two_trainings_are_never_mixed(planes, monkeypatch):
    """While the first weights are read, a probe takes their place: it is the probe that is loaded, whole."""
    newer = FrameClassifier(BACKBONE, freeze=True)
    read = []

    def load(network, path):
        if not read:
            publish(path, newer, {"settings": {**SETTINGS, "mode": "probe"}})
        read.append(path)
        load_trained(network, path)

    monkeypatch.setattr(model_files, "load_trained", load)
    network, spec = load_model(planes)
    assert len(read) == 2
    assert spec.mode == "probe" and same(network, newer)


# Pretrained weights


@pytest.fixture(params=["shared", "separate"])
def pretrained(request, tmp_path):
    network = VideoSpeechNet(
        BACKBONE, embedding_dim=24, projection=request.param, correspondence=True, views=True
    ).eval()
    settings = {"backbone": BACKBONE, "output_stride": 16, "size": 32, "statistics": "band", "hop_length": 100}
    write_weights(
        tmp_path / "p.pt", network.state_dict(), {"method": "plus", "subjects": ["p001"], "settings": settings}
    )
    return tmp_path / "p.pt", network


def test_both_streams_of_a_pretrained_network_are_read(pretrained):
    path, trained = pretrained
    network, spec = load_pretrained(path)
    assert (spec.method, spec.statistics, spec.hop_length, spec.frame_std) == ("plus", "band", 100, 0.25)
    frames, speech = torch.rand(2, 3, 1, 32, 32), torch.rand(2, 3, 1, 32, 32)
    with torch.no_grad():
        wanted = trained(frames=frames, speech_pos=speech, speech_neg=speech)
        found = network(frames=frames, speech_pos=speech)
    assert set(found) == {"video", "speech"} and not network.training
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name])


def test_the_video_stream_alone_is_read(pretrained):
    path, trained = pretrained
    stream, spec = load_stream(path)
    image = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(stream(image), trained.video_stream(image))
    planes = spec.plane_model("probe")
    assert (planes.task, planes.mode, planes.size, planes.classes) == ("standard_plane", "probe", 32, PLANES)
    assert planes.network().frozen


def test_the_configuration_of_a_run_stands_in_for_settings(tmp_path):
    network = VideoSpeechNet(BACKBONE, order=False, correspondence=False)
    write_weights(tmp_path / "model.pt", network.state_dict(), {"method": "ours", "subjects": []})
    with pytest.raises(InputError, match=r"copy config\.json of the pretraining run beside it"):
        pretrained_stream(tmp_path / "model.pt")
    config = {
        "method": "ours",
        "size": 40,
        "frame_mean": 0.5,
        "statistics": "scan",
        "initialisation": "$None",
        "settings": {"size": "@size"},
        "network_def": {
            "_target_": "VideoSpeechNet",
            "backbone": BACKBONE,
            "output_stride": 16,
            "order": "$@gamma > 0",
        },
        "spectrogram": {"_target_": "LogSpectrogram", "hop_length": None},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = pretrained_stream(tmp_path / "model.pt")
    assert (spec.method, spec.backbone, spec.size, spec.hop_length) == ("ours", BACKBONE, 40, None)
    assert load_pretrained(tmp_path / "model.pt")[0].speech_projection is None


def test_a_method_without_a_projection_has_no_affinity_but_a_stream(tmp_path):
    network = VideoSpeechNet(BACKBONE, pairs=False)
    write(tmp_path / "model.pt", network)
    with pytest.raises(InputError, match="has no projection"):
        load_pretrained(tmp_path / "model.pt")
    stream, _ = load_stream(tmp_path / "model.pt")
    assert same(stream, network.video_stream)
