# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from itertools import product

import pytest
import torch
from monai.bundle import ConfigParser

from monai_usspeech.networks import (
    HICO_CODE_FORM,
    FrameClassifier,
    HiCoNet,
    SaliencyNet,
    load_initialisation,
)
from tests.networks.test_backbones import n_parameters
from tests.networks.test_initialisation import changed, same

SMALL = {"backbone": "se_resnext_small", "channels": 16, "embedding_dim": 8, "image_size": 64}
LEVELS = {"paper": ("P2", "P4", "P5"), "code": ("P2", "P3", "P5")}


def view(n=2, side=64):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(0))


def meta(**options):
    with torch.device("meta"):
        network = HiCoNet(**options)
        image = torch.empty(2, options.get("in_channels", 1), 224, 224)
        return network, {name: tuple(value.shape) for name, value in network(image).items()}


def head_sizes(network):
    return [n_parameters(getattr(network, f"{name}_head")) for name in ("local", "medium", "global")]


def test_the_papers_form():
    network, shapes = meta(in_channels=3, num_classes=12)
    assert shapes == {"local": (2, 256), "medium": (2, 256), "global": (2, 256), "logits": (2, 12)}
    assert head_sizes(network) == [65_792] * 3 and sum(head_sizes(network)) == 197_376
    assert n_parameters(network.classify) == 256 * 12 + 12
    # The pyramid of all four levels, less the 3 x 3 convolution of the unused P3.
    assert n_parameters(network.pyramid) == 2_609_152 - (9 * 256 * 256 + 2 * 256)
    assert n_parameters(network.video_stream) == 11_176_512
    assert set(meta()[1]) == {"local", "medium", "global"}


def test_the_form_of_the_released_code():
    network, shapes = meta(in_channels=3, num_classes=12, **HICO_CODE_FORM)
    assert shapes == {"local": (2, 256), "medium": (2, 256), "global": (2, 256), "logits": (2, 12)}
    hidden = [n_parameters(getattr(network, f"{name}_head").hidden) for name in ("local", "medium", "global")]
    assert hidden == [205_521_152, 51_380_480, 3_211_520]
    assert head_sizes(network) == [count + 65_792 for count in hidden]
    assert n_parameters(network.classify) == 131_328 + 3_084
    # 273,290,252 parameters of heads are published; 12,845,312 of them are of a level that training never reads.
    assert sum(head_sizes(network)) + n_parameters(network.classify) == 273_290_252 - 12_845_312
    assert n_parameters(network.pyramid) == 2_017_024 - (9 * 256 * 256 + 256)  # less that of the unused P4


