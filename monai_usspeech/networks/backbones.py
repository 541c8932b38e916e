# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Convolutional backbones of the video stream and of the speech stream.

The video-speech paper's are SE-ResNeXt networks [1, 2], HiCo's is ResNet18 [3], all built by timm, so that ImageNet
weights in timm's layout load as they are. Stages past the wanted output stride keep their resolution and are dilated
instead; dilation changes no tensor, so weights move freely between output strides. SonoNet
(:mod:`monai_usspeech.networks.sononet`) is here as a backbone for the rows that start from its published weights.

[1] Xie et al., Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017.
[2] Hu et al., Squeeze-and-Excitation Networks, CVPR 2018.
[3] He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from timm import create_model
from timm.models.resnet import Bottleneck, ResNet

from monai_usspeech.networks.sononet import SONONET_WIDTHS, SonoNetFeatures

__all__ = [
    "BACKBONES",
    "Backbone",
    "cam_layer_of",
    "create_backbone",
    "last_block_of",
    "resnet18_backbone",
    "se_resnext50",
    "se_resnext_small",
]

Backbone = ResNet | SonoNetFeatures
"""A network with ``forward_features``, ``forward`` = its global average, and ``num_features``."""

_OUTPUT_STRIDES = (8, 16, 32)


def _check_output_stride(output_stride: int) -> None:
    if output_stride not in _OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be one of {_OUTPUT_STRIDES}, got {output_stride!r}.")


def _from_timm(name: str, in_channels: int, output_stride: int, **options: Any) -> ResNet:
    """A network of timm without its classifier."""
    _check_output_stride(output_stride)
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels must be 1 or 3, got {in_channels!r}.")
    network = create_model(
        name, pretrained=False, num_classes=0, in_chans=in_channels, output_stride=output_stride, **options
    )
    return cast(ResNet, network)


def se_resnext50(in_channels: int = 1, output_stride: int = 16) -> ResNet:
    """SE-ResNeXt-50 32x4d without its classifier, the backbone of Jiao et al., MICCAI 2020.

    It has 25,510,896 parameters with three input channels. For a 256 x 256 image the feature map is 2048 x 8 x 8,
    2048 x 16 x 16 or 2048 x 32 x 32 at output stride 32, 16 or 8.

    Args:
        in_channels: channels of the input image; 1 for grey frames and spectrograms, 3 for replicated grey or RGB.
        output_stride: input size divided by feature map size: 8, 16 or 32. At 16 the last stage is dilated by 2; at 8
            the last two are dilated by 2 and 4. The paper says "dilated" and names no stage.

    Returns:
        A network whose ``forward_features(x)`` maps ``[B, in_channels, H, W]`` to ``[B, 2048, H/s, W/s]``, whose
        ``forward(x)`` is the global average ``[B, 2048]``, and whose ``num_features`` is 2048.

    Raises:
        ValueError: when ``in_channels`` is not 1 or 3, or ``output_stride`` is not 8, 16 or 32.
    """
    return _from_timm("seresnext50_32x4d", in_channels, output_stride)


def resnet18_backbone(in_channels: int = 1, output_stride: int = 32) -> ResNet:
    """ResNet18 without its classifier, the backbone of HiCo (Zhang et al., ACCV 2022).

    It has 11,176,512 parameters with three input channels, and the names and shapes of timm's and torchvision's
    ``resnet18``. At random it is drawn as torchvision's is, with every residual branch alive; timm would begin with the
    branches multiplied by 0, and a frozen random network would then be nearly its short cuts alone.

    Args:
        in_channels: channels of the input image, 1 or 3.
        output_stride: input size divided by feature map size: 8, 16 or 32. 32 is the published network.

    Returns:
        A network with ``forward_features`` and ``forward`` as in :func:`se_resnext50`, and ``num_features`` 512.

    Raises:
        ValueError: when ``in_channels`` is not 1 or 3, or ``output_stride`` is not 8, 16 or 32.
    """
    return _from_timm("resnet18", in_channels, output_stride, zero_init_last=False)


