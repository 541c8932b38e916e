# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
import torch
from monai.bundle import ckpt_export
from monai.visualize import GradCAM
from torch import nn

from monai_usspeech.networks import (
    BACKBONES,
    FrameClassifier,
    SaliencyNet,
    VideoSpeechNet,
    load_initialisation,
    spatial_softmax,
)
from tests.networks.test_initialisation import changed, same

SMALL = ("se_resnext_small", "sononet16")
NETWORKS = (FrameClassifier, SaliencyNet)


def batch(n=2, side=64):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_shapes_do_not_depend_on_the_backbone(backbone):
    with torch.device("meta"):
        image = torch.empty(3, 1, 64, 96)
        classifier = FrameClassifier(backbone, num_classes=5)
        assert classifier(image).shape == (3, 5)
        assert classifier.features(image).shape == (3, classifier.video_stream.num_features)
        assert SaliencyNet(backbone, map_size=(40, 56))(image).shape == (3, 1, 40, 56)


def test_classifier_is_linear_in_the_average_of_the_feature_map():
    network = changed(FrameClassifier("se_resnext_small")).eval()
    with torch.no_grad():
        maps = network.video_stream.forward_features(batch())
        pooled = maps.sum(dim=(2, 3)) / (maps.shape[2] * maps.shape[3])
        expected = pooled @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(network.features(batch()), pooled)
        torch.testing.assert_close(network(batch()), expected)


def test_saliency_logits_are_two_convolutions_then_an_enlargement():
    network = changed(SaliencyNet("sononet16", hidden=6, map_size=(4, 4))).eval()
    with torch.no_grad():
        maps = network.video_stream.forward_features(batch())
        first, _, second = network.head
        hidden = torch.einsum("oc,bchw->bohw", first.weight[:, :, 0, 0], maps) + first.bias[:, None, None]
        expected = torch.einsum("oc,bchw->bohw", second.weight[:, :, 0, 0], hidden.clamp_min(0)) + second.bias
        torch.testing.assert_close(network(batch()), expected)  # 64 / 16 = 4, so nothing is enlarged
        network.map_size = [8, 8]
        enlarged = network(batch())
    # Between two places bilinear enlargement by 2 mixes them 3 : 1.
    torch.testing.assert_close(enlarged[..., 0, 1], (3 * expected[..., 0, 0] + expected[..., 0, 1]) / 4)


def test_spatial_softmax_is_a_density_of_each_map():
    logits = torch.randn(3, 1, 4, 5, dtype=torch.float64)
    density = spatial_softmax(logits)
    for b in range(3):
        total = sum(torch.exp(value) for value in logits[b].flatten())
        torch.testing.assert_close(density[b], torch.exp(logits[b, 0]) / total)
    assert spatial_softmax(logits.bfloat16() * 1000).sum(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1])
    with pytest.raises(ValueError, match=r"\[B, 1, h, w\]"):
        spatial_softmax(torch.zeros(2, 3, 4, 4))


def train_a_step(network):
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    network(batch(4)).square().mean().backward()
    optimizer.step()
    return network


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("backbone", SMALL)
@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_backbone_keeps_every_tensor_through_training(kind, backbone, freeze):
    network = kind(backbone, freeze=freeze)
    stream = {name: value.clone() for name, value in network.video_stream.state_dict().items()}
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    train_a_step(network)
    assert same(network.video_stream.state_dict(), stream) == freeze
    assert not same(network.head.state_dict(), head)
    assert network.training and network.head.training
    assert all(module.training != freeze for module in network.video_stream.modules())
    assert not network.eval().video_stream.training


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_probe_standardises_by_the_mean_over_the_batches_it_was_trained_on(kind):
    network = kind("se_resnext_small", freeze=True).train()
    batches = [batch(), 3 * batch() + 1]
    with torch.no_grad():
        for images in batches:
            network(images)
        layer = network.video_stream if kind is FrameClassifier else network.video_stream.forward_features
        axes = (0,) if kind is FrameClassifier else (0, 2, 3)
        var, mean = zip(*(torch.var_mean(layer(images), dim=axes) for images in batches))
    torch.testing.assert_close(network.standardise.running_mean, sum(mean) / 2)
    torch.testing.assert_close(network.standardise.running_var, sum(var) / 2)


@pytest.mark.parametrize("backbone", SMALL)
def test_a_probe_learns_whatever_the_size_of_the_features(backbone):
    """Drawn networks give features of 0.01 or of 10; one learning rate has to do for both."""
    torch.manual_seed(0)
    network = FrameClassifier(backbone, num_classes=2, freeze=True).train()
    label = torch.arange(16) % 2
    images = 0.3 * torch.randn(16, 1, 32, 32)
    images[label == 1, :, :, 16:] += 2
    images[label == 0, :, :, :16] += 0.5
    optimizer = torch.optim.SGD(network.head.parameters(), lr=0.01, momentum=0.9)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(images), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert float(torch.nn.functional.cross_entropy(network.eval()(images), label)) < 0.05


