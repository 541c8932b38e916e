# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""SonoNet, the convolutional network for fetal standard planes of Baumgartner et al. [1].

Tensor names and shapes are those of the public PyTorch conversion of the published weights, and every batch
normalisation has the epsilon of the original (1e-4), so those weights load as they are; see
:mod:`monai_usspeech.networks.sononet_weights`.

[1] Baumgartner et al., SonoNet: Real-Time Detection and Localisation of Fetal Standard Scan Planes in Freehand
Ultrasound, IEEE Transactions on Medical Imaging 36(11), 2017.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["SONONET_BN_EPSILON", "SONONET_WIDTHS", "SonoNet", "SonoNetFeatures"]

SONONET_WIDTHS = (16, 32, 64)
"""Channels of the first layer of the three published networks."""

SONONET_BN_EPSILON = 1e-4
"""Added to the variance in every batch normalisation of the published networks."""

_STRIDE = 16
# Width of each convolution, in units of the first one's; the blocks are joined by max-pooling.
_BLOCKS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels, eps=SONONET_BN_EPSILON),
        nn.ReLU(inplace=True),
    )


def _draw_weights(network: nn.Module) -> None:
    """He's initialisation by the number of outputs, as in the SE-ResNeXt backbones."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class SonoNetFeatures(nn.Module):
    """SonoNet without its adaption layers: 13 convolutions of 3 x 3 in five blocks, as a backbone.

    All convolutions are without bias and followed by batch normalisation and ReLU; 2 x 2 max-pooling follows the first
    four blocks. The parameters are 921,552 at width 16 and 14,717,760 at width 64. A 224 x 288 image gives a feature
    map of 14 x 18.

    Args:
        width: channels of the first layer: 16, 32 or 64; the feature map has ``8 * width``.
        in_channels: channels of the input image; the published networks take 1.
        output_stride: 16, the only one that this network has.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(self, width: int = 64, in_channels: int = 1, output_stride: int = _STRIDE) -> None:
        super().__init__()
        if width not in SONONET_WIDTHS:
            raise ValueError(f"width must be one of {SONONET_WIDTHS}, got {width!r}.")
        if in_channels < 1:
            raise ValueError(f"in_channels must be positive, got {in_channels!r}.")
        if output_stride != _STRIDE:
            raise ValueError(f"SonoNet has output_stride {_STRIDE} only, got {output_stride!r}.")
        self.width = width
        self.num_features = _BLOCKS[-1][-1] * width
        blocks = []
        channels = in_channels
        for number, block in enumerate(_BLOCKS):
            layers: list[nn.Module] = []
            for factor in block:
                layers.append(_convolution(channels, factor * width))
                channels = factor * width
            if number < len(_BLOCKS) - 1:
                layers.append(nn.MaxPool2d(2))
            blocks.append(nn.Sequential(*layers))
        self.features = nn.Sequential(*blocks)
        _draw_weights(self.features)

    def forward_features(self, image: Tensor) -> Tensor:
        """Feature map ``[B, 8 * width, H/16, W/16]`` of an image ``[B, in_channels, H, W]``."""
        features: Tensor = self.features(image)
        return features

    def forward(self, image: Tensor) -> Tensor:
        """Global average ``[B, 8 * width]`` of the feature map."""
        return self.forward_features(image).mean(dim=(2, 3))


class SonoNet(SonoNetFeatures):
    """SonoNet as published: a class map from two 1 x 1 convolutions, averaged over all places.

    The published networks have 930,796 (width 16), 3,716,540 (32) and 14,852,956 (64) parameters. Their input is a
    224 x 288 grey image of which the mean is subtracted and which is then multiplied by 255 / standard deviation, each
    image by its own.

    Args:
        width: channels of the first layer: 16, 32 or 64.
        num_classes: number of classes. The 14 published ones are in SonoNet's own order, which is not that of
            :class:`~monai_usspeech.data.StandardPlane`.
        in_channels: channels of the input image; the published networks take 1.

    Example:
        >>> SonoNet(16)(torch.zeros(2, 1, 224, 288)).shape
        torch.Size([2, 14])
    """

    def __init__(self, width: int = 64, num_classes: int = 14, in_channels: int = 1) -> None:
        super().__init__(width, in_channels)
        hidden = self.num_features // 2
        self.adaption = nn.Sequential(
            nn.Conv2d(self.num_features, hidden, kernel_size=1, bias=False),
            nn.BatchNorm2d(hidden, eps=SONONET_BN_EPSILON),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, num_classes, kernel_size=1, bias=False),
            nn.BatchNorm2d(num_classes, eps=SONONET_BN_EPSILON),
        )
        _draw_weights(self.adaption)

    def class_maps(self, image: Tensor) -> Tensor:
        """Logits at each place, ``[B, num_classes, H/16, W/16]``, of an image ``[B, in_channels, H, W]``."""
        maps: Tensor = self.adaption(self.forward_features(image))
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` (before the softmax) of an image ``[B, in_channels, H, W]``."""
        return self.class_maps(image).mean(dim=(2, 3))
