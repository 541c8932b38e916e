# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from monai_usspeech.networks import (
    SonoNet,
    SonoNetFeatures,
    VideoSpeechNet,
    create_backbone,
    load_initialisation,
    read_checkpoint,
)
from monai_usspeech.networks.sononet_weights import sononet_width
from tests.networks.test_initialisation import changed

# The published order of the classes, by the names of the published example frames.
CLASSES = (
    *("3VV", "4CH", "ABDOMINAL", "background", "BRAIN-CB", "BRAIN-TV", "FEMUR", "KIDNEYS", "LIPS", "LVOT"),
    *("PROFILE", "RVOT", "SPINE-CORONAL", "SPINE-SAGITTAL"),
)


def n_parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("width", "whole", "features"), [(16, 930_796, 921_552), (32, 3_716_540, None), (64, 14_852_956, 14_717_760)]
)
def test_published_sizes(width, whole, features):
    with torch.device("meta"):
        network = SonoNet(width)
        image = torch.empty(2, 1, 224, 288)
        assert network(image).shape == (2, 14)
        assert network.forward_features(image).shape == (2, 8 * width, 14, 18)
        assert network.class_maps(image).shape == (2, 14, 14, 18)
        backbone = create_backbone(f"sononet{width}", in_channels=1, output_stride=16)
    assert n_parameters(network) == whole
    assert backbone.num_features == 8 * width
    assert features is None or n_parameters(backbone) == features


def test_answers_as_the_layers_of_the_paper_one_after_the_other():
    network = changed(SonoNet(16)).eval()
    weights = network.state_dict()

    def normalised(x, name):
        parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        mean, variance, gamma, beta = (part[:, None, None] for part in parts)
        return (x - mean) / (variance + 1e-4).sqrt() * gamma + beta

    x = image = torch.randn(2, 1, 32, 48)
    with torch.no_grad():
        for block, n_layers in enumerate((2, 2, 3, 3, 3)):
            for layer in range(n_layers):
                name = f"features.{block}.{layer}"
                x = normalised(F.conv2d(x, weights[f"{name}.0.weight"], padding=1), f"{name}.1").clamp_min(0)
            if block < 4:
                x = x.unflatten(3, (-1, 2)).amax(4).unflatten(2, (-1, 2)).amax(3)
        torch.testing.assert_close(network.forward_features(image), x)
        x = torch.einsum("oc,bchw->bohw", weights["adaption.0.weight"][:, :, 0, 0], x)
        x = normalised(x, "adaption.1").clamp_min(0)
        x = normalised(torch.einsum("oc,bchw->bohw", weights["adaption.3.weight"][:, :, 0, 0], x), "adaption.4")
        torch.testing.assert_close(network(image), x.mean(dim=(2, 3)), rtol=1e-4, atol=1e-4)


def test_no_convolution_has_a_bias_and_every_normalisation_the_published_epsilon():
    modules = list(SonoNet(16).modules())
    convolutions = [m for m in modules if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in modules if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(convolutions) == len(norms) == 15
    assert all(m.bias is None for m in convolutions) and all(m.eps == 1e-4 for m in norms)


def test_serves_the_pretraining_network_as_a_backbone():
    network = VideoSpeechNet("sononet16", embedding_dim=8)
    images = torch.randn(2, 1, 1, 64, 64)
    prediction = network(images, images, images, torch.randn(2, 4, 1, 64, 64))
    assert prediction["video"].shape == (2, 1, 8) and prediction["order"].shape == (2, 12)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="width must be one of.*48"):
        SonoNet(48)
    with pytest.raises(ValueError, match="output_stride 16 only, got 8"):
        create_backbone("sononet32", in_channels=1, output_stride=8)
    with pytest.raises(ValueError, match="in_channels"):
        SonoNetFeatures(16, in_channels=0)


def as_published(path):
    """The input of the published example: crop to the fan, 224 rows and 288 columns, grey, 255 standard deviations."""
    with Image.open(path) as picture:
        crop = picture.convert("RGB").crop((81, 115, 874, 734))
    grey = np.asarray(crop.resize((288, 224), Image.Resampling.BICUBIC), dtype=np.float32).mean(axis=2)
    return torch.from_numpy(255 * (grey - grey.mean()) / grey.std())[None, None]


def test_published_weights_name_all_thirteen_example_planes(real_data):
    path = os.environ.get("USSPEECH_SONONET_WEIGHTS")
    if not path:
        pytest.skip("set USSPEECH_SONONET_WEIGHTS to a local SonoNet16/32/64 .pth or .npz file")
    network = SonoNet(sononet_width(read_checkpoint(path))).eval()
    load_initialisation(network, path, source="sononet")
    frames = sorted((real_data / "planes" / "sononet").glob("*.png"))
    assert len(frames) == 13
    with torch.no_grad():
        answers = {frame.stem: CLASSES[int(network(as_published(frame)).argmax())] for frame in frames}
    assert answers == {frame.stem: frame.stem for frame in frames}
