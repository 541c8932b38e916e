# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The only place where a loss knows that there are other processes.

Distributed training averages gradients over the W processes. A loss that is a mean over items therefore needs care:
each process divides its own sum by the *global* number of items and multiplies by W, and items of other processes that
enter a process's sum must carry gradients back. Then the averaged gradient is the gradient of one process with all
items. Without an initialised process group every function here does nothing.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from torch import Tensor
from torch.nn import functional as F

__all__ = ["gather_rows", "global_mean", "global_sum", "replicated", "world_size"]


def world_size() -> int:
    """Number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def global_sum(values: Tensor) -> Tensor:
    """The sum of ``values`` over all processes, without a gradient."""
    total = values.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def global_mean(values: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """This process's share of a mean over the valid items of all processes.

    Args:
        values: ``[N]``, one value per item of this process.
        valid: bool ``[N]``; items that are not valid count for nothing, whatever their value.
        count: number of valid items of all processes.

    Returns:
        A scalar whose average over the processes is the mean over all valid items, and so is its gradient's. Exactly 0,
        with a graph to ``values``, when nothing is valid.
    """
    total = torch.where(valid, values, torch.zeros_like(values)).sum()
    return total * world_size() / count.clamp_min(1).to(total.dtype)


def gather_rows(*tensors: Tensor) -> tuple[list[Tensor], slice]:
    """Stack the rows of all processes, in rank order.

    Gradients of a stack flow back to the process that a row came from, summed over the processes that used it.

    Args:
        tensors: each ``[n, ...]``; n is the same for all of them and may differ between processes.

    Returns:
        The stacks, each ``[N, ...]``, and where this process's rows lie in them.
    """
    n_rows = tensors[0].shape[0]
    if world_size() == 1:
        return list(tensors), slice(0, n_rows)
    sizes = torch.zeros(world_size(), dtype=torch.int64, device=tensors[0].device)
    sizes[dist.get_rank()] = n_rows
    dist.all_reduce(sizes)
    lengths: list[int] = sizes.tolist()
    start = sum(lengths[: dist.get_rank()])
    return [_stack(rows, lengths) for rows in tensors], slice(start, start + n_rows)


def _stack(rows: Tensor, lengths: list[int]) -> Tensor:
    """Gather ``rows`` of every process; collectives want equal shapes, so shorter ones are padded on the way."""
    padded = F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, max(lengths) - rows.shape[0])).contiguous()
    if padded.requires_grad:
        parts = dist_nn.all_gather(padded)
    else:
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
    return torch.cat([part[:n] for part, n in zip(parts, lengths)])


class _Replicated(torch.autograd.Function):
    """The value as it is; its gradient averaged over the processes."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        return global_sum(gradients[0]) / world_size()


def replicated(parameter: Tensor) -> Tensor:
    """Use a loss's own parameter so that it stays the same in all processes.

    A learnable temperature belongs to the loss, and the loss is not wrapped for distributed training as the network is;
    averaging its gradient here gives it the same treatment.
    """
    if world_size() == 1:
        return parameter
    value: Tensor = _Replicated.apply(parameter)
    return value
