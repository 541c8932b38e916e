# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Heads of the three pretraining tasks (Jiao et al., MICCAI 2020): correspondence, projection and frame order."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CorrespondenceHead", "OrderHead", "ProjectionHead"]


def _scaled(features: int, ratio: int, smallest: int) -> int:
    """A head width in proportion to the backbone; ``features`` = 2048 gives the sizes of the paper's network."""
    return max(smallest, features // ratio)


def _pool_to_grid(maps: Tensor, grid: int) -> Tensor:
    """Average a map over ``grid x grid`` cells."""
    height, width = maps.shape[-2:]
    if height % grid == 0 and width % grid == 0:  # adaptive pooling has no deterministic backward on CUDA
        return F.avg_pool2d(maps, (height // grid, width // grid))
    return F.adaptive_avg_pool2d(maps, grid)


class CorrespondenceHead(nn.Module):
    """Does this speech belong to this frame? Concatenation, one hidden layer, two logits.

    The hidden layer is not optional. With a linear classifier the logit of a pair is u(video) + w(speech); both
    marginals are the same under either label, so the constant is the global optimum of a convex problem and nothing is
    learnt.

    Args:
        in_features: length of each pooled feature vector.
        hidden: width of the hidden layer; None for ``max(64, in_features / 4)``, 512 for 2048 features.
    """

    def __init__(self, in_features: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or _scaled(in_features, 4, 64)
        self.fuse = nn.Linear(2 * in_features, hidden)
        self.classify = nn.Linear(hidden, 2)

    def forward(self, video: Tensor, speech: Tensor) -> Tensor:
        """Logits ``[..., 2]`` (0 = no match, 1 = match) of pooled features ``[..., in_features]``."""
        if video.shape != speech.shape:
            raise ValueError(f"video and speech features must pair up: {tuple(video.shape)} and {tuple(speech.shape)}.")
        logits: Tensor = self.classify(F.relu(self.fuse(torch.cat((video, speech), dim=-1))))
        return logits


class ProjectionHead(nn.Module):
    """The non-linear projection h(.) before the contrastive loss: Linear, ReLU, Linear (SimCLR's shape).

    Args:
        in_features: length of the pooled feature vector.
        embedding_dim: length of the embedding.
        hidden: width of the hidden layer; None for ``in_features``.
    """

    def __init__(self, in_features: int, embedding_dim: int = 128, hidden: int | None = None) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, hidden or in_features)
        self.out = nn.Linear(hidden or in_features, embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings ``[..., embedding_dim]`` of features ``[..., in_features]``."""
        embedding: Tensor = self.out(F.relu(self.hidden(features)))
        return embedding


class OrderHead(nn.Module):
    """In which order were these four frames taken? Twelve classes: an order and a reversal of it are one.

    Each frame's feature map keeps its layout (1 x 1 convolution, 4 x 4 grid, one linear layer): from globally averaged
    features the task stays at chance.

    - ``"pairwise"``: each of the six pairs of frames is described by the absolute difference of its two vectors, passed
      through one shared layer; the six are concatenated and classified. Concatenated pairs, as in OPN (Lee et al., ICCV
      2017), must first learn to subtract and leave chance later.
    - ``"concat"``: the four frames are concatenated and classified by one hidden layer.

    Showing the four frames backwards does not change the published label, and with ``symmetric`` it does not change the
    logits: they are averaged over both directions (Lee's reversal augmentation, made exact). It does change the label
    of ``reversal="time"`` (:func:`~monai_usspeech.transforms.order.order_label`), which takes ``symmetric=False``.

    Args:
        in_channels: channels of the feature map.
        num_classes: number of order classes.
        head: ``"pairwise"`` or ``"concat"``.
        grid: side of the grid that the feature map is pooled to.
        reduction: channels kept by the 1 x 1 convolution; None for ``max(16, in_channels / 16)``, 128 for 2048.
        hidden: length of a frame's vector; None for ``max(64, in_channels / 4)``, 512 for 2048.
        symmetric: average over both directions; switch off for labels that are not invariant to showing backwards.

    Raises:
        ValueError: for an unknown ``head``.
    """

    FRAMES = 4

    def __init__(
        self,
        in_channels: int,
        num_classes: int = 12,
        head: str = "pairwise",
        grid: int = 4,
        reduction: int | None = None,
        hidden: int | None = None,
        symmetric: bool = True,
    ) -> None:
        super().__init__()
        if head not in ("pairwise", "concat"):
            raise ValueError(f'head must be "pairwise" or "concat", got {head!r}.')
        reduction = reduction or _scaled(in_channels, 16, 16)
        hidden = hidden or _scaled(in_channels, 4, 64)
        self.head = head
        self.grid = grid
        self.symmetric = symmetric
        self.reduce = nn.Conv2d(in_channels, reduction, kernel_size=1)
        self.frame = nn.Linear(reduction * grid * grid, hidden)
        pairs = list(combinations(range(self.FRAMES), 2))
        self.first, self.second = [i for i, _ in pairs], [j for _, j in pairs]
        if head == "pairwise":
            self.join = nn.Linear(hidden, hidden // 2)
            self.classify = nn.Linear(len(pairs) * (hidden // 2), num_classes)
        else:
            self.join = nn.Linear(self.FRAMES * hidden, hidden)
            self.classify = nn.Linear(hidden, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of four frames' feature maps ``[B, 4, in_channels, h, w]``, in shown order."""
        if features.ndim != 5 or features.shape[1] != self.FRAMES:
            raise ValueError(f"expected feature maps [B, {self.FRAMES}, C, h, w], got {tuple(features.shape)}.")
        maps = self.reduce(features.flatten(0, 1))
        cells = _pool_to_grid(maps, self.grid).flatten(1)
        frames: Tensor = self.frame(cells).unflatten(0, features.shape[:2])
        logits = self._directed(frames)
        return (logits + self._directed(frames.flip(1))) / 2 if self.symmetric else logits

    def _directed(self, frames: Tensor) -> Tensor:
        """Logits for one direction of showing the frames ``[B, 4, hidden]``."""
        if self.head == "concat":
            joined = self.join(F.relu(frames.flatten(1)))
        else:
            joined = self.join((frames[:, self.first] - frames[:, self.second]).abs()).flatten(1)
        logits: Tensor = self.classify(F.relu(joined))
        return logits
