# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The pretraining network of HiCo: three embeddings of one view, from fine, middle and coarse levels of a pyramid.

Zhang et al., HiCo: Hierarchical Contrastive Learning for Ultrasound Video Model Pretraining, ACCV 2022. The defaults
are the paper's form; :data:`HICO_CODE_FORM` holds the arguments of the released code's, which differs in its levels,
its heads, its pyramid and its classifier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_usspeech.networks.heads import ProjectionHead
from monai_usspeech.networks.resnet_fpn import PyramidNet

__all__ = [
    "HICO_CODE_FORM",
    "HICO_HEADS",
    "HICO_LEVELS",
    "HiCoNet",
    "check_heads",
    "hico_heads",
    "level_side",
    "read_level",
]

HICO_LEVELS = {"paper": (2, 4, 5), "code": (2, 3, 5)}
"""Levels of the pyramid that give the local, the medium and the global embedding."""

HICO_HEADS = ("local_head", "medium_head", "global_head")
"""Names of the heads in :class:`HiCoNet`, in the order of :data:`HICO_LEVELS`."""

HICO_CODE_FORM: dict[str, Any] = {"levels": "code", "head": "flatten", "fpn_norm": None, "classifier": "backbone"}
"""Arguments of :class:`HiCoNet` for the form of the released code."""


_HEADS = ("gap", "flatten")
_CLASSIFIERS = ("global", "backbone")


def level_side(size: int, level: int) -> int:
    """Places along a side of a level of the pyramid, for an image of ``size`` pixels; every halving rounds up."""
    return math.ceil(size / (1 << level))


def hico_heads(
    levels: Sequence[int], head: str, channels: int, embedding_dim: int, image_size: Sequence[int]
) -> list[nn.Module]:
    """The heads of some levels of a pyramid, for what :func:`read_level` reads of them.

    Args:
        levels: numbers of the levels.
        head: ``"gap"``: one linear layer on the average; ``"flatten"``: linear, ReLU, linear on all places.
        channels: channels of every level.
        embedding_dim: length of the embeddings, and with ``"flatten"`` the hidden width.
        image_size: height and width of the images; read by ``"flatten"`` alone.
    """
    if head == "gap":
        return [nn.Linear(channels, embedding_dim) for _ in levels]
    places = [level_side(image_size[0], n) * level_side(image_size[1], n) for n in levels]
    return [ProjectionHead(channels * count, embedding_dim, hidden=embedding_dim) for count in places]


def check_heads(levels: str, head: str, embedding_dim: int, sides: Sequence[int]) -> None:
    """Check what decides the heads.

    Raises:
        ValueError: when an argument is out of range.
    """
    for name, value, known in (("levels", levels, tuple(HICO_LEVELS)), ("head", head, _HEADS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}.")
    if embedding_dim < 1:
        raise ValueError(f"embedding_dim must be positive, got {embedding_dim!r}.")
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"image_size must be a positive side, or height and width, got {sides}.")


def read_level(level: Tensor, flatten: bool) -> Tensor:
    """What a head reads of a level ``[B, C, h, w]``: its average ``[B, C]``, or all of it ``[B, C * h * w]``."""
    return level.flatten(1) if flatten else level.mean(dim=(2, 3))


def _check(
    levels: str, head: str, classifier: str, embedding_dim: int, num_classes: int | None, sides: Sequence[int]
) -> None:
    check_heads(levels, head, embedding_dim, sides)
    if classifier not in _CLASSIFIERS:
        raise ValueError(f"classifier must be one of {_CLASSIFIERS}, got {classifier!r}.")
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, or None, got {num_classes!r}.")