def test_dropout_acts_in_training_alone():
    network = FrameClassifier("sononet16", freeze=True, dropout=0.5)
    torch.manual_seed(0)
    with torch.no_grad():
        assert not torch.equal(network.train()(batch()), network(batch()))
        assert torch.equal(network.eval()(batch()), network(batch()))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("backbone", SMALL)
@pytest.mark.parametrize("freeze", [True, False])
def test_scripted_networks_answer_the_same(kind, backbone, freeze):
    network = changed(kind(backbone, freeze=freeze)).eval()
    scripted = torch.jit.script(network)
    with torch.no_grad():
        assert torch.equal(scripted(batch()), network(batch()))
        assert torch.equal(scripted(batch(1, 96)), network(batch(1, 96)))  # nothing of the first size is baked in


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_paper_size_is_scripted_too(kind):
    network = kind("se_resnext50", output_stride=8).eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(batch(1)), network(batch(1)))


@pytest.mark.parametrize("kind", NETWORKS)
def test_monai_exports_the_network_of_a_configuration(kind, tmp_path):
    network = changed(kind("se_resnext_small")).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    definition = {"_target_": f"monai_usspeech.networks.{kind.__name__}", "backbone": "se_resnext_small"}
    (tmp_path / "inference.json").write_text(json.dumps({"network_def": definition}))
    (tmp_path / "metadata.json").write_text(json.dumps({"version": "0"}))
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=str(tmp_path / "metadata.json"),
        config_file=str(tmp_path / "inference.json"),
    )
    with torch.no_grad():
        assert torch.equal(torch.jit.load(tmp_path / "model.ts")(batch()), network(batch()))


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("backbone", SMALL)
def test_grad_cam_of_monai_finds_the_layer(backbone, freeze):
    torch.manual_seed(0)
    network = FrameClassifier(backbone, num_classes=3, freeze=freeze).eval()
    network.head.weight.data[0].abs_()  # feature maps are not negative, so class 0 has a map above 0
    image = batch(1).requires_grad_()  # a frozen backbone asks for no gradient itself
    for c in range(3):
        # Of an average followed by a linear layer, the weights of Grad-CAM are the weights of the linear layer.
        with torch.no_grad():
            maps = network.video_stream.forward_features(image)
            expected = torch.einsum("c,bchw->bhw", network.head.weight[c], maps).clamp_min(0)[:, None]
        assert c > 0 or expected.max() > 0
        cam = GradCAM(network, network.cam_layer, upsampler=lambda size: nn.Identity(), postprocessing=lambda x: x)
        # Torch's gradient of the average is 1 / number of places.
        torch.testing.assert_close(cam(image, class_idx=c) * maps[0, 0].numel(), expected, rtol=1e-3, atol=1e-5)
    assert GradCAM(network, network.cam_layer)(image).shape == image.shape


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("freeze", [True, False])
def test_pretrained_video_stream_moves_in_and_the_report_names_both_kinds_of_heads(kind, freeze, tmp_path):
    source = changed(VideoSpeechNet("se_resnext_small", embedding_dim=8))
    torch.save(source.state_dict(), tmp_path / "model.pt")
    network = kind("se_resnext_small", freeze=freeze)
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    report = load_initialisation(network, tmp_path / "model.pt")
    assert same(network.video_stream.state_dict(), source.video_stream.state_dict())
    assert same(network.head.state_dict(), head)
    standardise = {f"standardise.{name}" for name in network.standardise.state_dict()}
    assert set(report.untouched) == {f"head.{name}" for name in head} | standardise and bool(standardise) == freeze
    others = {name for name in source.state_dict() if not name.startswith("video_stream.")}
    assert set(report.unexpected) == others and {"order.classify.weight", "correspondence.fuse.weight"} <= others
    assert {*report.loaded, *report.missing, *report.untouched} == set(network.state_dict())


def test_a_classifier_gives_its_stream_to_a_saliency_network(tmp_path):
    source = changed(FrameClassifier("sononet16"))
    torch.save({"network": source.state_dict()}, tmp_path / "run_state.pt")
    network = SaliencyNet("sononet16")
    report = load_initialisation(network, tmp_path / "run_state.pt")
    assert same(network.video_stream.state_dict(), source.video_stream.state_dict())
    assert set(report.unexpected) == {"head.weight", "head.bias"}
    with pytest.raises(ValueError, match="no speech_stream"):
        load_initialisation(network, tmp_path / "run_state.pt", stream="speech")


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match='Did you mean "sononet64"'):
        FrameClassifier("sononet46")
    with pytest.raises(ValueError, match="num_classes"):
        FrameClassifier("se_resnext_small", num_classes=1)
    with pytest.raises(ValueError, match="map_size"):
        SaliencyNet("se_resnext_small", map_size=(64,))
    with pytest.raises(ValueError, match=r"\[B, 1, H, W\].*2, 3, 64, 64"):
        FrameClassifier("se_resnext_small")(torch.zeros(2, 3, 64, 64))
    with pytest.raises(ValueError, match=r"\[B, 1, H, W\]"):
        SaliencyNet("se_resnext_small")(torch.zeros(1, 64, 64))
