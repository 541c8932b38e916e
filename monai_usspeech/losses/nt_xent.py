# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""NT-Xent, the loss of SimCLR (Chen et al., ICML 2020, Eq. 1), with a form whose memory is bounded by the block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from monai_usspeech.losses.gather import gather_rows
from monai_usspeech.losses.terms import REDUCTIONS, check_choice, reduce_items, share_figure

__all__ = ["NTXentLoss", "check_block_size", "nt_xent_and_hits", "nt_xent_loss"]


def nt_xent_loss(
    view0: Tensor,
    view1: Tensor,
    temperature: float = 0.5,
    *,
    valid: Tensor | None = None,
    anchors: slice = slice(None),
    block_size: int | None = None,
) -> Tensor:
    """One loss value per item: the mean over its two views as anchors.

    With z the 2N embeddings of both views and s the cosine similarity, an anchor i with positive j (the same item in
    the other view) has ``log sum_{k != i} exp(s(z_i, z_k) / temperature) - s(z_i, z_j) / temperature``. All items given
    are the pool; ``anchors`` selects those whose loss is wanted. Chance level is log(2N - 1); one item alone has 0.

    Args:
        view0: ``[N, D]``.
        view1: ``[N, D]``, the other view of the same items.
        temperature: divides the cosine similarity.
        valid: bool ``[N]``; an item that is not valid is neither an anchor nor in the pool; its loss is 0.
        anchors: items to evaluate.
        block_size: how many anchor rows to compare with the pool at a time. The logits of a block, ``block_size x 2N``,
            are computed again in the backward pass instead of kept; the gradient then has no derivative of its own.
            None: all rows at once.

    Returns:
        ``[n]``, one value per item selected by ``anchors``, in float32 or wider.

    Raises:
        ValueError: when the shapes do not agree.
    """
    return nt_xent_and_hits(view0, view1, temperature, valid=valid, anchors=anchors, block_size=block_size)[0]


