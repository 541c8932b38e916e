# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser

from monai_usspeech.networks import ContrastiveNet, FrameClassifier, load_initialisation
from tests.networks.test_backbones import n_parameters
from tests.networks.test_initialisation import changed, same

SMALL = {"backbone": "se_resnext_small", "hidden": 12, "embedding_dim": 8}
FORMS = [
    {},
    {"num_classes": 3},
    {"num_classes": 3, "classifier": "embedding"},
    {"num_classes": 3, "embedding_dim": None},
]


def view(n=2, side=64, channels=1):
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({}, 512 * 512 + 512 + 512 * 256 + 256),
        ({"embedding_dim": 128}, 512 * 512 + 512 + 512 * 128 + 128),  # MoCo v2
        ({"num_classes": 12, "classifier": "embedding"}, 512 * 512 + 512 + 512 * 256 + 256 + 256 * 12 + 12),  # USCL
        ({"num_classes": 12, "embedding_dim": None}, 512 * 12 + 12),  # supervised
    ],
)
def test_parameters_beside_the_backbone(form, expected):
    with torch.device("meta"):
        network = ContrastiveNet(**form)
    assert n_parameters(network) - n_parameters(network.video_stream) == expected
    assert n_parameters(network.video_stream) == 11_176_512 - 2 * 64 * 49  # one input channel instead of three


@pytest.mark.parametrize("form", FORMS)
def test_outputs_are_those_of_the_equations(form):
    network = changed(ContrastiveNet(**{**SMALL, **form})).eval()
    with torch.no_grad():
        outputs = network(view())
        maps = network.video_stream.forward_features(view())
        features = maps.sum(dim=(2, 3)) / (maps.shape[2] * maps.shape[3])
        expected = {}
        if form.get("embedding_dim", 8):
            inner, outer = network.projection.hidden, network.projection.out
            hidden = (features @ inner.weight.T + inner.bias).clamp_min(0)
            expected["embedding"] = hidden @ outer.weight.T + outer.bias
        if "num_classes" in form:
            read = expected["embedding"] if form.get("classifier") == "embedding" else features
            expected["logits"] = read @ network.classify.weight.T + network.classify.bias
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(outputs[name], value)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_every_parameter(form):
    network = ContrastiveNet(**{**SMALL, **form})
    sum(value.square().sum() for value in network(view(4)).values()).backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("form", FORMS)
def test_scripted_networks_answer_the_same(form):
    network = changed(ContrastiveNet(**{**SMALL, **form})).eval()
    scripted = torch.jit.script(network)
    with torch.no_grad():
        for image in (view(), view(1, 96)):
            expected = network(image)
            assert same(dict(scripted(image)), expected) and expected


def test_sononet_and_three_channels_and_options_of_the_backbone():
    assert ContrastiveNet("sononet16", embedding_dim=8)(view())["embedding"].shape == (2, 8)
    wide = ContrastiveNet("se_resnext_small", 3, embedding_dim=8, backbone_options={"width": 12, "output_stride": 32})
    assert wide.num_features == 32 * 12 and wide(view(channels=3))["embedding"].shape == (2, 8)


def test_weights_move_to_the_downstream_network_and_back(tmp_path):
    source = changed(ContrastiveNet("resnet18", embedding_dim=8, num_classes=3))
    torch.save({"network": source.state_dict()}, tmp_path / "run_state.pt")
    network = FrameClassifier("resnet18", output_stride=32)
    report = load_initialisation(network, tmp_path / "run_state.pt")
    assert same(network.video_stream.state_dict(), source.video_stream.state_dict())
    assert set(report.unexpected) == {n for n in source.state_dict() if not n.startswith("video_stream.")}
    other = ContrastiveNet("resnet18", embedding_dim=8)
    report = load_initialisation(other, changed(network, seed=2).state_dict())
    assert same(other.video_stream.state_dict(), network.video_stream.state_dict())
    assert {name.split(".")[0] for name in report.untouched} == {"projection"}


def test_a_configuration_builds_the_network_by_its_short_name():
    import monai_usspeech  # noqa: F401  the short names are those of imported packages

    parser = ConfigParser({"network_def": {"_target_": "ContrastiveNet", **SMALL, "num_classes": 3}})
    assert parser.get_parsed_content("network_def")(view())["logits"].shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"embedding_dim": None}, "no output: give embedding_dim, or num_classes"),
        ({"embedding_dim": None, "num_classes": 3, "classifier": "embedding"}, 'classifier "embedding" reads'),
        ({"classifier": "head"}, r"classifier must be one of \('features', 'embedding'\), got 'head'"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"embedding_dim": 0}, "must be positive"),
        ({"hidden": 0}, "must be positive"),
        ({"backbone": "resnet81"}, 'Did you mean "resnet18"'),
    ],
)
def test_wrong_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        ContrastiveNet(**{**SMALL, **options})


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\[B, 1, H, W\].*2, 3, 64, 64"):
        ContrastiveNet(**SMALL)(view(channels=3))