@pytest.mark.parametrize(
    ("levels", "head", "classifier"), [*product(LEVELS, ("gap", "flatten"), ("global", "backbone"))]
)
def test_outputs_are_those_of_the_equations(levels, head, classifier):
    network = changed(HiCoNet(**SMALL, levels=levels, head=head, classifier=classifier, num_classes=3)).eval()
    weights = network.state_dict()

    def linear(x, name):
        return torch.einsum("oi,bi->bo", weights[f"{name}.weight"], x) + weights[f"{name}.bias"]

    def two_layers(x, name):
        return linear(linear(x, f"{name}.hidden").clamp_min(0), f"{name}.out")

    with torch.no_grad():
        maps = super(HiCoNet, network).forward(view())
        assert set(maps) == {"C5", *LEVELS[levels]}
        expected = {}
        for name, level in zip(("local", "medium", "global"), LEVELS[levels]):
            x = maps[level]
            b, c, h, w = x.shape
            if head == "gap":
                expected[name] = linear(x.sum(dim=(2, 3)) / (h * w), f"{name}_head")
            else:
                expected[name] = two_layers(x.reshape(b, c * h * w), f"{name}_head")
        pooled = maps["C5"].sum(dim=(2, 3)) / maps["C5"][0, 0].numel()
        from_global = classifier == "global"
        expected["logits"] = linear(expected["global"], "classify") if from_global else two_layers(pooled, "classify")
        found = network(view())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("levels", "head", "classifier", "num_classes"),
    [*product(LEVELS, ("gap", "flatten"), ("global", "backbone"), (None, 3))],
)
def test_gradients_reach_every_parameter_of_every_form(levels, head, classifier, num_classes):
    network = HiCoNet(**SMALL, levels=levels, head=head, classifier=classifier, num_classes=num_classes)
    sum(value.square().sum() for value in network(view(4)).values()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("form", [{}, {**HICO_CODE_FORM, "image_size": 64}])
def test_gradients_reach_all_of_resnet18(form):
    torch.manual_seed(0)
    network = HiCoNet(**form, channels=16, embedding_dim=8, num_classes=3)
    sum(value.square().sum() for value in network(view(4)).values()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize(("classifier", "reached"), [("global", True), ("backbone", False)])
def test_only_the_papers_classifier_teaches_the_pyramid(classifier, reached):
    network = HiCoNet(**SMALL, num_classes=3, classifier=classifier)
    network(view())["logits"].square().sum().backward()
    assert all((p.grad is not None) == reached for p in network.pyramid.lateral[-1].parameters())
    assert all((p.grad is not None) == reached for p in network.global_head.parameters())
    assert all(p.grad is not None for p in network.video_stream.parameters())


@pytest.mark.parametrize("form", [{}, HICO_CODE_FORM])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_scripted_networks_answer_the_same(form, num_classes):
    network = changed(HiCoNet(**SMALL, **form, num_classes=num_classes)).eval()
    with torch.no_grad():
        expected, found = network(view()), torch.jit.script(network)(view())
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)


def test_flatten_heads_fit_images_that_are_no_square_and_no_multiple_of_32():
    network = HiCoNet(**{**SMALL, "image_size": (70, 100)}, head="flatten")
    assert network(torch.zeros(2, 1, 70, 100))["medium"].shape == (2, 8)
    assert network.medium_head.hidden.in_features == 16 * 5 * 7


@pytest.mark.parametrize("kind", [FrameClassifier, SaliencyNet])
def test_a_pretraining_run_gives_its_backbone_to_the_downstream_networks(kind, tmp_path):
    source = changed(HiCoNet(channels=16, embedding_dim=8, num_classes=3))
    torch.save({"network": source.state_dict()}, tmp_path / "run_state.pt")
    for source_word in ("auto", "own"):
        network = kind("resnet18", output_stride=16)
        report = load_initialisation(network, tmp_path / "run_state.pt", source=source_word)
        assert same(network.video_stream.state_dict(), source.video_stream.state_dict())
        assert set(report.unexpected) == {n for n in source.state_dict() if not n.startswith("video_stream.")}
        assert {"pyramid.lateral.0.conv.weight", "classify.weight"} <= set(report.unexpected)


def test_weights_move_into_the_network_and_leave_pyramid_and_heads(tmp_path):
    source = changed(FrameClassifier("resnet18"))
    torch.save(source.state_dict(), tmp_path / "model.pt")
    network = HiCoNet(in_channels=3, channels=16, embedding_dim=8)
    report = load_initialisation(network, tmp_path / "model.pt")
    assert report.adapted == ("conv1.weight: 1 channels spread to 3",)
    assert {name.split(".")[0] for name in report.untouched} == {"pyramid", "local_head", "medium_head", "global_head"}
    bn = "layer4.1.bn2.running_var"
    assert torch.equal(network.video_stream.state_dict()[bn], source.video_stream.state_dict()[bn])


def test_a_file_in_the_layout_of_the_released_code_gives_its_backbone():
    source = changed(FrameClassifier("resnet18", in_channels=3))
    weights = {f"features.R18.{name}": value for name, value in source.video_stream.state_dict().items()}
    weights |= {
        "features.R18.fc.weight": torch.zeros(1000, 512),
        "features.toplayer.weight": torch.zeros(256, 512, 1, 1),
    }
    weights |= {"l2.weight": torch.zeros(1), "fc.bias": torch.zeros(12)}
    network = HiCoNet(in_channels=3, channels=16, embedding_dim=8)
    report = load_initialisation(network, weights, prefix="features.R18.")
    assert same(network.video_stream.state_dict(), source.video_stream.state_dict())
    assert set(report.unexpected) == {"fc.weight", "features.toplayer.weight", "l2.weight", "fc.bias"}


def test_a_configuration_builds_the_network_by_its_short_name():
    import monai_usspeech  # noqa: F401  the short names are those of imported packages

    parser = ConfigParser({"network_def": {"_target_": "HiCoNet", **SMALL, "num_classes": 3}})
    assert parser.get_parsed_content("network_def")(view())["logits"].shape == (2, 3)


def test_bfloat16_autocast():
    network = HiCoNet(**SMALL, num_classes=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(view())
    assert all(value.isfinite().all() for value in outputs.values())


def test_wrong_arguments_are_named():
    for options, words in (
        ({"levels": "released"}, r"levels must be one of \('paper', 'code'\), got 'released'"),
        ({"head": "mlp"}, "head must be one of"),
        ({"classifier": "local"}, "classifier must be one of"),
        ({"embedding_dim": 0}, "embedding_dim must be positive"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"fpn_norm": "bn"}, "norm must be"),
        ({"image_size": (64,)}, "image_size must be"),
        ({"image_size": 0}, "image_size must be"),
    ):
        with pytest.raises(ValueError, match=words):
            HiCoNet(**{**SMALL, **options})
    with pytest.raises(ValueError, match=r"image_size \[64, 64\], got an image.*96"):
        HiCoNet(**SMALL, head="flatten")(view(1, 96))
    with pytest.raises(ValueError, match=r"\[B, 1, H, W\].*2, 3, 64, 64"):
        HiCoNet(**SMALL)(torch.zeros(2, 3, 64, 64))