def nt_xent_and_hits(
    view0: Tensor,
    view1: Tensor,
    temperature: float = 0.5,
    *,
    valid: Tensor | None = None,
    anchors: slice = slice(None),
    block_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`nt_xent_loss`, and of each item how often its positive is the most similar of its pool.

    Returns:
        The losses ``[n]``; and ``[n]`` of the same dtype, without a gradient, the share of the item's two views as
        anchors that are more similar to their positive than to anything else (a tie is not): 0, 0.5 or 1, and 0 where
        the item is not valid. Chance level is 1 / (2N - 1).

    Raises:
        ValueError: when the shapes do not agree.
    """
    if view0.ndim != 2 or view0.shape != view1.shape:
        shapes = f"{tuple(view0.shape)}, {tuple(view1.shape)}"
        raise ValueError(f"the views must be [N, D] and equal in shape, got {shapes}.")
    n_items, device = view0.shape[0], view0.device
    valid = torch.ones(n_items, dtype=torch.bool, device=device) if valid is None else valid
    if valid.shape != (n_items,):
        raise ValueError(f"valid {tuple(valid.shape)} must have one value per row of {tuple(view0.shape)}.")
    dtype = torch.promote_types(view0.dtype, torch.float32)
    with torch.autocast(device_type=device.type, enabled=False):
        both = torch.cat((view0.to(dtype), view1.to(dtype))).masked_fill(~valid.repeat(2)[:, None], 0.0)
        pool = F.normalize(both, dim=1)
        items = torch.arange(n_items, device=device)[anchors]
        rows, partners = torch.cat((items, items + n_items)), torch.cat((items + n_items, items))
        if block_size is None or block_size >= len(rows):
            logits = _logits(pool, valid, rows, partners, temperature)
            norms, first = torch.logsumexp(logits, 1), _first(logits, partners)
        else:
            norms, first = _BlockedLogSumExp.apply(pool, valid, rows, partners, temperature, block_size)
        values = norms - (pool[rows] / temperature * pool[partners]).sum(1)
        halves = torch.stack((values, first.to(dtype))).view(2, 2, len(items)).mean(1)
        losses, hits = halves.masked_fill(~valid[anchors], 0.0).unbind()
        return losses, hits.detach()


def _logits(
    pool: Tensor, valid: Tensor, rows: Tensor, partners: Tensor, temperature: float, out: Tensor | None = None
) -> Tensor:
    """Logits ``[rows, 2N]`` of the anchors ``rows`` of ``pool [2N, D]``, whose positives are the rows ``partners``."""
    columns = torch.arange(len(pool), device=pool.device)
    # The positive of an anchor that is not valid stays: a row without any term would have no gradient but NaN.
    hidden = (~valid.repeat(2) & (columns != partners[:, None])).logical_or_(columns == rows[:, None])
    return torch.mm(pool[rows] / temperature, pool.T, out=out).masked_fill_(hidden, -torch.inf)


@torch.no_grad()
def _first(logits: Tensor, partners: Tensor) -> Tensor:
    """Bool ``[rows]``: whether the logit of the positive is above all others; written so that NaN is no hit."""
    return (logits >= logits.gather(1, partners[:, None])).sum(1) == 1


class _BlockedLogSumExp(torch.autograd.Function):
    """``logsumexp`` and :func:`_first` of each row of logits, of which one block at a time exists, in one buffer."""

    @staticmethod
    def forward(
        ctx: Any, pool: Tensor, valid: Tensor, rows: Tensor, partners: Tensor, temperature: float, block_size: int
    ) -> tuple[Tensor, Tensor]:
        norms, buffer = pool.new_empty(len(rows)), pool.new_empty(block_size, len(pool))
        first = torch.empty_like(rows, dtype=torch.bool)
        for start in range(0, len(rows), block_size):
            block = slice(start, start + block_size)
            out = buffer[: len(rows[block])]
            logits = _logits(pool, valid, rows[block], partners[block], temperature, out)
            first[block] = _first(logits, partners[block])
            norms[block] = torch.logsumexp(logits, 1)
        ctx.save_for_backward(pool, valid, rows, partners, norms)
        ctx.mark_non_differentiable(first)
        ctx.temperature, ctx.block_size = temperature, block_size
        return norms, first

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pool, valid, rows, partners, norms = ctx.saved_tensors
        total, buffer = torch.zeros_like(pool), pool.new_empty(ctx.block_size, len(pool))
        with torch.autocast(device_type=pool.device.type, enabled=False):
            for start in range(0, len(rows), ctx.block_size):
                block = slice(start, start + ctx.block_size)
                out = buffer[: len(rows[block])]
                softmax = _logits(pool, valid, rows[block], partners[block], ctx.temperature, out)
                softmax.sub_(norms[block, None]).exp_().mul_(gradients[0][block, None] / ctx.temperature)
                total.addmm_(softmax.T, pool[rows[block]])
                total.index_add_(0, rows[block], softmax @ pool)
        return total, None, None, None, None, None


def check_block_size(block_size: int | None) -> int | None:
    """``block_size`` when it is None or at least 1.

    Raises:
        ValueError: when it is not.
    """
    if block_size is not None and block_size < 1:
        raise ValueError(f"block_size must be at least 1 or None, got {block_size}.")
    return block_size


class NTXentLoss(_Loss):
    """Pull the two views of an item together, push both from all views of the other items.

    Under distributed training the pool holds the embeddings of all processes, with gradients, and the loss averaged
    over the processes has the value and the gradient of one process with all items. On one process with the default
    options it equals ``monai.losses.ContrastiveLoss(0.5)``, which overflows at a low temperature and builds
    ``2N x 2N x D`` products.

    After each call ``figures`` holds ``accuracy_contrast``: the share of the anchors of all processes whose positive is
    the most similar of the pool, chance 1 / (2N - 1). It is empty when no item is valid.

    Args:
        temperature: divides the cosine similarity.
        block_size: bounds the memory, see :func:`nt_xent_loss`; the gradients are the same, and the products
            of the forward pass are computed twice.
        reduction: ``"mean"`` over valid items (and so over all 2N anchors), ``"sum"`` over items, or ``"none"`` (one
            value per item of this process, 0 where not valid).

    Raises:
        ValueError: for a temperature or block size that is not positive, or an unknown reduction.

    Example:
        >>> loss = NTXentLoss(temperature=0.1, block_size=256)
        >>> view0, view1 = torch.randn(2, 8, 128)
        >>> loss(view0, view1).shape
        torch.Size([])
    """

    def __init__(self, temperature: float = 0.5, block_size: int | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction=check_choice("reduction", reduction, REDUCTIONS))
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.temperature, self.block_size = float(temperature), check_block_size(block_size)
        self.figures: dict[str, Tensor] = {}

    def forward(self, view0: Tensor, view1: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss of ``view0`` and ``view1``, each ``[N, D]``, over the items where bool ``valid [N]``.

        Raises:
            ValueError: when the shapes do not agree.
        """
        if view0.ndim != 2 or view0.shape != view1.shape:
            shapes = f"{tuple(view0.shape)}, {tuple(view1.shape)}"
            raise ValueError(f"the views must be [N, D] and equal in shape, got {shapes}.")
        valid = torch.ones(len(view0), dtype=torch.bool, device=view0.device) if valid is None else valid.bool()
        dtype = torch.promote_types(view0.dtype, torch.float32)  # gradients of other processes are summed in it
        (pool, every), mine = gather_rows(torch.stack((view0.to(dtype), view1.to(dtype)), dim=1), valid.long())
        all0, all1 = pool.unbind(1)
        values, hits = nt_xent_and_hits(
            all0, all1, self.temperature, valid=every.bool(), anchors=mine, block_size=self.block_size
        )
        self.figures = share_figure("accuracy_contrast", hits, every.sum())
        return reduce_items(values, valid, self.reduction, every.sum())
