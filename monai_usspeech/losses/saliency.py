# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Kullback-Leibler divergence from a gaze density to a predicted one, for training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from monai_usspeech.losses.gather import global_mean, global_sum, world_size

__all__ = ["SaliencyKLLoss", "saliency_kl_loss"]


def saliency_kl_loss(logits: Tensor, target: Tensor) -> Tensor:
    """KL(q || p) of each map in nats, with p the softmax of the logits over the pixels and q the target made sum to 1.

    ``sum q (log q - log p)`` with 0 log 0 = 0 and no epsilon: log p comes from a log-softmax and is finite. At least 0;
    log(h w) - H(q) for constant logits. The metric of the literature adds 2.2e-16 inside its logarithm, which changes
    nothing that can be seen unless p vanishes where q does not.

    Args:
        logits: ``[B, 1, h, w]``.
        target: ``[B, h, w]``, not negative; any positive sum. A NaN in it is a NaN in the result.

    Returns:
        ``[B]``, float32 or wider; exactly 0, with a zero gradient, for a target that is 0 everywhere.

    Raises:
        ValueError: when the shapes do not agree.
    """
    if logits.ndim != 4 or logits.shape[1] != 1 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"logits must be [B, 1, h, w] and target [B, h, w], got {tuple(logits.shape)} and {tuple(target.shape)}."
        )
    dtype = torch.promote_types(torch.promote_types(logits.dtype, target.dtype), torch.float32)
    q = target.to(dtype).flatten(1)
    total = q.sum(dim=1, keepdim=True)
    q = q / torch.where(total == 0, torch.ones_like(total), total)
    log_p = F.log_softmax(logits.to(dtype).flatten(1), dim=1)
    return (torch.xlogy(q, q) - q * log_p).sum(dim=1)


class SaliencyKLLoss(_Loss):
    """Mean of :func:`saliency_kl_loss` over the frames that have gaze.

    A frame whose target sums to 0 has no gaze and does not count. The mean is over the counting frames of all
    processes; it is exactly 0, with a graph, when there are none.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (``[B]``, 0 where a frame does not count).

    Example:
        >>> SaliencyKLLoss()(torch.zeros(2, 1, 4, 4), torch.ones(2, 4, 4))
        tensor(0.)
    """

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss of one batch.

        Args:
            logits: ``[B, 1, h, w]``, before the softmax over pixels.
            target: ``[B, h, w]``, not negative.
            valid: bool ``[B]``, frames that count; None for all. Frames without gaze never do.

        Raises:
            ValueError: when the shapes do not agree.
        """
        has_gaze = target.flatten(1).sum(dim=1) != 0  # a NaN counts, so that it shows
        keep = has_gaze if valid is None else has_gaze & valid
        if keep.shape != target.shape[:1]:
            raise ValueError(f"valid must be [B] for target {tuple(target.shape)}, got {tuple(keep.shape)}.")
        # What does not count is replaced before the arithmetic: its gradient would be NaN where its target is.
        values = saliency_kl_loss(logits, torch.where(keep[:, None, None], target, torch.zeros_like(target)))
        if self.reduction == "mean":
            return global_mean(values, keep, global_sum(keep.sum()))
        return values.sum() * world_size() if self.reduction == "sum" else values
