# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A metric with one value per frame, of which some are undefined."""

from __future__ import annotations

from abc import abstractmethod

import torch
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

__all__ = ["FrameMeanMetric"]


class FrameMeanMetric(CumulativeIterationMetric):
    """The mean over frames of a value that each frame has or, being undefined there, is NaN.

    Frames without a value are left out of the mean and counted. MONAI's own reduction is not used: it works in float32,
    and gives 0 where no frame has a value.

    ``metric(pred, target)`` adds a batch and returns its values ``[B]``; :meth:`get_buffer` returns those of all frames
    so far, of all processes, in float64. Under distributed training call the methods and properties below in every
    process.

    Args:
        get_not_nans: whether :meth:`aggregate` also returns the number of frames that counted.
    """

    def __init__(self, get_not_nans: bool = False) -> None:
        super().__init__()
        self.get_not_nans = get_not_nans

    @abstractmethod
    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None) -> Tensor | list[Tensor]:  # type: ignore[override]
        """One value per frame, ``[B]``."""

    def _values(self) -> Tensor:
        values = self.get_buffer()
        return torch.zeros(0, dtype=torch.float64) if values is None else values

    @property
    def n_frames(self) -> int:
        """How many frames were given since the last reset."""
        return len(self._values())

    @property
    def n_counted(self) -> int:
        """How many of them have a value and are in the mean."""
        return int((~self._values().isnan()).sum())

    def aggregate(self) -> Tensor | tuple[Tensor, Tensor]:
        """The mean as a float64 scalar, NaN when no frame has a value; with ``get_not_nans`` also their number.

        Raises:
            ValueError: when no frame was given since the last reset.
        """
        values = self._values()
        if len(values) == 0:
            raise ValueError(f"{type(self).__name__} was given no frames.")
        mean = torch.nanmean(values)
        return (mean, (~values.isnan()).sum()) if self.get_not_nans else mean