class HiCoNet(PyramidNet):
    """A backbone, a feature pyramid, and an embedding of each of three of its levels.

    Nothing is built that no output depends on: not the 3 x 3 convolution of the unused level, and no classifier without
    ``num_classes``.

    Args:
        backbone: name in :data:`monai_usspeech.networks.BACKBONES`; any but SonoNet. ``"se_resnext_small"`` with a
            smaller ``channels`` is the size for CPUs.
        in_channels: channels of the image; 1, or 3 as published.
        levels: ``"paper"``: local, medium and global are P2, P4 and P5; ``"code"``: P2, P3 and P5.
        head: ``"gap"``: the average of the level, then one linear layer (the paper's "1-layer MLP"); ``"flatten"``: all
            places of the level, linear, ReLU, linear (released code), 260 million parameters at 224 x 224.
        embedding_dim: length of the embeddings; with ``"flatten"`` the hidden width too.
        num_classes: number of classes of ``"logits"``; None for none.
        classifier: ``"global"``: one linear layer on the global embedding (Algorithm 1 of the paper); ``"backbone"``:
            the average of C5, linear, ReLU, linear (released code), so that the classes teach nothing to the pyramid.
        fpn_norm: ``"bn_relu"`` (paper) or None (released code); see
            :class:`~monai_usspeech.networks.resnet_fpn.FeaturePyramid`.
        upsample: ``"bilinear"`` or ``"nearest"``.
        channels: channels of every level of the pyramid.
        image_size: side, or height and width, of the images; read by ``"flatten"`` alone, which fits one size.
        backbone_options: further arguments of the backbone.

    Attributes:
        video_stream: the backbone; :func:`~monai_usspeech.networks.load_initialisation` loads it, and takes it out of a
            checkpoint of this network.
        pyramid: the feature pyramid.
        local_head, medium_head, global_head: the heads of the embeddings.
        classify: the classifier, when there is one.

    Raises:
        ValueError: for an unknown backbone or an argument out of range.

    Example:
        >>> net = HiCoNet("se_resnext_small", channels=32, embedding_dim=16, num_classes=12)
        >>> {name: tuple(value.shape) for name, value in net(torch.zeros(2, 1, 64, 64)).items()}
        {'local': (2, 16), 'medium': (2, 16), 'global': (2, 16), 'logits': (2, 12)}
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        in_channels: int = 1,
        levels: str = "paper",
        head: str = "gap",
        embedding_dim: int = 256,
        num_classes: int | None = None,
        classifier: str = "global",
        fpn_norm: str | None = "bn_relu",
        upsample: str = "bilinear",
        channels: int = 256,
        image_size: int | Sequence[int] = 224,
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
        _check(levels, head, classifier, embedding_dim, num_classes, sides)
        used = HICO_LEVELS[levels]
        super().__init__(
            backbone, in_channels, channels, fpn_norm, upsample, out_levels=used, backbone_options=backbone_options
        )
        self.image_size = [int(sides[0]), int(sides[1])]
        self.flatten = head == "flatten"
        heads = hico_heads(used, head, channels, embedding_dim, self.image_size)
        self.local_head, self.medium_head, self.global_head = heads
        self.from_backbone = classifier == "backbone"
        self.classify: nn.Module | None = None
        if num_classes is not None and self.from_backbone:
            self.classify = ProjectionHead(self.num_features, num_classes, hidden=embedding_dim)
        elif num_classes is not None:
            self.classify = nn.Linear(embedding_dim, num_classes)

    @torch.jit.export
    def summarise(self, level: Tensor) -> Tensor:
        """What a head reads of a level ``[B, C, h, w]``: its average ``[B, C]``, or all of it ``[B, C * h * w]``."""
        return read_level(level, self.flatten)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Embeddings, and logits where there is a classifier, of one view ``[B, in_channels, H, W]``.

        Returns:
            ``"local"``, ``"medium"``, ``"global"``: ``[B, embedding_dim]``, not normalised; ``"logits"``:
            ``[B, num_classes]``, when ``num_classes`` was given.

        Raises:
            ValueError: for an image of another shape.
        """
        if self.flatten and (image.shape[-2] != self.image_size[0] or image.shape[-1] != self.image_size[1]):
            raise ValueError(
                f"the flatten heads were built for image_size {self.image_size}, got an image {image.shape}."
            )
        levels, c5 = self.pyramid_levels(image)
        whole = self.global_head(self.summarise(levels[2]))
        outputs = {
            "local": self.local_head(self.summarise(levels[0])),
            "medium": self.medium_head(self.summarise(levels[1])),
            "global": whole,
        }
        if self.classify is not None:
            outputs["logits"] = self.classify(c5.mean(dim=(2, 3)) if self.from_backbone else whole)
        return outputs
