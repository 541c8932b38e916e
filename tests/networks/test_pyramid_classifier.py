# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest
import torch
from monai.bundle import ConfigParser
from monai.visualize import GradCAM
from torch import nn

from monai_usspeech.networks import HICO_CODE_FORM, ContrastiveNet, HiCoNet, PyramidClassifier, load_initialisation
from monai_usspeech.networks.resnet_fpn import PyramidNet
from tests.networks.test_backbones import n_parameters
from tests.networks.test_initialisation import changed, same

SMALL = {"backbone": "se_resnext_small", "channels": 16, "embedding_dim": 8, "image_size": 64}
READ_OUTS = ("heads", "code")
HEADS = ("local_head", "medium_head", "global_head")


def batch(n=2, side=64):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(0))


def trained(network):
    return {name: value for name, value in network.named_parameters() if value.requires_grad}


def test_the_released_evaluation_trains_three_layers_and_a_linear_one():
    with torch.device("meta"):
        network = PyramidClassifier(in_channels=3, read_out="code", fpn_norm=None)
    names = trained(network)
    sizes = {part: sum(v.numel() for n, v in names.items() if n.startswith(part)) for part in ("video", "pyr", "head")}
    assert sizes == {"video": 4_720_640, "pyr": 131_328, "head": 3_843}
    assert sum(sizes.values()) == sum(value.numel() for value in names.values())
    assert {name.rsplit(".", 1)[0] for name in names if name.startswith("pyr")} == {"pyramid.lateral.3.conv"}
    first = [205_521_152, 51_380_480, 12_845_312, 3_211_520, 131_328]
    assert [n_parameters(projection) for projection in network.projections] == first
    assert n_parameters(network.pyramid) == 2_017_024 and network.head.in_features == 1280


def test_the_papers_heads_train_the_same_layers():
    with torch.device("meta"):
        network = PyramidClassifier(in_channels=3)
    sizes = {name: value.numel() for name, value in trained(network).items() if not name.startswith("video")}
    # Without the bias of 256, but with the scale and shift of the batch normalisation.
    assert sum(sizes.values()) == 131_328 + 256 + 3 * 768 + 3
    assert sum(n_parameters(getattr(network, name)) for name in HEADS) == 197_376


@pytest.mark.parametrize("levels", ["paper", "code"])
@pytest.mark.parametrize("head", ["gap", "flatten"])
def test_features_of_the_heads_are_the_embeddings_of_the_pretrained_network(levels, head):
    form = {**SMALL, "levels": levels, "head": head}
    source = changed(HiCoNet(**form, num_classes=4)).eval()
    network = changed(PyramidClassifier(**form, num_classes=3), seed=2).eval()
    report = load_initialisation(network, source.state_dict())
    with torch.no_grad():
        outputs = source(batch())
        expected = torch.cat([outputs["local"], outputs["medium"], outputs["global"]], dim=1)
        torch.testing.assert_close(network.features(batch()), expected)
        torch.testing.assert_close(network(batch()), expected @ network.head.weight.T + network.head.bias)
    assert report.untouched == ("head.weight", "head.bias") and report.missing == report.adapted == ()
    assert set(report.unexpected) == {"classify.weight", "classify.bias"}
    assert {*report.loaded, *report.untouched} == set(network.state_dict())


