# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from monai_usspeech.metrics import FrameMeanMetric


class FirstColumn(FrameMeanMetric):
    """The first number of each frame."""

    def _compute_tensor(self, y_pred, y=None):
        return y_pred[:, 0].double()


def test_mean_over_the_frames_that_have_a_value():
    metric = FirstColumn(get_not_nans=True)
    assert (metric.n_frames, metric.n_counted) == (0, 0)
    metric(torch.tensor([[1.0], [torch.nan], [4.0]]))
    metric(torch.tensor([[torch.nan]]))
    metric(torch.tensor([[7.0]]))
    mean, count = metric.aggregate()
    assert (mean.item(), count.item(), mean.dtype) == (4, 3, torch.float64)
    assert (metric.n_frames, metric.n_counted, len(metric)) == (5, 3, 5)


def test_many_small_values_are_not_lost_beside_a_large_one():
    metric = FirstColumn()
    metric(torch.tensor([[2.0**25], *[[1.0]] * 1000]))
    assert metric.aggregate().item() == (2**25 + 1000) / 1001


def test_without_a_value_the_mean_is_nan_and_without_frames_an_error():
    metric = FirstColumn()
    with pytest.raises(ValueError, match="FirstColumn was given no frames"):
        metric.aggregate()
    metric(torch.full((3, 1), torch.nan))
    assert metric.aggregate().isnan()
    assert (metric.n_frames, metric.n_counted) == (3, 0)
    metric.reset()
    assert metric.n_frames == 0
