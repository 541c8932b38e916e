# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys

import huggingface_hub.constants
import pytest
import timm
import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.engines import initialise
from monai_usspeech.engines.initialise import IMAGENET_MODELS
from monai_usspeech.networks import ContrastiveNet, FrameClassifier, HiCoNet, PyramidClassifier, SonoNet, VideoSpeechNet
from tests.networks.test_initialisation import changed, same

MODULE = sys.modules["monai_usspeech.engines.initialise"]  # the package's attribute of that name is the function


@pytest.mark.parametrize("word", [None, "random"])
def test_random_weights_stay_as_they_were_drawn(word):
    network = FrameClassifier("se_resnext_small")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert initialise(network, word) is None
    assert same(network.state_dict(), before)


def test_local_files_of_both_kinds(tmp_path):
    pretrained = changed(VideoSpeechNet("se_resnext_small"))
    torch.save(pretrained.state_dict(), tmp_path / "model.pt")
    network = FrameClassifier("se_resnext_small")
    assert initialise(network, tmp_path / "model.pt").untouched == ("head.weight", "head.bias")
    assert same(network.video_stream.state_dict(), pretrained.video_stream.state_dict())
    sononet = changed(SonoNet(16))
    torch.save(sononet.state_dict(), tmp_path / "SonoNet16.pth")
    network = FrameClassifier("sononet16")
    initialise(network, str(tmp_path / "SonoNet16.pth"), source="sononet")
    assert same(network.video_stream.features.state_dict(), sononet.features.state_dict())


def test_errors_begin_with_the_field_and_hint_at_the_word(tmp_path):
    torch.save(changed(SonoNet(16)).state_dict(), tmp_path / "SonoNet16.pth")
    with pytest.raises(InputError, match=r'^initialisation: .*SonoNet16.pth.*backbone="sononet16"'):
        initialise(FrameClassifier("se_resnext_small"), tmp_path / "SonoNet16.pth")
    with pytest.raises(
        InputError, match='^initialisation: ImageNett: no such checkpoint file. Did you mean "imagenet"'
    ):
        initialise(FrameClassifier("se_resnext_small"), "ImageNett")
    with pytest.raises(InputError, match=r"no such checkpoint file\. Correct the path\.$"):
        initialise(FrameClassifier("se_resnext_small"), tmp_path / "absent.pt")
    with pytest.raises(InputError, match="It is a folder; give the file in it"):
        initialise(FrameClassifier("se_resnext_small"), tmp_path)


@pytest.mark.parametrize("backbone", ["se_resnext_small", "sononet16"])
def test_imagenet_is_refused_for_another_backbone_before_anything_is_fetched(backbone, monkeypatch):
    def fetched(*args, **kwargs):
        assert not kwargs.get("pretrained"), "asked the hub"
        return timm.create_model(*args, **kwargs)

    monkeypatch.setattr(MODULE, "create_model", fetched)
    words = '"imagenet" weights exist for backbone="se_resnext50" and backbone="resnet18" alone'
    with pytest.raises(InputError, match=words):
        initialise(FrameClassifier(backbone), "imagenet")


@pytest.mark.parametrize("backbone", sorted(IMAGENET_MODELS))
def test_the_named_weights_are_ones_that_timm_offers_for_that_architecture(backbone):
    model = IMAGENET_MODELS[backbone]
    assert timm.is_model_pretrained(model)
    settings = timm.get_pretrained_cfg(model)
    assert settings.hf_hub_id == f"timm/{model}"
    assert settings.num_classes == 1000
    with torch.device("meta"):
        theirs, ours = timm.create_model(model, num_classes=0), FrameClassifier(backbone, in_channels=3)
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.video_stream.state_dict().items()} == shapes


@pytest.fixture
def hub(monkeypatch):
    """Networks that stand for what the hub would give, by their names there."""
    given = {}

    def create(name, pretrained=False, **kwargs):
        if not pretrained:
            return timm.create_model(name, **kwargs)
        assert timm.is_model_pretrained(name)
        return given.setdefault(name, changed(timm.create_model(name.split(".")[0])))

    monkeypatch.setattr(MODULE, "create_model", create)
    return given


@pytest.mark.parametrize(("backbone", "block", "last"), [("se_resnext50", 2, "conv3"), ("resnet18", 1, "conv2")])
def test_imagenet_loads_what_the_hub_gives(hub, backbone, block, last):
    network = FrameClassifier(backbone)
    report = initialise(network, "imagenet")
    assert list(hub) == [IMAGENET_MODELS[backbone]]
    given = hub[IMAGENET_MODELS[backbone]]
    stem = given.conv1.weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(network.video_stream.conv1.weight, stem)
    ours = network.video_stream.layer4[block].get_submodule(last).weight
    assert torch.equal(ours, given.layer4[block].get_submodule(last).weight)
    assert set(report.unexpected) == {"fc.weight", "fc.bias"} and report.missing == ()
    assert report.untouched == ("head.weight", "head.bias")


def test_imagenet_for_the_networks_of_hico_and_its_comparisons(hub):
    small = {"channels": 8, "embedding_dim": 8}
    for network in (
        HiCoNet(**small),
        ContrastiveNet(embedding_dim=8, num_classes=3),
        PyramidClassifier(**small, read_out="code", image_size=32),
    ):
        report = initialise(network, "imagenet")
        given = hub[IMAGENET_MODELS["resnet18"]]
        assert torch.equal(network.video_stream.layer4[1].conv2.weight, given.layer4[1].conv2.weight)
        assert report.untouched and not any(name.startswith("video_stream.") for name in report.untouched)
    with pytest.raises(InputError, match="^initialisation: .*holds no pyramid.*FrameClassifier"):
        initialise(PyramidClassifier(**small), "imagenet")


@pytest.mark.parametrize("backbone", sorted(IMAGENET_MODELS))
def test_imagenet_without_a_network_says_what_to_fetch_and_how_to_give_it(backbone, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    network = FrameClassifier(backbone)
    before = network.video_stream.conv1.weight.clone()
    with pytest.raises(InputError) as caught:
        initialise(network, "imagenet")
    address = f"https://huggingface.co/timm/{IMAGENET_MODELS[backbone]}"
    words = address, "model.safetensors", "give its path as the initialisation"
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)
    assert torch.equal(network.video_stream.conv1.weight, before)