def test_features_of_the_code_are_random_projections_of_five_maps():
    network = changed(PyramidClassifier(**SMALL, read_out="code", fpn_norm=None)).eval()
    with torch.no_grad():
        maps = PyramidNet.forward(network, batch())
        expected = []
        for name, projection in zip(("P2", "P3", "P4", "P5", "C5"), network.projections):
            numbers = maps[name].reshape(2, -1) if name[0] == "P" else maps[name].sum(dim=(2, 3)) / (64 // 32) ** 2
            expected.append((numbers @ projection.weight.T + projection.bias).clamp_min(0))
        torch.testing.assert_close(network.features(batch()), torch.cat(expected, dim=1))
    assert network.features(batch()).shape == (2, 5 * 8)


@pytest.mark.parametrize("frozen_norm", ["eval", "train"])
@pytest.mark.parametrize("read_out", READ_OUTS)
def test_a_step_moves_the_last_block_the_top_of_the_pyramid_and_the_head(read_out, frozen_norm):
    network = changed(PyramidClassifier(**SMALL, read_out=read_out, frozen_norm=frozen_norm)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, weight_decay=1e-4)
    nn.functional.cross_entropy(network(batch(4)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    parts = ("video_stream.layer4.0.", "pyramid.lateral.3.", "head.")
    statistics = {n for n in before if n.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")}
    expected = {name for name in before if name.startswith(parts)} | (statistics if frozen_norm == "train" else set())
    assert moved == expected


@pytest.mark.parametrize("read_out", READ_OUTS)
def test_the_linear_layer_alone_or_everything(read_out):
    probe = PyramidClassifier(**SMALL, read_out=read_out, train_last_block=False).train()
    assert set(trained(probe)) == {"head.weight", "head.bias"}
    with torch.no_grad():
        probe(batch(8))  # the mean over the batches so far is this batch
        standard = probe.eval().standardise(probe.features(batch(8)))
    moving = probe.features(batch(8)).std(dim=0) > 1e-4
    assert moving.any() and standard[:, moving].mean(dim=0).abs().max() < 1e-2
    for part in ("video_stream", "pyramid"):
        assert not any(module.training for module in probe.train().get_submodule(part).modules())
    whole = PyramidClassifier(**SMALL, read_out=read_out, freeze=False).train()
    assert len(trained(whole)) == len(list(whole.parameters()))
    assert all(module.training for module in whole.modules()) and isinstance(whole.standardise, nn.Identity)


@pytest.mark.parametrize("read_out", READ_OUTS)
@pytest.mark.parametrize("head", ["gap", "flatten"])
def test_scripted_networks_answer_the_same(read_out, head):
    network = changed(PyramidClassifier(**SMALL, read_out=read_out, head=head)).eval()
    scripted = torch.jit.script(network)
    with torch.no_grad():
        assert torch.equal(scripted(batch()), network(batch()))
        assert torch.equal(scripted.features(batch(3)), network.features(batch(3)))


@pytest.mark.parametrize("read_out", READ_OUTS)
def test_grad_cam_of_monai_finds_the_layer(read_out):
    network = changed(PyramidClassifier(**SMALL, read_out=read_out)).eval().requires_grad_(True)
    cam = GradCAM(network, network.cam_layer, postprocessing=lambda scores: scores)
    scores = cam(batch(1), class_idx=1)
    assert scores.shape == (1, 1, 64, 64) and scores.isfinite().all() and network.cam_layer == "video_stream.layer4"


def test_the_code_read_out_takes_the_pyramid_and_keeps_levels_that_pretraining_did_not_build():
    source = changed(HiCoNet(**{**SMALL, **HICO_CODE_FORM, "num_classes": 4}))  # P2, P3, P5: no convolution of P4
    network = changed(PyramidClassifier(**SMALL, read_out="code", fpn_norm=None), seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = load_initialisation(network, source.state_dict())
    after = network.state_dict()
    assert report.missing == ("pyramid.smooth.2.conv.weight", "pyramid.smooth.2.conv.bias")
    assert report.adapted == ("pyramid.smooth.2 is not in the file and stays as it was",)
    parts = {"video_stream": source.video_stream, "pyramid": source.pyramid}
    for part, given in parts.items():
        assert all(torch.equal(after[f"{part}.{name}"], value) for name, value in given.state_dict().items())
    others = [name for name in before if name.startswith(("projections.", "head.", "pyramid.smooth.2."))]
    assert len(others) == 14 and all(torch.equal(after[name], before[name]) for name in others)
    assert {name.split(".")[0] for name in report.unexpected} == {*HEADS, "classify"}
    assert {name.split(".")[0] for name in report.untouched} == {"projections", "head"}


def test_a_network_for_pretraining_takes_the_pyramid_too_and_leaves_unused_levels():
    source = changed(PyramidNet("se_resnext_small", channels=16))
    network = changed(HiCoNet(**SMALL), seed=2)
    report = load_initialisation(network, source.state_dict())
    assert torch.equal(network.pyramid.smooth[2].conv.weight, source.pyramid.smooth[2].conv.weight)
    assert report.unexpected and all(name.startswith("pyramid.smooth.1.") for name in report.unexpected)
    assert {name.split(".")[0] for name in report.untouched} == set(HEADS)
    network = changed(HiCoNet(**SMALL), seed=2)
    report = load_initialisation(network, source.state_dict(), prefix="video_stream.")
    assert same(network.video_stream.state_dict(), source.video_stream.state_dict())
    assert {name.split(".")[0] for name in report.untouched} == {"pyramid", *HEADS}


@pytest.mark.parametrize("read_out", READ_OUTS)
def test_files_without_a_pyramid_are_refused_but_for_imagenet_under_the_code_read_out(read_out):
    network = changed(PyramidClassifier(**SMALL, read_out=read_out))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    source = changed(ContrastiveNet("se_resnext_small", embedding_dim=8), seed=2)
    with pytest.raises(ValueError, match="the given tensors: holds no pyramid.*FrameClassifier"):
        load_initialisation(network, source.state_dict())
    assert same(network.state_dict(), before)
    backbone = source.video_stream.state_dict()
    if read_out == "heads":
        with pytest.raises(ValueError, match="holds no pyramid"):
            load_initialisation(network, backbone, source="imagenet")
    else:
        report = load_initialisation(network, backbone, source="imagenet")
        assert same(network.video_stream.state_dict(), backbone)
        assert {name.split(".")[0] for name in report.untouched} == {"pyramid", "projections", "head"}


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"fpn_norm": None}, r"does not fit this pyramid \(FeaturePyramid\).*the form \(levels, heads, norm"),
        ({"channels": 8}, r"this pyramid .*of another shape \(lateral.0.conv.weight \(8, "),
        ({"head": "flatten"}, r"this local_head \(Linear\).*missing from the file"),
        ({"levels": "code"}, r"missing from the file \(smooth.2.conv.weight"),
        ({"embedding_dim": 4}, r"local_head \(Linear\).*\(4, 16\) in the file, \(8, 16\)"),
        ({"backbone_options": {"width": 16}}, "does not fit this ResNet .*build the network with the backbone"),
    ],
)
def test_a_pretraining_of_another_form_is_refused_and_nothing_is_loaded(form, words):
    source = changed(HiCoNet(**{**SMALL, **form}))
    network = changed(PyramidClassifier(**SMALL), seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        load_initialisation(network, source.state_dict())
    assert same(network.state_dict(), before)


def test_a_pyramid_without_heads_is_refused_by_the_heads_read_out():
    network = PyramidClassifier(**SMALL)
    with pytest.raises(ValueError, match="has a pyramid but no local_head"):
        load_initialisation(network, PyramidNet("se_resnext_small", channels=16).state_dict())


def test_a_configuration_builds_the_network_by_its_short_name():
    import monai_usspeech  # noqa: F401  the short names are those of imported packages

    parser = ConfigParser({"network_def": {"_target_": "PyramidClassifier", **SMALL, "output_stride": 32}})
    assert parser.get_parsed_content("network_def")(batch()).shape == (2, 3)


def test_images_of_another_size():
    assert PyramidClassifier(**SMALL)(batch(2, 96)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"image_size \[64, 64\], got an image"):
        PyramidClassifier(**SMALL, read_out="code")(batch(2, 96))
    odd = PyramidClassifier(**{**SMALL, "image_size": (50, 70)}, read_out="code")
    assert odd.projections[0].in_features == 16 * math.ceil(50 / 4) * math.ceil(70 / 4)
    assert odd(torch.zeros(2, 1, 50, 70)).shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"read_out": "gap"}, r"read_out must be one of \('heads', 'code'\), got 'gap'"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"levels": "all"}, "levels must be one of"),
        ({"head": "mlp"}, "head must be one of"),
        ({"embedding_dim": 0}, "embedding_dim must be positive"),
        ({"frozen_norm": "off"}, "frozen_norm must be one of"),
        ({"output_stride": 16}, "output_stride 32, got 16"),
        ({"backbone": "sononet16"}, "no four stages"),
    ],
)
def test_wrong_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        PyramidClassifier(**{**SMALL, **options})
