# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A residual backbone with a feature pyramid on top: ResNet18-FPN, the network of HiCo [1], after Lin et al. [2].

The four stages of the backbone give maps C2 to C5 at strides 4, 8, 16 and 32. A 1 x 1 convolution brings each to the
same number of channels; from the top down each map is enlarged to the size of the next finer one and added to it; a
3 x 3 convolution then gives the levels P2 to P5.

[1] Zhang et al., HiCo: Hierarchical Contrastive Learning for Ultrasound Video Model Pretraining, ACCV 2022.
[2] Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from monai.networks.blocks import Convolution
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from monai_usspeech.networks.backbones import create_backbone

__all__ = ["PYRAMID_LEVELS", "FeaturePyramid", "PyramidNet", "resnet18_fpn"]

PYRAMID_LEVELS = (2, 3, 4, 5)
"""The levels of the pyramid; level n has stride 2 ** n."""

_UPSAMPLING = {"bilinear": False, "nearest": None}  # mode: align_corners


def _convolution(in_channels: int, out_channels: int, kernel_size: int, norm: str | None) -> Convolution:
    """A convolution alone, with a bias; or, without one, followed by batch normalisation and ReLU."""
    return Convolution(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernel_size,
        adn_ordering="NA",
        act="relu",
        norm="batch",
        bias=norm is None,
        conv_only=norm is None,
    )


class FeaturePyramid(nn.Module):
    """The convolutions and the top-down path of a feature pyramid.

    MONAI's and torchvision's ``FeaturePyramidNetwork`` always enlarge by the nearest place, have a 3 x 3 convolution on
    every level and no activation; with ``norm=None, upsample="nearest", smooth_top=True`` this module is the same
    function. Levels that nobody asks for have no 3 x 3 convolution, so every parameter has a gradient.

    Args:
        in_channels: channels of the maps, finest first, such as (64, 128, 256, 512).
        channels: channels of every level.
        norm: ``"bn_relu"``: batch normalisation and ReLU after every convolution, as HiCo's paper has it; None: plain
            convolutions with biases, as in its released code.
        upsample: ``"bilinear"`` (corners not aligned) or ``"nearest"``; to the size of the finer map, whatever it is.
        smooth_top: a 3 x 3 convolution on the coarsest level too. None: as in the paper with ``norm``, as in the
            released code (which has none there) without.
        out_levels: positions in ``in_channels`` of the levels to give; None for all.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (64, 128, 256, 512),
        channels: int = 256,
        norm: str | None = "bn_relu",
        upsample: str = "bilinear",
        smooth_top: bool | None = None,
        out_levels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if norm not in ("bn_relu", None):
            raise ValueError(f'norm must be "bn_relu" or None, got {norm!r}.')
        if upsample not in _UPSAMPLING:
            raise ValueError(f"upsample must be one of {tuple(_UPSAMPLING)}, got {upsample!r}.")
        if channels < 1 or not in_channels or min(in_channels) < 1:
            raise ValueError(f"channels must be positive: {channels} out of {tuple(in_channels)}.")
        top = len(in_channels) - 1
        self.out_levels = sorted(set(range(top + 1) if out_levels is None else out_levels))
        if not self.out_levels or self.out_levels[0] < 0 or self.out_levels[-1] > top:
            raise ValueError(f"out_levels must be positions in 0..{top}, got {out_levels!r}.")
        self.upsample = upsample
        self.align_corners: bool | None = _UPSAMPLING[upsample]
        smoothed = set(self.out_levels) - (set() if (norm is not None if smooth_top is None else smooth_top) else {top})
        self.lateral = nn.ModuleList(_convolution(given, channels, 1, norm) for given in in_channels)
        self.smooth = nn.ModuleList(
            _convolution(channels, channels, 3, norm) if level in smoothed else nn.Identity()
            for level in range(top + 1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in MONAI's and torchvision's pyramids
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Levels ``[B, channels, h_n, w_n]``, finest first, of maps ``[B, in_channels[n], h_n, w_n]``, finest first."""
        if len(maps) != len(self.lateral):
            raise ValueError(f"expected {len(self.lateral)} maps, finest first, got {len(maps)}.")
        merged: list[Tensor] = []
        for n, lateral in enumerate(self.lateral):
            merged.append(lateral(maps[n]))
        for n in range(len(merged) - 2, -1, -1):
            size = merged[n].shape[-2:]
            merged[n] = merged[n] + F.interpolate(
                merged[n + 1], size=size, mode=self.upsample, align_corners=self.align_corners
            )
        levels: list[Tensor] = []
        for n, smooth in enumerate(self.smooth):
            if n in self.out_levels:
                levels.append(smooth(merged[n]))
        return levels


