# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Networks of the two downstream tasks (Jiao et al., MICCAI 2020): standard planes, and where the sonographer looks.

Both are the video stream of the pretraining network with new last layers, so that
:func:`~monai_usspeech.networks.load_initialisation` moves pretrained weights into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_usspeech.networks.backbones import cam_layer_of, create_backbone, last_block_of
from monai_usspeech.networks.freezing import STANDARDISE, PartlyFrozen

__all__ = ["FrameClassifier", "SaliencyNet", "spatial_softmax"]


class _VideoStreamNet(PartlyFrozen):
    """A backbone called ``video_stream`` that can be frozen, but for its last residual block if so wanted."""

    def __init__(
        self,
        backbone: str,
        output_stride: int,
        in_channels: int,
        freeze: bool,
        backbone_options: Mapping[str, Any] | None,
        train_last_block: bool = False,
        frozen_norm: str = "eval",
    ) -> None:
        super().__init__()
        options = {"in_channels": in_channels, "output_stride": output_stride, **(backbone_options or {})}
        self.in_channels = in_channels
        self.frozen = freeze
        self.video_stream = create_backbone(backbone, **options)
        self.num_features = int(self.video_stream.num_features)
        self.cam_layer = f"video_stream.{cam_layer_of(self.video_stream)}"
        last = [f"video_stream.{last_block_of(self.video_stream)}"] if freeze and train_last_block else []
        self.freeze_parts(["video_stream"] if freeze else [], last, frozen_norm)

    def _check(self, image: Tensor) -> None:
        if image.dim() != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"image must be [B, {self.in_channels}, H, W], got {image.shape}.")


