# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""One forward pass for each view of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

__all__ = ["ViewInferer"]


class ViewInferer(Inferer):
    """Apply a network to each view of a batch, and lay its answers side by side.

    The network is called once for each view, never twice and never on all views at once: in training, batch
    normalisation then normalises each view by its own statistics and updates its running ones once a view. Under
    ``DistributedDataParallel`` with batch normalisation, give it ``broadcast_buffers=False``: it would otherwise
    overwrite the running statistics between the views, which the backward pass refuses.

    Args:
        key_network: when given, the last view goes through it instead, without gradient: the momentum encoder of MoCo
            (He et al., CVPR 2020), whose answers are keys for the queries of the other views.
            :class:`~monai_usspeech.handlers.MomentumEncoderHandler` holds and updates it.

    Example:
        >>> views = torch.zeros(2, 4, 1, 8, 8)
        >>> ViewInferer()(views, lambda image: {"embedding": image.mean((2, 3))})["embedding"].shape
        torch.Size([2, 4, 1])
    """

    def __init__(self, key_network: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.key_network = key_network

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the network over all views.

        Args:
            inputs: ``[V, B, C, h, w]``.
            network: takes images ``[B, C, h, w]`` and answers with a tensor ``[B, ...]`` or a dictionary of them.
            args: further arguments of the network.
            kwargs: further arguments of the network by name.

        Returns:
            ``[V, B, ...]``, or a dictionary of them by the network's names.

        Raises:
            ValueError: for another number of axes, fewer than two views with a key network, or views with answers of
                different names.
        """
        if inputs.ndim != 5:
            raise ValueError(f"expected views [V, B, C, h, w], got the shape {tuple(inputs.shape)}.")
        if self.key_network is None:
            return _stacked([network(view, *args, **kwargs) for view in inputs])
        if len(inputs) < 2:
            raise ValueError(f"a key network needs at least two views, got {len(inputs)}.")
        answers = [network(view, *args, **kwargs) for view in inputs[:-1]]
        with torch.no_grad():
            answers.append(self.key_network(inputs[-1], *args, **kwargs))
        return _stacked(answers)


def _stacked(answers: list[Any]) -> Any:
    """The answers to the views, each name's along a new first axis."""
    if not isinstance(answers[0], Mapping):
        return torch.stack(answers)
    names = [sorted(answer) for answer in answers]
    if any(other != names[0] for other in names):
        raise ValueError(f"the views have answers of different names: {names}.")
    return {name: torch.stack([answer[name] for answer in answers]) for name in answers[0]}
