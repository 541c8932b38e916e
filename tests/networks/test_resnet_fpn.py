# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections import OrderedDict

import pytest
import torch
import torchvision
from monai.bundle import ckpt_export
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from monai.visualize import GradCAM
from timm import create_model
from torch.nn import functional as F

from monai_usspeech.networks import (
    FeaturePyramid,
    FrameClassifier,
    PyramidNet,
    SaliencyNet,
    create_backbone,
    load_initialisation,
    resnet18_backbone,
    resnet18_fpn,
)
from tests.networks.test_backbones import n_parameters
from tests.networks.test_initialisation import changed, close, same

CHANNELS = (64, 128, 256, 512)


def maps(channels=(3, 4, 5, 6), sides=(16, 8, 4, 2)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, side, side, generator=generator) for c, side in zip(channels, sides)]


@pytest.mark.parametrize(("output_stride", "side"), [(8, 28), (16, 14), (32, 7)])
def test_resnet18_has_the_published_size_and_feature_maps(output_stride, side):
    with torch.device("meta"):
        network = create_backbone("resnet18", in_channels=3, output_stride=output_stride)
        image = torch.empty(2, 3, 224, 224)
        assert network.forward_features(image).shape == (2, 512, side, side)
        assert network(image).shape == (2, network.num_features) == (2, 512)
    assert n_parameters(network) + 512 * 1000 + 1000 == 11_689_512
    with torch.device("meta"):
        assert n_parameters(network) - n_parameters(resnet18_backbone(1)) == 2 * 64 * 7 * 7