class FrameClassifier(_VideoStreamNet):
    """Which standard plane does a frame show? The video stream, its global average, one linear layer.

    With ``freeze`` alone it is a linear probe: only the linear layer has gradients, and the backbone keeps its batch
    statistics. A probe's features are standardised before that layer, by a batch normalisation without parameters as
    in He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022: they differ in size a hundredfold from
    one initialisation to another, and one learning rate would measure that. Training needs two frames a batch. Class
    activation maps of a probe need an image with ``requires_grad_()``, for no parameter below the linear layer asks for
    a gradient.

    With ``freeze`` and ``train_last_block`` the backbone's last residual block is trained too, as HiCo's evaluation has
    it (two convolutions of ResNet18 and the linear layer, "the last three layers"; Zhang et al., ACCV 2022). Its
    features change in training, so they are not standardised.

    Args:
        backbone: name in :data:`monai_usspeech.networks.BACKBONES`.
        output_stride: 8, 16 or 32; see :func:`~monai_usspeech.networks.se_resnext50`. SonoNet has 16 only.
        in_channels: channels of the image.
        num_classes: number of classes; 14 in the order of :class:`~monai_usspeech.data.StandardPlane`.
        freeze: train the linear layer alone.
        dropout: share of the pooled features set to 0 in training.
        backbone_options: further arguments of the backbone, such as ``{"width": 12}`` for ``"se_resnext_small"``.
        train_last_block: with ``freeze``, train the backbone's last residual block too; any backbone but SonoNet.
            Without ``freeze`` everything is trained anyway.
        frozen_norm: with ``freeze``, what the batch normalisation of the frozen part does in training: ``"eval"``, use
            and keep its statistics; ``"train"``, use those of the batch and go on collecting (HiCo's released code).

    Attributes:
        video_stream: the backbone.
        head: the linear layer.
        cam_layer: dotted name of the layer whose output class activation maps are made of.

    Raises:
        ValueError: for an unknown backbone or an argument out of range.

    Example:
        >>> net = FrameClassifier("se_resnext_small")
        >>> net(torch.zeros(2, 1, 64, 64)).shape, net.cam_layer
        (torch.Size([2, 14]), 'video_stream.layer4')
    """

    def __init__(
        self,
        backbone: str = "se_resnext50",
        output_stride: int = 16,
        in_channels: int = 1,
        num_classes: int = 14,
        freeze: bool = False,
        dropout: float = 0.0,
        backbone_options: Mapping[str, Any] | None = None,
        train_last_block: bool = False,
        frozen_norm: str = "eval",
    ) -> None:
        super().__init__(backbone, output_stride, in_channels, freeze, backbone_options, train_last_block, frozen_norm)
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes!r}.")
        probe = freeze and not train_last_block
        self.standardise = nn.BatchNorm1d(self.num_features, **STANDARDISE) if probe else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.num_features, num_classes)

    @torch.jit.export
    def features(self, image: Tensor) -> Tensor:
        """Pooled features ``[B, num_features]`` of an image ``[B, in_channels, H, W]``."""
        self._check(image)
        pooled: Tensor = self.video_stream(image)
        return pooled

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of an image ``[B, in_channels, H, W]``.

        Raises:
            ValueError: for another shape.
        """
        logits: Tensor = self.head(self.dropout(self.standardise(self.features(image))))
        return logits


class SaliencyNet(_VideoStreamNet):
    """Where does the sonographer look? The video stream's feature map, two 1 x 1 convolutions, bilinear enlargement.

    The paper changes "only the last layers"; their sizes are ours. A softmax over the pixels makes a density of the
    output: :func:`spatial_softmax`, and inside :class:`~monai_usspeech.losses.SaliencyKLLoss`.

    Args:
        backbone: name in :data:`monai_usspeech.networks.BACKBONES`.
        output_stride: 8, 16 or 32; a 256 x 256 image has 32, 16 or 8 places a side before the enlargement.
        in_channels: channels of the image.
        map_size: height and width of the map.
        hidden: channels between the two convolutions.
        freeze: train the two convolutions alone, on standardised features as in :class:`FrameClassifier`; the backbone
            keeps its batch statistics.
        backbone_options: further arguments of the backbone.

    Attributes:
        video_stream: the backbone.
        head: the two convolutions.
        cam_layer: dotted name of the layer with the last feature map.

    Raises:
        ValueError: for an unknown backbone or an argument out of range.

    Example:
        >>> SaliencyNet("se_resnext_small")(torch.zeros(2, 1, 64, 64)).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        backbone: str = "se_resnext50",
        output_stride: int = 16,
        in_channels: int = 1,
        map_size: Sequence[int] = (64, 64),
        hidden: int = 256,
        freeze: bool = False,
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(backbone, output_stride, in_channels, freeze, backbone_options)
        if len(map_size) != 2 or min(map_size) < 1 or hidden < 1:
            raise ValueError(f"map_size must be two positive numbers and hidden positive, got {map_size}, {hidden}.")
        self.map_size = [int(map_size[0]), int(map_size[1])]
        self.standardise = nn.BatchNorm2d(self.num_features, **STANDARDISE) if freeze else nn.Identity()
        self.head = nn.Sequential(
            nn.Conv2d(self.num_features, hidden, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 1, kernel_size=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``[B, 1, *map_size]``, before the softmax over pixels, of an image ``[B, in_channels, H, W]``.

        Raises:
            ValueError: for another shape.
        """
        self._check(image)
        coarse = self.head(self.standardise(self.video_stream.forward_features(image)))
        return F.interpolate(coarse, size=self.map_size, mode="bilinear", align_corners=False)


def spatial_softmax(logits: Tensor) -> Tensor:
    """A density over the pixels of each map.

    Args:
        logits: ``[B, 1, h, w]``.

    Returns:
        ``[B, h, w]``, positive, each map with sum 1; float32 or wider.

    Raises:
        ValueError: for another shape.
    """
    if logits.ndim != 4 or logits.shape[1] != 1:
        raise ValueError(f"logits must be [B, 1, h, w], got {tuple(logits.shape)}.")
    values = logits.to(torch.promote_types(logits.dtype, torch.float32))
    density: Tensor = values.flatten(1).softmax(dim=1).unflatten(1, logits.shape[2:])
    return density
