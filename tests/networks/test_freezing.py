# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from monai_usspeech.networks import FrameClassifier
from monai_usspeech.networks.backbones import BACKBONES, create_backbone, last_block_of
from monai_usspeech.networks.freezing import PartlyFrozen
from tests.networks.test_backbones import n_parameters
from tests.networks.test_downstream import batch, train_a_step
from tests.networks.test_initialisation import changed, same

LAST = {"resnet18": "layer4.1", "se_resnext50": "layer4.2", "se_resnext_small": "layer4.0"}


class Three(PartlyFrozen):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))
        self.head = nn.BatchNorm1d(4)


@pytest.mark.parametrize("frozen_norm", ["eval", "train"])
def test_only_the_named_parts_lose_gradients_and_modes(frozen_norm):
    network = Three()
    network.freeze_parts(["body"], ["body.1"], frozen_norm)
    frozen, last, head = network.body[0], network.body[1], network.head
    for mode in (True, False, True):
        assert network.train(mode) is network and network.training == mode
        assert frozen.training == (mode and frozen_norm == "train")
        assert last.training == mode and head.training == mode
    wanted = [name for name, value in network.named_parameters() if value.requires_grad]
    assert wanted == ["body.1.weight", "body.1.bias", "head.weight", "head.bias"]
    assert not copy.deepcopy(network).eval().train().body[0].training or frozen_norm == "train"


def test_a_module_that_freezes_nothing_is_an_ordinary_one():
    network = Three().eval()
    assert not any(module.training for module in network.modules())
    assert all(module.training for module in network.train().modules())
    with pytest.raises(ValueError, match=r"frozen_norm must be one of \('eval', 'train'\), got 'off'"):
        network.freeze_parts(["body"], frozen_norm="off")


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_the_last_block_is_the_last_module_that_reads_the_stages(backbone):
    with torch.device("meta"):
        stream = create_backbone(backbone)
    if backbone.startswith("sononet"):
        with pytest.raises(ValueError, match="SonoNet has no residual blocks"):
            last_block_of(stream)
        with pytest.raises(ValueError, match="SonoNet has no residual blocks"):
            FrameClassifier(backbone, freeze=True, train_last_block=True)
        assert FrameClassifier(backbone, train_last_block=True).head.weight.requires_grad  # all is trained anyway
    else:
        assert last_block_of(stream) == LAST[backbone]
        assert stream.get_submodule(LAST[backbone]) is stream.layer4[-1]


def test_the_last_three_layers_of_resnet18():
    with torch.device("meta"):
        network = FrameClassifier("resnet18", num_classes=3, freeze=True, train_last_block=True)
    trained = {name: value for name, value in network.named_parameters() if value.requires_grad}
    assert sum(value.numel() for value in trained.values()) == 4_720_640 + 512 * 3 + 3
    assert [name for name, value in trained.items() if value.ndim > 1] == [
        *("video_stream.layer4.1.conv1.weight", "video_stream.layer4.1.conv2.weight", "head.weight")
    ]
    assert isinstance(network.standardise, nn.Identity)
    assert n_parameters(network) == 11_176_512 - 2 * 64 * 49 + 512 * 3 + 3
    assert network.state_dict().keys() == FrameClassifier("resnet18", num_classes=3).state_dict().keys()


@pytest.mark.parametrize("frozen_norm", ["eval", "train"])
@pytest.mark.parametrize("backbone", ["resnet18", "se_resnext_small"])
def test_a_step_changes_the_last_block_and_the_head_and_perhaps_the_frozen_statistics(backbone, frozen_norm):
    options = {"output_stride": 32, "freeze": True, "train_last_block": True, "frozen_norm": frozen_norm}
    # timm draws residual branches multiplied by 0, which would have no gradient in the first step.
    network = changed(FrameClassifier(backbone, **options))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_a_step(network)
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    last = f"video_stream.{last_block_of(network.video_stream)}."
    statistics = {n for n in before if n.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")}
    expected = {name for name in before if name.startswith((last, "head."))}
    assert moved == expected | (statistics if frozen_norm == "train" else set())
    assert statistics - expected


def test_frozen_batch_norm_in_train_mode_normalises_by_the_batch():
    network = changed(FrameClassifier("se_resnext_small", freeze=True, train_last_block=True, frozen_norm="train"))
    assert network.train().video_stream.bn1.training and not network.eval().video_stream.bn1.training
    twin = copy.deepcopy(network)
    twin.parts_in_eval = ["video_stream"]
    with torch.no_grad():
        assert torch.equal(network.eval()(batch()), twin.eval()(batch()))
        assert not torch.allclose(network.train()(batch()), twin.train()(batch()))


def test_the_old_arguments_draw_and_keep_the_same_weights():
    torch.manual_seed(3)
    probe = FrameClassifier("se_resnext_small", freeze=True)
    torch.manual_seed(3)
    partly = FrameClassifier("se_resnext_small", freeze=True, train_last_block=True)
    probe_weights = {name: value for name, value in probe.state_dict().items() if "standardise" not in name}
    assert same(probe_weights, partly.state_dict())


@pytest.mark.parametrize("frozen_norm", ["eval", "train"])
def test_partly_frozen_networks_are_scripted(frozen_norm):
    network = changed(
        FrameClassifier("se_resnext_small", freeze=True, train_last_block=True, frozen_norm=frozen_norm)
    ).eval()
    with torch.no_grad():
        assert torch.equal(torch.jit.script(network)(batch()), network(batch()))