def test_no_residual_branch_is_dead_at_random():
    # torchvision's default: all batch normalisations multiply by 1.
    norms = [m for m in resnet18_backbone().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 20 and all((m.weight == 1).all() for m in norms)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_imagenet_files_of_resnet18_answer_for_grey_as_for_the_grey_image_replicated(library, tmp_path):
    build = torchvision.models.resnet18 if library == "torchvision" else lambda: create_model("resnet18")
    source = changed(build()).eval()
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        source.fc = torch.nn.Identity()
        expected = source(image.expand(1, 3, 64, 64))
        for network in (FrameClassifier("resnet18", output_stride=32), PyramidNet(), create_backbone("resnet18")):
            report = load_initialisation(network.eval(), tmp_path / "resnet18.pth", source="imagenet")
            close(getattr(network, "video_stream", network)(image), expected)
            assert report.unexpected == ("fc.bias", "fc.weight") and report.missing == ()
            assert report.adapted == ("conv1.weight: 3 channels summed to 1",)


def test_weights_of_another_backbone_are_refused():
    with pytest.raises(ValueError, match="does not fit this ResNet"):
        load_initialisation(create_backbone("resnet18"), create_backbone("se_resnext_small").state_dict())


def test_sizes_of_the_pyramid_in_both_forms():
    with torch.device("meta"):
        paper, code = resnet18_fpn(3), resnet18_fpn(3, fpn_norm=None)
        shapes = {name: tuple(value.shape) for name, value in paper(torch.empty(1, 3, 224, 224)).items()}
    assert n_parameters(code.pyramid) == 2_017_024
    assert n_parameters(code) + 513_000 == 13_706_536  # with the classifier of ResNet18, as counted in the release
    # No biases, but a scale and a shift for each of eight convolutions, and a fourth 3 x 3 convolution.
    assert n_parameters(paper.pyramid) == 2_017_024 - 7 * 256 + 8 * 2 * 256 + 9 * 256 * 256 == 2_609_152
    assert shapes == {
        "C5": (1, 512, 7, 7),
        "P2": (1, 256, 56, 56),
        "P3": (1, 256, 28, 28),
        "P4": (1, 256, 14, 14),
        "P5": (1, 256, 7, 7),
    }


def test_the_plain_pyramid_is_that_of_monai():
    ours = FeaturePyramid((3, 4, 5, 6), 7, norm=None, upsample="nearest", smooth_top=True)
    theirs = FeaturePyramidNetwork(2, [3, 4, 5, 6], 7)
    names = {"inner_blocks": "lateral", "layer_blocks": "smooth"}
    weights = {name: value for part in names for name, value in theirs.state_dict().items() if name.startswith(part)}
    renamed = {}
    for name, value in weights.items():
        part, n, kind = name.split(".")
        renamed[f"{names[part]}.{n}.conv.{kind}"] = value
    ours.load_state_dict(renamed)
    given = maps()
    expected = theirs(OrderedDict((str(n), value) for n, value in enumerate(given)))
    for level, wanted in zip(ours(given), expected.values(), strict=True):
        torch.testing.assert_close(level, wanted)


def by_hand(pyramid, given, norm, smooth_top):
    """The pyramid as HiCo describes it, one convolution after the other, from the pyramid's weights."""
    weights = pyramid.state_dict()

    def layer(x, name, padding):
        x = F.conv2d(x, weights[f"{name}.conv.weight"], weights.get(f"{name}.conv.bias"), padding=padding)
        if norm is None:
            return x
        parts = [weights[f"{name}.adn.N.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        mean, variance, gamma, beta = (part[:, None, None] for part in parts)
        return ((x - mean) / (variance + 1e-5).sqrt() * gamma + beta).clamp_min(0)

    def doubled(x):
        """Bilinear enlargement by 2: along a line each new place mixes its two nearest old ones 3 : 1."""
        for axis in (2, 3):
            x = x.movedim(axis, -1)
            before = torch.cat((x[..., :1], x[..., :-1]), dim=-1)
            after = torch.cat((x[..., 1:], x[..., -1:]), dim=-1)
            x = torch.stack(((before + 3 * x) / 4, (3 * x + after) / 4), dim=-1).flatten(-2).movedim(-1, axis)
        return x

    merged = layer(given[3], "lateral.3", 0)
    levels = [layer(merged, "smooth.3", 1) if smooth_top else merged]
    for n in (2, 1, 0):
        merged = layer(given[n], f"lateral.{n}", 0) + doubled(merged)
        levels.insert(0, layer(merged, f"smooth.{n}", 1))
    return levels


@pytest.mark.parametrize(("norm", "smooth_top"), [("bn_relu", True), (None, False)])
def test_each_form_is_its_equations(norm, smooth_top):
    pyramid = changed(FeaturePyramid((3, 4, 5, 6), 7, norm)).eval()
    given = maps()
    with torch.no_grad():
        for level, wanted in zip(pyramid(given), by_hand(pyramid, given, norm, smooth_top), strict=True):
            torch.testing.assert_close(level, wanted, rtol=1e-4, atol=1e-5)


def test_levels_nobody_asks_for_are_not_built_and_change_nothing():
    whole = changed(FeaturePyramid((3, 4, 5, 6), 7)).eval()
    part = FeaturePyramid((3, 4, 5, 6), 7, out_levels=(0, 3)).eval()
    part.load_state_dict({name: value for name, value in whole.state_dict().items() if name in part.state_dict()})
    levels, given = whole(maps()), part(maps())
    assert len(given) == 2 and torch.equal(given[0], levels[0]) and torch.equal(given[1], levels[3])
    sum(level.square().mean() for level in part.train()(maps())).backward()
    assert all(p.grad is not None for p in part.parameters())


def test_any_size_of_image_is_taken():
    network = PyramidNet("se_resnext_small", channels=8).eval()
    shapes = {name: tuple(value.shape[2:]) for name, value in network(torch.zeros(1, 1, 70, 100)).items()}
    assert shapes == {"C5": (3, 4), "P2": (18, 25), "P3": (9, 13), "P4": (5, 7), "P5": (3, 4)}


def test_the_backbone_answers_as_it_does_alone():
    network = changed(PyramidNet("se_resnext_small", channels=8)).eval()
    image = torch.randn(1, 1, 64, 64)
    assert torch.equal(network(image)["C5"], network.video_stream.forward_features(image))


@pytest.mark.parametrize("fpn_norm", ["bn_relu", None])
def test_gradients_reach_every_parameter_and_scripts_answer_the_same(fpn_norm):
    network = resnet18_fpn(fpn_norm=fpn_norm, channels=16)
    sum(value.square().mean() for name, value in network(torch.randn(2, 1, 64, 64)).items() if name != "C5").backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    image = torch.randn(1, 1, 96, 64)
    with torch.no_grad():
        expected, found = network.eval()(image), torch.jit.script(network)(image)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)


def test_monai_exports_a_classifier_on_resnet18(tmp_path):
    network = changed(FrameClassifier("resnet18")).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    definition = {"_target_": "FrameClassifier", "backbone": "resnet18"}
    (tmp_path / "inference.json").write_text(
        json.dumps({"imports": ["$import monai_usspeech"], "network_def": definition})
    )
    (tmp_path / "metadata.json").write_text(json.dumps({"version": "0"}))
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=str(tmp_path / "metadata.json"),
        config_file=str(tmp_path / "inference.json"),
    )
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(torch.jit.load(tmp_path / "model.ts")(image), network(image))
        saliency = changed(SaliencyNet("resnet18", output_stride=8)).eval()
        assert torch.equal(torch.jit.script(saliency)(image), saliency(image))


@pytest.mark.parametrize("freeze", [True, False])
def test_grad_cam_of_a_classifier_on_resnet18(freeze):
    torch.manual_seed(0)
    network = FrameClassifier("resnet18", num_classes=3, freeze=freeze).eval()
    network.head.weight.data[0].abs_()  # feature maps are not negative, so class 0 has a map above 0
    image = torch.randn(1, 1, 64, 64, requires_grad=True)
    with torch.no_grad():
        features = network.video_stream.forward_features(image)
        expected = torch.einsum("c,bchw->bhw", network.head.weight[0], features).clamp_min(0)[:, None]
    cam = GradCAM(network, network.cam_layer, upsampler=lambda size: torch.nn.Identity(), postprocessing=lambda x: x)
    found = cam(image, class_idx=0) * features[0, 0].numel()
    if freeze:  # the standardisation of an untrained probe changes nothing
        assert torch.allclose(network.standardise.running_var, torch.ones(512))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert expected.max() > 0 and GradCAM(network, network.cam_layer)(image).shape == image.shape


def test_a_pyramid_network_gives_its_backbone_to_a_classifier(tmp_path):
    source = changed(resnet18_fpn(channels=16))
    torch.save(source.state_dict(), tmp_path / "model.pt")
    network = FrameClassifier("resnet18")
    load_initialisation(network, tmp_path / "model.pt")
    assert same(network.video_stream.state_dict(), source.video_stream.state_dict())


def test_wrong_arguments_are_named():
    for options, words in (
        ({"norm": "bn"}, 'norm must be "bn_relu" or None'),
        ({"upsample": "cubic"}, "upsample must be one of"),
        ({"channels": 0}, "channels must be positive"),
        ({"out_levels": (0, 4)}, r"out_levels must be positions in 0\.\.3"),
    ):
        with pytest.raises(ValueError, match=words):
            FeaturePyramid(**options)
    with pytest.raises(ValueError, match="expected 4 maps"):
        FeaturePyramid()(maps(CHANNELS)[:3])
    with pytest.raises(ValueError, match=r"out_levels must be out of \(2, 3, 4, 5\)"):
        PyramidNet("se_resnext_small", out_levels=(1, 2))
    with pytest.raises(ValueError, match="no four stages"):
        PyramidNet("sononet16")
    with pytest.raises(ValueError, match="output_stride is no option"):
        PyramidNet(backbone_options={"output_stride": 16})
    with pytest.raises(ValueError, match=r"\[B, 1, H, W\].*2, 3, 64, 64"):
        PyramidNet("se_resnext_small")(torch.zeros(2, 3, 64, 64))
    with pytest.raises(ValueError, match="in_channels must be 1 or 3"):
        resnet18_fpn(2)
