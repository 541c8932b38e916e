# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A classifier of frames on HiCo's pyramid, for evaluating what the pyramid has learnt beside its backbone.

Zhang et al., HiCo: Hierarchical Contrastive Learning for Ultrasound Video Model Pretraining, ACCV 2022. The comparison
that gives every method the same read-out is :class:`~monai_usspeech.networks.FrameClassifier`, on C5 alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_usspeech.networks.backbones import cam_layer_of, last_block_of
from monai_usspeech.networks.freezing import STANDARDISE, PartlyFrozen
from monai_usspeech.networks.hico import HICO_HEADS, HICO_LEVELS, check_heads, hico_heads, level_side, read_level
from monai_usspeech.networks.resnet_fpn import PYRAMID_LEVELS, PyramidNet

__all__ = ["PyramidClassifier"]

_READ_OUTS = ("heads", "code")


class PyramidClassifier(PartlyFrozen, PyramidNet):
    """A backbone, a feature pyramid, a read-out of its levels that is not trained, and one linear layer.

    - ``read_out="heads"``: the three embeddings of a pretrained :class:`~monai_usspeech.networks.HiCoNet`, side by
      side.
    - ``read_out="code"``: what the released evaluation reads. All places of P2 to P5 and the average of C5 each pass
      through a linear layer and a ReLU, and the five results are put side by side (1280 numbers). Those layers are
      drawn at random and neither loaded nor trained, for the released code leaves the pretrained ones behind and
      freezes the new ones. At 224 x 224 they hold 273 million numbers.

    Trained are the backbone's last residual block, the pyramid's 1 x 1 convolution of C5 (with its batch normalisation
    where it has one) and the linear layer: "the last three layers" of the released code.

    :func:`~monai_usspeech.networks.load_initialisation` takes backbone and pyramid, and with ``"heads"`` the heads too,
    from a checkpoint of a HiCoNet of the same form, and refuses a file without them; see there for the exceptions.

    Args:
        backbone: name in :data:`monai_usspeech.networks.BACKBONES`; any but SonoNet.
        in_channels: channels of the image.
        num_classes: number of classes.
        read_out: ``"heads"`` or ``"code"``.
        freeze: False trains everything, the random layers of ``"code"`` too.
        train_last_block: with ``freeze``, False trains the linear layer alone, on standardised values as in
            :class:`~monai_usspeech.networks.FrameClassifier`.
        frozen_norm: with ``freeze``, what the batch normalisation of the frozen parts does in training: ``"eval"``, use
            and keep its statistics; ``"train"``, use those of the batch and go on collecting (released code).
        levels: levels of the heads, ``"paper"`` or ``"code"``; see :class:`~monai_usspeech.networks.HiCoNet`. Read by
            ``"heads"`` alone.
        head: ``"gap"`` or ``"flatten"``; see there. Read by ``"heads"`` alone.
        fpn_norm: ``"bn_relu"`` (paper) or None (released code); that of the pretraining.
        upsample: ``"bilinear"`` or ``"nearest"``.
        channels: channels of every level of the pyramid.
        embedding_dim: length of each embedding, or of each random projection.
        image_size: side, or height and width, of the images; read by ``"flatten"`` and ``"code"``, which fit one size.
        dropout: share of the numbers read out that is set to 0 in training.
        output_stride: 32, the only one that a pyramid stands on; named so that configurations can say it of every
            classifier.
        backbone_options: further arguments of the backbone.

    Attributes:
        video_stream: the backbone.
        pyramid: the feature pyramid.
        local_head, medium_head, global_head: the heads, with ``"heads"``.
        projections: the random layers of P2, P3, P4, P5 and C5, with ``"code"``.
        head: the linear layer.
        cam_layer: dotted name of the layer whose output class activation maps are made of.

    Raises:
        ValueError: for an unknown backbone or an argument out of range.

    Example:
        >>> net = PyramidClassifier("se_resnext_small", channels=32, embedding_dim=16)
        >>> net(torch.zeros(2, 1, 64, 64)).shape, net.features(torch.zeros(2, 1, 64, 64)).shape
        (torch.Size([2, 3]), torch.Size([2, 48]))
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        in_channels: int = 1,
        num_classes: int = 3,
        read_out: str = "heads",
        freeze: bool = True,
        train_last_block: bool = True,
        frozen_norm: str = "eval",
        levels: str = "paper",
        head: str = "gap",
        fpn_norm: str | None = "bn_relu",
        upsample: str = "bilinear",
        channels: int = 256,
        embedding_dim: int = 256,
        image_size: int | Sequence[int] = 224,
        dropout: float = 0.0,
        output_stride: int = 32,
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
        _check(read_out, levels, head, num_classes, embedding_dim, sides, output_stride)
        used = HICO_LEVELS[levels] if read_out == "heads" else PYRAMID_LEVELS
        super().__init__(
            backbone, in_channels, channels, fpn_norm, upsample, out_levels=used, backbone_options=backbone_options
        )
        self.image_size = [int(sides[0]), int(sides[1])]
        self.flatten = head == "flatten" or read_out == "code"
        parts = self._add_read_out(read_out, head, channels, embedding_dim)
        width = embedding_dim * len(parts if read_out == "heads" else self.projections)
        probe = freeze and not train_last_block
        self.standardise = nn.BatchNorm1d(width, **STANDARDISE) if probe else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)
        self.cam_layer = f"video_stream.{cam_layer_of(self.video_stream)}"
        top = f"pyramid.lateral.{len(self.pyramid.lateral) - 1}"
        last = (f"video_stream.{last_block_of(self.video_stream)}", top) if freeze and train_last_block else ()
        self.freeze_parts(("video_stream", "pyramid", *parts) if freeze else (), last, frozen_norm)

    def _add_read_out(self, read_out: str, head: str, channels: int, embedding_dim: int) -> Sequence[str]:
        """Build what reads the levels, and name its parts."""
        self.local_head: nn.Module | None = None
        self.medium_head: nn.Module | None = None
        self.global_head: nn.Module | None = None
        self.projections = nn.ModuleList()
        if read_out == "heads":
            self.initialised_parts = ["pyramid", *HICO_HEADS]
            heads = hico_heads(self.out_levels, head, channels, embedding_dim, self.image_size)
            self.local_head, self.medium_head, self.global_head = heads
            return HICO_HEADS
        height, width = self.image_size
        sizes = [channels * level_side(height, n) * level_side(width, n) for n in self.out_levels]
        self.projections.extend(nn.Linear(size, embedding_dim) for size in [*sizes, self.num_features])
        return ("projections",)

    @torch.jit.export
    def features(self, image: Tensor) -> Tensor:
        """What the linear layer reads of an image ``[B, in_channels, H, W]``.

        Returns:
            ``[B, 3 * embedding_dim]``: local, medium and global embedding; with ``read_out="code"``
            ``[B, 5 * embedding_dim]``: of P2, P3, P4, P5 and C5, none below 0.

        Raises:
            ValueError: for an image of another shape.
        """
        if self.flatten and (image.shape[-2] != self.image_size[0] or image.shape[-1] != self.image_size[1]):
            raise ValueError(f"the read-out was built for image_size {self.image_size}, got an image {image.shape}.")
        levels, c5 = self.pyramid_levels(image)
        read: list[Tensor] = []
        if self.local_head is not None and self.medium_head is not None and self.global_head is not None:
            read.append(self.local_head(read_level(levels[0], self.flatten)))
            read.append(self.medium_head(read_level(levels[1], self.flatten)))
            read.append(self.global_head(read_level(levels[2], self.flatten)))
        for n, projection in enumerate(self.projections):
            given = read_level(levels[n], True) if n < len(levels) else read_level(c5, False)
            read.append(F.relu(projection(given)))
        return torch.cat(read, dim=1)

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        """Logits ``[B, num_classes]`` of an image ``[B, in_channels, H, W]``.

        Raises:
            ValueError: for an image of another shape.
        """
        logits: Tensor = self.head(self.dropout(self.standardise(self.features(image))))
        return logits


def _check(
    read_out: str,
    levels: str,
    head: str,
    num_classes: int,
    embedding_dim: int,
    sides: Sequence[int],
    output_stride: int,
) -> None:
    if read_out not in _READ_OUTS:
        raise ValueError(f"read_out must be one of {_READ_OUTS}, got {read_out!r}.")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes!r}.")
    if output_stride != 32:
        raise ValueError(f"a pyramid stands on output_stride 32, got {output_stride!r}.")
    check_heads(levels, head, embedding_dim, sides)
