# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_usspeech.networks import BACKBONES, create_backbone, se_resnext50, se_resnext_small


def n_parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("output_stride", "side"), [(8, 32), (16, 16), (32, 8)])
def test_se_resnext50_has_the_published_size_and_feature_maps(output_stride, side):
    with torch.device("meta"):  # shapes need no arithmetic
        network = se_resnext50(in_channels=3, output_stride=output_stride)
        assert network.forward_features(torch.empty(1, 3, 256, 256)).shape == (1, 2048, side, side)
        assert network(torch.empty(2, 3, 256, 256)).shape == (2, 2048)
    assert network.num_features == 2048
    assert n_parameters(network) == 25_510_896


def test_output_stride_changes_no_tensor():
    with torch.device("meta"):
        shapes = [
            {name: value.shape for name, value in se_resnext50(1, stride).state_dict().items()} for stride in (8, 32)
        ]
    assert shapes[0] == shapes[1]


def test_dilation_computes_the_strided_answer_at_the_shared_places():
    # A dilated network evaluates the strided one at more places. Far from the border both agree where both answer.
    torch.manual_seed(0)
    strided, dilated = se_resnext_small(output_stride=32).eval(), se_resnext_small(output_stride=16).eval()
    dilated.load_state_dict(strided.state_dict())
    for block in (*strided.modules(), *dilated.modules()):
        if hasattr(block, "se"):
            block.se = None  # squeeze-excitation averages over the whole map, whose extent differs
    with torch.no_grad():
        image = torch.randn(1, 1, 256, 256)
        coarse, fine = strided.forward_features(image), dilated.forward_features(image)
    torch.testing.assert_close(fine[:, :, ::2, ::2][..., 2:-2, 2:-2], coarse[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-5)


def test_small_backbone_is_small_and_scales():
    assert n_parameters(se_resnext_small()) == 174_800
    deeper = se_resnext_small(3, 8, width=12, depth=(1, 2, 2, 1), cardinality=8)
    assert deeper.num_features == 384 and n_parameters(deeper) < 500_000
    assert deeper.forward_features(torch.zeros(2, 3, 64, 64)).shape == (2, 384, 8, 8)
    grouped = [m for m in deeper.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert len(grouped) == 6 and all(m.groups == 8 for m in grouped)
    assert [m.out_channels for m in grouped] == [24, 48, 48, 96, 96, 192]  # twice the planes, as in 32x4d
    assert deeper.conv1[0].out_channels == 12  # no 64-wide stem


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_is_made_by_its_name(name):
    with torch.device("meta"):
        network = create_backbone(name, in_channels=1, output_stride=16)
        features = network.forward_features(torch.empty(1, 1, 64, 64))
    assert features.shape == (1, network.num_features, 4, 4)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match='Unknown backbone "seresnext50".*Did you mean "se_resnext50"'):
        create_backbone("seresnext50")
    with pytest.raises(ValueError, match="output_stride.*4"):
        se_resnext50(output_stride=4)
    with pytest.raises(ValueError, match="in_channels.*2"):
        se_resnext50(in_channels=2)
    with pytest.raises(ValueError, match="cardinality.*3"):
        se_resnext_small(cardinality=3)
    with pytest.raises(ValueError, match="depth"):
        se_resnext_small(depth=(1, 1, 1))
