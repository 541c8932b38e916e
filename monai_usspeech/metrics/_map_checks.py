# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the saliency metrics ask of their maps, in one place, so that all refuse the same things with the same words."""

from __future__ import annotations

import torch
from monai.utils import convert_to_tensor
from torch import Tensor

__all__ = ["checked_maps", "drop_channel", "map_rows", "nan_where"]


def map_rows(maps: Tensor, name: str) -> Tensor:
    """The maps as plain float64 rows ``[B, H * W]``.

    Raises:
        ValueError: when ``maps`` is not ``[B, H, W]`` or holds a value that is negative or not finite. A negative value
            is most often a logit; shifting it up, as some toolboxes do, would give another density in silence.
    """
    tensor: Tensor = convert_to_tensor(maps, track_meta=False)
    if tensor.ndim != 3 or tensor.shape[1] * tensor.shape[2] == 0:
        raise ValueError(f"{name} must be [B, H, W] with at least one pixel, got {tuple(tensor.shape)}.")
    if tensor.is_complex():
        raise ValueError(f"{name} must be real, got {tensor.dtype}.")
    rows = tensor.flatten(1).double().contiguous()
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite values.")
    if bool((rows < 0).any()):
        raise ValueError(
            f"{name} holds negative values (lowest {float(rows.min()):g}): give a density or counts, for logits their "
            "softmax over the pixels."
        )
    return rows


def checked_maps(pred: Tensor, other: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Two sets of maps of one shape as float64 rows, on the device of the prediction.

    Raises:
        ValueError: for what :func:`map_rows` refuses, or when the shapes differ.
    """
    if tuple(pred.shape) != tuple(other.shape):
        raise ValueError(
            f"pred {tuple(pred.shape)} and {name} {tuple(other.shape)} must have the same shape [B, H, W]."
        )
    first = map_rows(pred, "pred")
    return first, map_rows(other, name).to(first.device)


def drop_channel(maps: Tensor) -> Tensor:
    """``[B, 1, H, W]`` as ``[B, H, W]``: batches of an engine carry a channel that the functions do without."""
    return maps[:, 0] if maps.ndim == 4 and maps.shape[1] == 1 else maps


def nan_where(values: Tensor, undefined: Tensor) -> Tensor:
    """``values`` with NaN where ``undefined``."""
    return torch.where(undefined, torch.nan, values)
