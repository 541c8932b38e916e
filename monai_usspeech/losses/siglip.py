# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Pairwise sigmoid loss between frames and speech (Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from monai_usspeech.losses.gather import gather_rows, global_mean, replicated, world_size

__all__ = ["SigLIPLoss", "siglip_loss"]


def siglip_loss(
    video: Tensor, speech: Tensor, positive: Tensor, scale: float | Tensor, bias: float | Tensor, pool_valid: Tensor
) -> Tensor:
    """Sum over the pool of ``-log sigmoid(z (scale v.s + bias))`` for each frame; z = 1 for positives, else -1.

    Args:
        video: ``[n, D]``, of unit length.
        speech: ``[N, D]``, of unit length.
        positive: bool ``[n, N]``: which speech belongs to which frame; a frame may have several.
        scale: factor of the cosine similarity.
        bias: added to it.
        pool_valid: bool ``[N]``; speech to leave out is False.

    Returns:
        ``[n]``.
    """
    logits = video @ speech.T * scale + bias
    terms = F.softplus(torch.where(positive, -logits, logits))
    return torch.where(pool_valid, terms, torch.zeros_like(terms)).sum(1)


class SigLIPLoss(_Loss):
    """Is this the speech of this frame? asked of every pair on its own: no softmax over the batch.

    Items of one clip count as positives of one another. The speech of all processes is gathered with gradients.

    Args:
        temperature: the learnable scale starts at its inverse (paper: 0.1).
        bias: where the learnable bias starts (paper: -10, so that at first nearly all pairs are rightly negative).
        reduction: ``"mean"`` over valid items, ``"sum"``, or ``"none"``.
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(
        self, video: Tensor, speech: Tensor, clip_id: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """The loss of ``video`` and ``speech``, each ``[N, D]``.

        Args:
            video: frame embeddings.
            speech: embeddings of the speech that belongs to each frame.
            clip_id: int ``[N]``, the same for items of one clip, in all processes; None: every item is its own clip.
            valid: bool ``[N]``; items that count.

        Raises:
            ValueError: when the shapes do not agree.
        """
        if video.ndim != 2 or video.shape != speech.shape:
            raise ValueError(f"video and speech must be [N, D], got {tuple(video.shape)} and {tuple(speech.shape)}.")
        n_items = video.shape[0]
        valid = torch.ones(n_items, dtype=torch.bool, device=video.device) if valid is None else valid
        # Without clip numbers -1 marks "no other item"; the diagonal is added below.
        clips = torch.full((n_items,), -1, device=video.device) if clip_id is None else clip_id.long()
        dtype = torch.promote_types(video.dtype, torch.float32)
        with torch.autocast(device_type=video.device.type, enabled=False):
            keep = valid[:, None]
            yv, ys = (F.normalize(y.to(dtype).masked_fill(~keep, 0.0), dim=1) for y in (video, speech))
            (pool, numbers), own = gather_rows(ys, torch.stack((clips, valid.long()), dim=1))
            every, every_valid = numbers[:, 0], numbers[:, 1].bool()
            positive = (clips[:, None] == every[None]) & (every[None] >= 0)
            positive[:, own].fill_diagonal_(True)
            values = siglip_loss(
                yv, pool, positive, replicated(self.log_scale).exp(), replicated(self.bias), every_valid
            )
        if self.reduction == "mean":
            return global_mean(values, valid, every_valid.sum())
        kept = torch.where(valid, values, torch.zeros_like(values))
        return kept.sum() * world_size() if self.reduction == "sum" else kept
