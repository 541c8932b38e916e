# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Momentum contrast: InfoNCE against a queue of earlier keys (He et al., CVPR 2020; v2: Chen et al., 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from monai_usspeech.losses.gather import gather_rows, global_sum
from monai_usspeech.losses.terms import REDUCTIONS, check_choice, reduce_items, share_figure

__all__ = ["MoCoLoss", "moco_and_hits", "moco_loss"]


def moco_loss(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    """``log(exp(q.k/T) + sum_j exp(q.n_j/T)) - q.k/T`` with cosine similarities, one value per query.

    Args:
        query: ``[N, D]``, with gradient.
        key: ``[N, D]``, the other view of the same items from the momentum encoder; its gradient is stopped.
        queue: ``[K, D]``, the negatives.
        temperature: divides the similarities.

    Returns:
        ``[N]``, in float32 or wider; chance level log(K + 1).

    Raises:
        ValueError: when the shapes do not agree.
    """
    return moco_and_hits(query, key, queue, temperature)[0]


def moco_and_hits(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2) -> tuple[Tensor, Tensor]:
    """:func:`moco_loss`, and bool ``[N]``: the query is more similar to its key than to all of the queue.

    Raises:
        ValueError: when the shapes do not agree.
    """
    if query.ndim != 2 or query.shape != key.shape or queue.ndim != 2 or queue.shape[1] != query.shape[1]:
        shapes = ", ".join(str(tuple(y.shape)) for y in (query, key, queue))
        raise ValueError(f"query and key must be [N, D] and the queue [K, D], got {shapes}.")
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(device_type=query.device.type, enabled=False):
        q, k, negatives = (F.normalize(y.to(dtype), dim=1) for y in (query, key.detach(), queue.detach()))
        q = q / temperature
        positive = (q * k).sum(1, keepdim=True)
        logits = torch.cat((positive, q @ negatives.T), 1)
        # A tie is no hit, and neither is NaN.
        hits = (logits.detach() >= positive.detach()).sum(1) == 1
        return torch.logsumexp(logits, 1) - positive[:, 0], hits


class MoCoLoss(_Loss):
    """Find the key of the same item among those of earlier batches.

    The queue is a ring of the last keys of all processes, in the order of the ranks; it begins with random directions,
    as in the authors' code. A batch is compared with the queue before its own keys go in. Queue and position are
    buffers, alike in all processes, and part of ``state_dict``; in evaluation mode the queue is only read.

    After each call ``figures`` holds ``accuracy_contrast``: the share of the queries of all processes that are more
    similar to their key than to all of the queue, chance 1 / (K + 1).

    Args:
        embedding_dim: D.
        queue_size: K. Any number; below the number of training items, or an item meets its own earlier key as a
            negative.
        temperature: 0.2 in MoCo v2, 0.07 in v1.
        seed: of the first queue; the same in all processes.
        reduction: ``"mean"`` over the items of all processes, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: for a number that is not positive or an unknown reduction.

    Example:
        >>> loss = MoCoLoss(embedding_dim=128, queue_size=4096)
        >>> query, key = torch.randn(2, 8, 128)
        >>> loss(query, key).shape
        torch.Size([])
    """

    queue: Tensor
    position: Tensor

    def __init__(
        self,
        embedding_dim: int = 128,
        queue_size: int = 4096,
        temperature: float = 0.2,
        seed: int = 0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=check_choice("reduction", reduction, REDUCTIONS))
        if min(embedding_dim, queue_size) < 1 or temperature <= 0:
            raise ValueError(
                "embedding_dim, queue_size and temperature must be positive, "
                f"got {embedding_dim}, {queue_size}, {temperature}."
            )
        self.temperature = float(temperature)
        self.figures: dict[str, Tensor] = {}
        directions = torch.randn(queue_size, embedding_dim, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("queue", F.normalize(directions, dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """The loss of ``query`` and ``key``, each ``[N, D]``; then the keys go into the queue.

        Raises:
            ValueError: when the shapes do not agree.
        """
        values, hits = moco_and_hits(query, key, self.queue, self.temperature)
        if self.training:
            self._enqueue(key.detach())
        count = global_sum(torch.tensor(len(values), device=values.device))
        self.figures = share_figure("accuracy_contrast", hits, count)
        return reduce_items(values, torch.ones_like(hits), self.reduction, count)

    @torch.no_grad()
    def _enqueue(self, key: Tensor) -> None:
        (keys,), _ = gather_rows(F.normalize(key.to(self.queue.dtype), dim=1))
        size, n_keys = len(self.queue), len(keys)
        kept = keys[-size:]
        steps = torch.arange(n_keys - len(kept), n_keys, device=keys.device)
        # Not in place: the backward pass of this step still needs the queue that the queries were compared with.
        self.queue = self.queue.index_copy(0, (self.position + steps) % size, kept)
        self.position = (self.position + n_keys) % size
