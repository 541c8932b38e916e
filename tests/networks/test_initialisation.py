# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from timm import create_model

from monai_usspeech.networks import (
    VideoSpeechNet,
    load_initialisation,
    se_resnext50,
    se_resnext_small,
)

SMALL = {"backbone": "se_resnext_small", "embedding_dim": 16}


def changed(network, seed=1):
    """The network with every tensor redrawn, batch statistics too, so that nothing is right by default."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise * 0.1)
    return network


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())


@pytest.fixture(scope="module")
def imagenet():
    """A network in the layout of timm's ImageNet weights."""
    return changed(create_model("seresnext50_32x4d")).eval()


def test_imagenet_weights_answer_for_grey_as_for_the_grey_image_replicated(imagenet, tmp_path):
    torch.save(imagenet.state_dict(), tmp_path / "imagenet.pth")
    network = se_resnext50(in_channels=1, output_stride=32).eval()
    report = load_initialisation(network, tmp_path / "imagenet.pth", source="imagenet")
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        expected = imagenet.forward_features(image.expand(1, 3, 64, 64))
        close(network.forward_features(image), expected)
    assert set(report.loaded) == set(network.state_dict())
    assert report.unexpected == ("fc.bias", "fc.weight") and report.missing == ()
    assert report.adapted == ("conv1.weight: 3 channels summed to 1",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.loaded = ()


def test_cadene_layout_is_the_same_network_but_for_its_stem_pooling(tmp_path):
    cadene = changed(create_model("legacy_seresnext50_32x4d")).eval()
    torch.save(cadene.state_dict(), tmp_path / "cadene.pth")
    network = se_resnext50(in_channels=3, output_stride=32).eval()
    report = load_initialisation(network, tmp_path / "cadene.pth")
    assert "Cadene" in report.adapted[0] and set(report.unexpected) == {"fc.weight", "fc.bias"}
    network.maxpool = torch.nn.MaxPool2d(3, stride=2, ceil_mode=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = cadene.forward_features(image)
        close(network.forward_features(image), expected)


@pytest.mark.parametrize("key", [None, "network", "model", "state_dict"])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.module."])
def test_own_checkpoint_gives_a_backbone_its_stream(tmp_path, key, wrapper):
    source = changed(VideoSpeechNet(**SMALL))
    weights = {wrapper + name: value for name, value in source.state_dict().items()}
    torch.save({key: weights, "epoch": 3} if key else weights, tmp_path / "run_state.pt")
    for stream in ("video", "speech"):
        backbone = se_resnext_small()
        report = load_initialisation(backbone, tmp_path / "run_state.pt", stream=stream)
        assert same(backbone.state_dict(), getattr(source, f"{stream}_stream").state_dict())
        assert len(report.loaded) == len(backbone.state_dict()) and report.adapted == ()
        assert "order.classify.weight" in report.unexpected and "conv1.weight" not in report.unexpected


def test_two_stream_network_takes_one_stream_or_both(tmp_path):
    source = changed(VideoSpeechNet(**SMALL))
    torch.save(source.state_dict(), tmp_path / "model.pt")
    network = VideoSpeechNet(**SMALL)
    speech_before = {name: value.clone() for name, value in network.speech_stream.state_dict().items()}
    report = load_initialisation(network, tmp_path / "model.pt")
    assert same(network.video_stream.state_dict(), source.video_stream.state_dict())
    assert same(network.speech_stream.state_dict(), speech_before)
    assert all(name.startswith("video_stream.") for name in report.loaded)
    report = load_initialisation(network, tmp_path / "model.pt", stream="both")
    assert same(network.speech_stream.state_dict(), source.speech_stream.state_dict())
    assert len(report.loaded) == 2 * len(speech_before)
    assert not [name for name in report.unexpected if "stream" in name]


def test_one_backbone_file_serves_both_streams_and_three_channels(tmp_path):
    source = changed(se_resnext_small())
    stem = source.state_dict()
    save_file(stem, tmp_path / "backbone.safetensors")
    network = VideoSpeechNet(**SMALL)
    load_initialisation(network, tmp_path / "backbone.safetensors", stream="both")
    assert same(network.video_stream.state_dict(), stem) and same(network.speech_stream.state_dict(), stem)


def test_a_one_channel_stem_is_spread_over_three(tmp_path):
    with torch.device("meta"):
        shapes = se_resnext50(in_channels=1).state_dict()
    weights = {name: torch.rand(value.shape) + 0.5 for name, value in shapes.items()}
    torch.save({"network": weights}, tmp_path / "grey.pt")
    network = se_resnext50(in_channels=3)
    report = load_initialisation(network, tmp_path / "grey.pt")
    assert report.adapted == ("conv1.weight: 1 channels spread to 3",)
    torch.testing.assert_close(network.conv1.weight.sum(1, keepdim=True), weights["conv1.weight"])


def broken(case, weights):
    name = "layer2.0.conv1.weight"
    if case == "missing":
        del weights[name]
    elif case == "shape":
        weights[name] = weights[name][:-1]
    elif case == "strange":
        weights["layer2.7.conv1.weight"] = weights[name]
    return weights


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("missing", r"1 tensors missing from the file \(layer2.0.conv1.weight\)"),
        ("shape", r"another shape \(layer2.0.conv1.weight \(31, 32, 1, 1\) in the file, \(32, 32, 1, 1\)"),
        ("strange", r"without a place in the network \(layer2.7.conv1.weight\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_loaded(tmp_path, case, words):
    weights = broken(case, dict(changed(se_resnext_small()).state_dict()))
    torch.save(weights, tmp_path / "odd.pt")
    network = se_resnext_small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        load_initialisation(network, tmp_path / "odd.pt")
    assert same(network.state_dict(), before)


def test_another_architecture_is_refused(imagenet, tmp_path):
    torch.save(imagenet.state_dict(), tmp_path / "imagenet.pth")
    with pytest.raises(ValueError, match="does not fit this ResNet"):
        load_initialisation(se_resnext_small(), tmp_path / "imagenet.pth")


def test_old_files_without_step_counters_load(tmp_path):
    source = changed(se_resnext_small())
    weights = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    torch.save(weights, tmp_path / "old.pt")
    report = load_initialisation(se_resnext_small(), tmp_path / "old.pt")
    assert report.missing and all(name.endswith("num_batches_tracked") for name in report.missing)


def test_arguments_are_checked(tmp_path):
    torch.save(se_resnext_small().state_dict(), tmp_path / "backbone.pt")
    with pytest.raises(ValueError, match="source"):
        load_initialisation(se_resnext_small(), tmp_path / "backbone.pt", source="timm")
    with pytest.raises(ValueError, match="stream"):
        load_initialisation(se_resnext_small(), tmp_path / "backbone.pt", stream="audio")
    with pytest.raises(ValueError, match="both"):
        load_initialisation(se_resnext_small(), tmp_path / "backbone.pt", stream="both")
    with pytest.raises(ValueError, match='no tensor under "video_stream."'):
        load_initialisation(se_resnext_small(), tmp_path / "backbone.pt", source="own")
    with pytest.raises(ValueError, match="no speech_stream"):
        load_initialisation(VideoSpeechNet(**SMALL, pairs=False), tmp_path / "backbone.pt", stream="both")
