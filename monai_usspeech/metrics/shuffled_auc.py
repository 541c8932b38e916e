# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Shuffled AUC: can the prediction tell this frame's fixations from those of other frames?

A map that knows only where people look in general, such as a Gaussian at the centre, scores well against uniform
negatives and 0.5 against the fixations of other frames (Tatler et al., Vision Research 45, 2005; Zhang et al., Journal
of Vision 8(7):32, 2008).
"""

from __future__ import annotations

from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_usspeech.metrics._map_checks import checked_maps, drop_channel, map_rows, nan_where
from monai_usspeech.metrics.fixations import exact_area
from monai_usspeech.metrics.frame_mean import FrameMeanMetric

__all__ = ["ShuffledSaliencyAUC", "compute_shuffled_auc", "other_fixations"]

CHUNK = 256  # frames worked on at once at the end, which bounds the memory of their float64 copies


def compute_shuffled_auc(pred: Tensor, fixations: Tensor, others: Tensor, weighted: bool = False) -> Tensor:
    """Exact AUC (Mann-Whitney, ties one half) of a frame's fixated pixels against *all* fixations of other frames.

    Protocol: every fixation of the others is a negative as often as it occurs, also where this frame is fixated too.
    Nothing is drawn at random. The MIT benchmark's protocol is another one: 10 other images, 100 random splits,
    thresholds in steps of 0.1.

    Args:
        pred: ``[B, H, W]``, finite and not negative, any scale.
        fixations: ``[B, H, W]``, bool or counts.
        others: how many fixations of other frames each pixel has, ``[B, H, W]``, or ``[H, W]`` for all frames; see
            :func:`other_fixations`.
        weighted: let a fixated pixel count as often as ``fixations`` says.

    Returns:
        float64 ``[B]``, 0 to 1; NaN where the frame has no fixation, is fixated everywhere, or the others have none.

    Raises:
        ValueError: when shapes differ or a map holds a negative or non-finite value.
    """
    values, counts = checked_maps(pred, fixations, "fixations")
    if tuple(others.shape) not in (tuple(pred.shape), tuple(pred.shape[1:])):
        raise ValueError(
            f"others {tuple(others.shape)} must have the shape of pred {tuple(pred.shape)}, or of one of its maps."
        )
    negative = map_rows(others if others.ndim == 3 else others[None], "others").to(values.device).expand_as(values)
    fixated = counts > 0
    area = exact_area(values, counts if weighted else fixated.double(), negative)
    return nan_where(area, ~fixated.any(1) | fixated.all(1) | (negative.sum(1) == 0))


def other_fixations(fixations: Tensor, groups: Tensor | None = None) -> Tensor:
    """For each frame the number of fixations that all frames of other groups have at each pixel.

    Neighbouring frames of a video share their gaze. With the scan as the group, negatives come from other scans only.

    Args:
        fixations: ``[N, H, W]``, bool or counts; bool counts one for each frame.
        groups: int ``[N]``; without it each frame is its own group.

    Returns:
        float64 ``[N, H, W]``, on the device of ``fixations``.

    Raises:
        ValueError: when the shapes do not agree, or a count is negative or not finite.
    """
    rows = map_rows(fixations, "fixations")
    if groups is None:
        own = rows
    else:
        groups = torch.as_tensor(groups, device=rows.device)
        if tuple(groups.shape) != tuple(rows.shape[:1]):
            raise ValueError(f"groups {tuple(groups.shape)} must have one value per frame of {tuple(fixations.shape)}.")
        names, place = groups.unique(return_inverse=True)
        own = rows.new_zeros(len(names), rows.shape[1]).index_add_(0, place, rows)[place]
    return (rows.sum(0) - own).reshape(tuple(fixations.shape))


class ShuffledSaliencyAUC(FrameMeanMetric):
    """Mean of :func:`compute_shuffled_auc` over frames: all fixations of other frames as negatives, exact.

    Where the negatives come from is part of the result:

    - ``others`` given: the same count map ``[H, W]`` for every frame, for example all fixations of the training
      subjects.
    - second argument of the metric ``[B, 2, H, W]``: channel 0 the fixations, channel 1 the negatives of that frame.
    - otherwise ``[B, H, W]`` or ``[B, 1, H, W]``: the negatives are the fixations of all *other frames of the
      evaluation*. All maps are kept until the mean is asked for. Neighbouring frames of a video are among the negatives
      then; use one of the other two, with :func:`other_fixations`, to leave the frame's own scan out.

    Args:
        others: count map ``[H, W]``, tensor, array or nested lists.
        weighted: let a fixated pixel count as often as the fixations say.
        get_not_nans: whether ``aggregate`` also returns the number of frames that counted.

    Raises:
        ValueError: when ``others`` is not ``[H, W]``.
    """

    def __init__(self, others: Any = None, weighted: bool = False, get_not_nans: bool = False) -> None:
        super().__init__(get_not_nans)
        self.others = None if others is None else convert_to_tensor(others, wrap_sequence=True, track_meta=False)
        if self.others is not None and self.others.ndim != 2:
            raise ValueError(f"others must be [H, W], got {tuple(self.others.shape)}.")
        self.weighted = weighted

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> Tensor | list[Tensor]:  # type: ignore[override]
        pred = drop_channel(y_pred)
        if y.ndim == 4 and y.shape[1] == 2:
            if self.others is not None:
                raise ValueError("the negatives were given twice: as others and as channel 1 of the fixations.")
            return compute_shuffled_auc(pred, y[:, 0], y[:, 1], self.weighted)
        fixations = drop_channel(y)
        if self.others is not None:
            return compute_shuffled_auc(pred, fixations, self.others, self.weighted)
        checked_maps(pred, fixations, "fixations")  # an error belongs to the batch that caused it, not to the end
        return [pred, fixations.to(pred.device)]

    def get_buffer(self) -> Any:
        """The values ``[N]`` of all frames since the last reset, ``None`` when there are none."""
        buffers = super().get_buffer()
        if isinstance(buffers, list):
            total = sum(counts.double().sum(0) for counts in buffers[1].split(CHUNK))
            return torch.cat(
                [
                    compute_shuffled_auc(pred, own, total - own.double(), self.weighted)
                    for pred, own in zip(*(buffer.split(CHUNK) for buffer in buffers))
                ]
            )
        return buffers
