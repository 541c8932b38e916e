# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The pretraining network of the methods that HiCo is compared with: a backbone, a projection, a classifier.

- SimCLR [1] and its video form (two frames of a video), USCL [2]: an embedding of 256; USCL's classes are read from it.
- MoCo v2 [3]: an embedding of 128; its momentum encoder is a second network of this class.
- Supervised learning, Pi-model, temporal ensembling, FixMatch: ``embedding_dim=None``, logits alone.

[1] Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020.
[2] Chen et al., USCL: Pretraining Deep Ultrasound Image Diagnosis Model through Video Contrastive Representation
Learning, MICCAI 2021.
[3] Chen et al., Improved Baselines with Momentum Contrastive Learning, arXiv 2003.04297, 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from monai_usspeech.networks.backbones import create_backbone
from monai_usspeech.networks.heads import ProjectionHead

__all__ = ["ContrastiveNet"]

_CLASSIFIERS = ("features", "embedding")


class ContrastiveNet(nn.Module):
    """A backbone and its global average; from there an embedding, or logits, or both.

    Nothing is built that no output depends on.

    Args:
        backbone: name in :data:`monai_usspeech.networks.BACKBONES`.
        in_channels: channels of the image.
        hidden: width of the hidden layer of the projection.
        embedding_dim: length of the embedding, 256 in SimCLR and USCL as HiCo ran them, 128 in MoCo v2; None for no
            embedding.
        num_classes: number of classes; None for no logits.
        classifier: what the linear layer of the classes reads: ``"features"``, the global average, or
            ``"embedding"``, the output of the projection (USCL).
        backbone_options: further arguments of the backbone, such as ``{"output_stride": 32}``.

    Attributes:
        video_stream: the backbone; :func:`~monai_usspeech.networks.load_initialisation` loads it, and takes it out of a
            checkpoint of this network.
        num_features: length of the global average.
        projection: linear, ReLU, linear, when there is an embedding; else None.
        classify: the linear layer of the classes, when there are any; else None.

    Raises:
        ValueError: for an unknown backbone, an argument out of range, or a network without an output.

    Example:
        >>> net = ContrastiveNet("se_resnext_small", embedding_dim=16, num_classes=12, classifier="embedding")
        >>> {name: tuple(value.shape) for name, value in net(torch.zeros(2, 1, 64, 64)).items()}
        {'embedding': (2, 16), 'logits': (2, 12)}
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        in_channels: int = 1,
        hidden: int = 512,
        embedding_dim: int | None = 256,
        num_classes: int | None = None,
        classifier: str = "features",
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check(hidden, embedding_dim, num_classes, classifier)
        self.in_channels = in_channels
        self.video_stream = create_backbone(backbone, **{"in_channels": in_channels, **(backbone_options or {})})
        self.num_features = int(self.video_stream.num_features)
        self.from_embedding = classifier == "embedding"
        self.projection: nn.Module | None = None
        self.classify: nn.Module | None = None
        read = self.num_features
        if embedding_dim is not None:
            self.projection = ProjectionHead(self.num_features, embedding_dim, hidden=hidden)
            read = embedding_dim if self.from_embedding else read
        if num_classes is not None:
            self.classify = nn.Linear(read, num_classes)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Embedding and logits, those that there are, of one view ``[B, in_channels, H, W]``.

        Returns:
            ``"embedding"``: ``[B, embedding_dim]``, not normalised; ``"logits"``: ``[B, num_classes]``.

        Raises:
            ValueError: for an image of another shape.
        """
        if image.dim() != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"image must be [B, {self.in_channels}, H, W], got {image.shape}.")
        features = self.video_stream(image)
        read = features
        outputs: dict[str, Tensor] = {}
        if self.projection is not None:
            outputs["embedding"] = self.projection(features)
            if self.from_embedding:
                read = outputs["embedding"]
        if self.classify is not None:
            outputs["logits"] = self.classify(read)
        return outputs


def _check(hidden: int, embedding_dim: int | None, num_classes: int | None, classifier: str) -> None:
    if classifier not in _CLASSIFIERS:
        raise ValueError(f"classifier must be one of {_CLASSIFIERS}, got {classifier!r}.")
    if embedding_dim is None and num_classes is None:
        raise ValueError("the network would have no output: give embedding_dim, or num_classes, or both.")
    if embedding_dim is None and classifier == "embedding":
        raise ValueError('classifier "embedding" reads the embedding: give embedding_dim, or classifier "features".')
    if hidden < 1 or (embedding_dim is not None and embedding_dim < 1):
        raise ValueError(f"hidden and embedding_dim must be positive, got {hidden!r} and {embedding_dim!r}.")
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, or None, got {num_classes!r}.")