class PyramidNet(nn.Module):
    """A residual backbone called ``video_stream`` and a :class:`FeaturePyramid` on its four stages.

    :func:`~monai_usspeech.networks.load_initialisation` reads weights into the backbone of this network, and into its
    pyramid where the file has one; it takes the backbone out of a checkpoint of this network.

    Args:
        backbone: name in :data:`monai_usspeech.networks.BACKBONES`; any but SonoNet, whose blocks are no stages.
        in_channels: channels of the image.
        channels: channels of every level.
        fpn_norm: ``"bn_relu"`` (paper) or None (released code); see :class:`FeaturePyramid`.
        upsample: ``"bilinear"`` or ``"nearest"``.
        smooth_top: see :class:`FeaturePyramid`.
        out_levels: the levels to give, out of 2, 3, 4, 5.
        backbone_options: further arguments of the backbone, such as ``{"width": 12}`` for ``"se_resnext_small"``.

    Attributes:
        video_stream: the backbone.
        pyramid: the feature pyramid.
        num_features: channels of C5.
        initialised_parts: names of the parts, beside the backbone, that ``load_initialisation`` takes from a checkpoint
            of a network with a pyramid.

    Raises:
        ValueError: for an unknown backbone or an argument out of range.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        in_channels: int = 1,
        channels: int = 256,
        fpn_norm: str | None = "bn_relu",
        upsample: str = "bilinear",
        smooth_top: bool | None = None,
        out_levels: Sequence[int] = PYRAMID_LEVELS,
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if "output_stride" in (backbone_options or {}):
            raise ValueError("a pyramid needs stages at strides 4 to 32; output_stride is no option of its backbone.")
        if not out_levels or not set(out_levels) <= set(PYRAMID_LEVELS):
            raise ValueError(f"out_levels must be out of {PYRAMID_LEVELS}, got {tuple(out_levels)}.")
        stream = None
        if not str(backbone).startswith("sononet"):  # it would refuse the stride first, which explains nothing
            stream = create_backbone(backbone, in_channels=in_channels, output_stride=32, **(backbone_options or {}))
        if not isinstance(stream, ResNet):
            raise ValueError(f'backbone "{backbone}" has no four stages to build a pyramid on; "resnet18" has.')
        self.in_channels = in_channels
        self.initialised_parts = ["pyramid"]
        self.video_stream = stream
        self.num_features = int(stream.num_features)
        self.out_levels = sorted(set(out_levels))
        stages = [cast(int, stage["num_chs"]) for stage in stream.feature_info[1:]]
        positions = [level - PYRAMID_LEVELS[0] for level in self.out_levels]
        self.pyramid = FeaturePyramid(stages, channels, fpn_norm, upsample, smooth_top, positions)

    @torch.jit.export
    def pyramid_levels(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """The pyramid's levels, finest first, and C5, of an image ``[B, in_channels, H, W]``.

        Raises:
            ValueError: for an image of another shape.
        """
        if image.dim() != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"image must be [B, {self.in_channels}, H, W], got {image.shape}.")
        stream = self.video_stream
        # Spelt out, for timm's forward_intermediates cannot be scripted.
        stem = stream.maxpool(stream.act1(stream.bn1(stream.conv1(image))))
        c2 = stream.layer1(stem)  # type: ignore[operator]
        c3 = stream.layer2(c2)  # type: ignore[operator]
        c4 = stream.layer3(c3)  # type: ignore[operator]
        c5 = stream.layer4(c4)  # type: ignore[operator]
        return self.pyramid([c2, c3, c4, c5]), c5

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Maps by name of an image ``[B, in_channels, H, W]``.

        Returns:
            ``"P2"`` to ``"P5"`` (those of ``out_levels``), ``[B, channels, H/2**n, W/2**n]`` rounded up, and ``"C5"``,
            ``[B, num_features, H/32, W/32]``.

        Raises:
            ValueError: for an image of another shape.
        """
        levels, c5 = self.pyramid_levels(image)
        maps = {"C5": c5}
        for n, level in enumerate(self.out_levels):
            maps[f"P{level}"] = levels[n]
        return maps


def resnet18_fpn(
    in_channels: int = 1,
    channels: int = 256,
    fpn_norm: str | None = "bn_relu",
    upsample: str = "bilinear",
    smooth_top: bool | None = None,
) -> PyramidNet:
    """ResNet18 (timm) with a feature pyramid of four levels.

    For a 224 x 224 image P2 is 256 x 56 x 56, P3 256 x 28 x 28, P4 256 x 14 x 14, P5 256 x 7 x 7, and C5 512 x 7 x 7.
    With three input channels ResNet18 has 11,176,512 parameters (11,689,512 with the classifier that is not built
    here), and the pyramid 2,609,152 in the paper's form, 2,017,024 in the released one.

    Args:
        in_channels: channels of the image, 1 or 3.
        channels: channels of every level.
        fpn_norm: ``"bn_relu"``: batch normalisation and ReLU after every convolution, and a 3 x 3 convolution on every
            level (HiCo, section 4.1); None: plain convolutions with biases, and none of 3 x 3 on P5 (released code).
        upsample: ``"bilinear"`` (paper and code) or ``"nearest"`` (Lin et al.).
        smooth_top: a 3 x 3 convolution on P5, whatever ``fpn_norm`` says.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> {name: tuple(value.shape) for name, value in resnet18_fpn()(torch.zeros(1, 1, 64, 64)).items()}["P4"]
        (1, 256, 4, 4)
    """
    return PyramidNet("resnet18", in_channels, channels, fpn_norm, upsample, smooth_top)