def se_resnext_small(
    in_channels: int = 1,
    output_stride: int = 16,
    width: int = 8,
    depth: Sequence[int] = (1, 1, 1, 1),
    cardinality: int = 4,
) -> ResNet:
    """SE-ResNeXt scaled down for CPUs: the same blocks, fewer and narrower.

    The four stages have bottlenecks of ``width * (1, 2, 4, 8)`` planes and 4 times as many output channels, as in the
    50-layer network. Its 64-wide 7 x 7 stem would cost more than all four stages, so the stem here is three 3 x 3
    convolutions of ``width, width, 2 * width`` channels. The defaults give 174,800 parameters and 256 features.

    Args:
        in_channels: channels of the input image.
        output_stride: input size divided by feature map size: 8, 16 or 32.
        width: planes of the first stage; the feature map has ``32 * width`` channels.
        depth: number of blocks in each of the four stages.
        cardinality: number of groups of each 3 x 3 convolution: a power of two that divides ``2 * width``.

    Returns:
        A network with ``forward_features``, ``forward`` and ``num_features`` as in :func:`se_resnext50`.

    Raises:
        ValueError: when an argument is out of range.
    """
    _check_output_stride(output_stride)
    if in_channels < 1 or width < 1 or cardinality < 1:
        raise ValueError(f"in_channels, width and cardinality must be positive: {in_channels}, {width}, {cardinality}.")
    if len(depth) != 4 or min(depth) < 1:
        raise ValueError(f"depth must hold four positive numbers of blocks, got {tuple(depth)}.")
    if 128 % cardinality or (2 * width) % cardinality:
        raise ValueError(
            f"cardinality must be a power of two up to 128 that divides 2 * width, got {cardinality} and width {width}."
        )
    # timm's bottleneck has planes * base_width / 64 * cardinality grouped channels: twice the planes, as in 32x4d.
    return ResNet(
        cast(Any, Bottleneck),
        tuple(depth),
        num_classes=0,
        in_chans=in_channels,
        output_stride=output_stride,
        cardinality=cardinality,
        base_width=128 // cardinality,
        stem_type="deep",
        stem_width=width,
        channels=(width, 2 * width, 4 * width, 8 * width),
        block_args={"attn_layer": "se"},
    )


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "se_resnext50": se_resnext50,
    "se_resnext_small": se_resnext_small,
    "resnet18": resnet18_backbone,
    **{f"sononet{width}": partial(SonoNetFeatures, width) for width in SONONET_WIDTHS},
}
"""Backbones by name; add a callable here to make it known to every network of the package."""


def create_backbone(name: str, **options: Any) -> Backbone:
    """Build a backbone by its name in :data:`BACKBONES`.

    Args:
        name: a key of :data:`BACKBONES`.
        options: arguments of that backbone, such as ``in_channels`` and ``output_stride``.

    Raises:
        ValueError: for an unknown name; the message gives the nearest known one.
    """
    if name not in BACKBONES:
        close = difflib.get_close_matches(str(name), BACKBONES, n=1, cutoff=0.4)
        hint = f' Did you mean "{close[0]}"?' if close else ""
        raise ValueError(f'Unknown backbone "{name}"; known are {", ".join(sorted(BACKBONES))}.{hint}')
    return BACKBONES[name](**options)


def cam_layer_of(backbone: Backbone) -> str:
    """Name, inside the backbone, of the layer that gives its last feature map; for class activation maps."""
    return "features" if isinstance(backbone, SonoNetFeatures) else "layer4"


def last_block_of(backbone: Backbone) -> str:
    """Name, inside the backbone, of its last residual block: ``"layer4.1"`` for ResNet18.

    Raises:
        ValueError: for SonoNet, which has no residual blocks.
    """
    if isinstance(backbone, SonoNetFeatures):
        raise ValueError("SonoNet has no residual blocks, so its last one cannot be trained alone; resnet18 has.")
    return f"layer4.{len(cast(Sequence[Any], backbone.layer4)) - 1}"
