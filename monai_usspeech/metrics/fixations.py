# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Saliency metrics at the fixated pixels: normalised scanpath saliency and areas under ROC curves.

Definitions of Bylinskii et al., "What do different evaluation metrics tell us about saliency models?", IEEE TPAMI
41(3), 2019. ``fixations`` says which pixels were looked at, bool or counts; several gaze samples on one pixel count
once unless ``weighted`` is set. Everything is computed in float64.

A frame has no value (NaN) when no pixel is fixated, and when all are: nothing is left to tell them apart from.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_usspeech.metrics._map_checks import checked_maps, drop_channel, nan_where
from monai_usspeech.metrics.frame_mean import FrameMeanMetric

__all__ = [
    "NormalizedScanpathSaliency",
    "SaliencyAUC",
    "chance_auc_judd",
    "compute_nss",
    "compute_saliency_auc",
]

AUC_VARIANTS = ("judd", "exact")


def compute_nss(pred: Tensor, fixations: Tensor, ddof: int = 1, weighted: bool = False) -> Tensor:
    """Normalised scanpath saliency: mean over the fixated pixels of ``(pred - mean) / standard deviation``.

    0 is chance, higher is better, no upper limit. A constant prediction gets 0.

    Args:
        pred: ``[B, H, W]``, finite and not negative, any scale.
        fixations: ``[B, H, W]``, bool or counts.
        ddof: 1 for the standard deviation of MATLAB and torch (over n - 1), 0 for that of numpy and pysaliency.
        weighted: let a pixel count as often as ``fixations`` says.

    Returns:
        float64 ``[B]``, NaN where no pixel or every pixel is fixated.

    Raises:
        ValueError: when shapes differ, a map holds a negative or non-finite value, or ``ddof`` is not 0 or 1.
    """
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 or 1, got {ddof}.")
    values, weights, undefined = _split(pred, fixations, weighted)
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    flat = high == low
    # Stretched to 0..1 first: NSS does not change, and squares of tiny densities cannot underflow.
    values = (values - low) / torch.where(flat, 1.0, high - low)
    centred = values - values.mean(1, keepdim=True)
    variance = centred.square().sum(1, keepdim=True) / max(values.shape[1] - ddof, 1)
    standard = centred / torch.where(flat, 1.0, variance.sqrt())
    score = (weights * standard).sum(1) / weights.sum(1).clamp_min(torch.finfo(torch.float64).tiny)
    return nan_where(torch.where(flat[:, 0], 0.0, score), undefined)


def compute_saliency_auc(pred: Tensor, fixations: Tensor, variant: str = "judd", weighted: bool = False) -> Tensor:
    """Area under the ROC curve of telling fixated pixels from the others by the prediction.

    - ``"judd"``: the curve has one point for each *fixated* value t, the shares of fixated and of other pixels with
      ``pred >= t``, joined by straight lines with (0, 0) and (1, 1). Equal values are one point (no jitter), so a
      constant prediction gets exactly 0.5.
    - ``"exact"``: the whole curve: the probability that a fixated pixel has a higher value than another one, ties
      one half (Mann-Whitney).

    Without ties ``judd = exact + fpr / (2 n)``, with n fixated pixels and fpr the share of other pixels at or above the
    lowest fixated value. Judd is biased upwards for few fixations: see :func:`chance_auc_judd`.

    Args:
        pred: ``[B, H, W]``, finite and not negative, any scale.
        fixations: ``[B, H, W]``, bool or counts.
        variant: which of the two.
        weighted: let a fixated pixel count as often as ``fixations`` says.

    Returns:
        float64 ``[B]``, 0 to 1, NaN where no pixel or every pixel is fixated.

    Raises:
        ValueError: when shapes differ, a map holds a negative or non-finite value, or the variant is unknown.
    """
    _check_variant(variant)
    values, positive, undefined = _split(pred, fixations, weighted)
    negative = (positive == 0).double()
    area = judd_area(values, positive, negative) if variant == "judd" else exact_area(values, positive, negative)
    return nan_where(area, undefined)


def chance_auc_judd(n_fixated: int | Tensor) -> Tensor:
    """What ``"judd"`` gives on average to a prediction that knows nothing: ``1/2 + 1 / (2 (n + 1))``.

    0.75 for one fixated pixel, 0.583 for five. Exact for values in random order without ties.

    Args:
        n_fixated: number of fixated pixels, at least 1; a number or a tensor.

    Returns:
        float64, of the same shape.

    Raises:
        ValueError: for a number below 1.
    """
    n = torch.as_tensor(n_fixated, dtype=torch.float64)
    if bool((n < 1).any()):
        raise ValueError(f"n_fixated must be at least 1, got {float(n.min()):g}.")
    return 0.5 + 0.5 / (n + 1)


def exact_area(values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Mann-Whitney: the share of (positive, negative) pairs in which the positive is higher, ties one half.

    Args:
        values: float64 ``[B, N]``.
        positive, negative: float64 weights ``[B, N]``; a pixel may be both.

    Returns:
        ``[B]``, NaN where either weight is zero everywhere.
    """
    below, at_most = _weight_around(values, negative)
    return (positive * (below + at_most)).sum(1) / (2 * positive.sum(1) * negative.sum(1))


def judd_area(values: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Trapezoids through the ROC curve's points at the values of the positives; arguments as for ``exact_area``."""
    share = []
    order = values.argsort(dim=1, descending=True)
    for weights in (positive, negative):
        total = weights.sum(1, keepdim=True)
        at_least = (total - _weight_around(values, weights)[0]) / total
        # Pixels without a fixation repeat the point before them: a trapezoid of no width.
        points = torch.where(positive > 0, at_least, 0.0).gather(1, order).cummax(1).values
        share.append(F.pad(F.pad(points, (1, 0)), (0, 1), value=1.0))
    return torch.trapezoid(share[0], share[1], dim=1)


def _weight_around(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """For each value the summed weight of lower values, and of lower or equal ones; all ``[B, N]``."""
    ordered, order = values.sort(dim=1)
    running = F.pad(weights.gather(1, order).cumsum(1), (1, 0))
    left, right = (torch.searchsorted(ordered, values, right=side) for side in (False, True))
    return running.gather(1, left), running.gather(1, right)


def _split(pred: Tensor, fixations: Tensor, weighted: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Values and weights ``[B, N]`` in float64, and which frames have no value ``[B]``."""
    values, counts = checked_maps(pred, fixations, "fixations")
    fixated = counts > 0
    return values, counts if weighted else fixated.double(), ~fixated.any(1) | fixated.all(1)


def _check_variant(variant: str) -> None:
    if variant not in AUC_VARIANTS:
        raise ValueError(f"variant must be one of {AUC_VARIANTS}, got {variant!r}.")


class NormalizedScanpathSaliency(FrameMeanMetric):
    """Mean of :func:`compute_nss` over frames with gaze.

    Args:
        ddof: 1 or 0, as there.
        weighted: let a pixel count as often as the fixations say.
        get_not_nans: whether ``aggregate`` also returns the number of frames that counted.

    Raises:
        ValueError: when ``ddof`` is not 0 or 1.
    """

    def __init__(self, ddof: int = 1, weighted: bool = False, get_not_nans: bool = False) -> None:
        super().__init__(get_not_nans)
        if ddof not in (0, 1):
            raise ValueError(f"ddof must be 0 or 1, got {ddof}.")
        self.ddof = ddof
        self.weighted = weighted

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return compute_nss(drop_channel(y_pred), drop_channel(y), self.ddof, self.weighted)


class SaliencyAUC(FrameMeanMetric):
    """Mean of :func:`compute_saliency_auc` over frames with gaze.

    Args:
        variant: ``"judd"`` or ``"exact"``, as there. Name it wherever the number is shown.
        weighted: let a fixated pixel count as often as the fixations say.
        get_not_nans: whether ``aggregate`` also returns the number of frames that counted.

    Raises:
        ValueError: for an unknown variant.
    """

    def __init__(self, variant: str = "judd", weighted: bool = False, get_not_nans: bool = False) -> None:
        super().__init__(get_not_nans)
        _check_variant(variant)
        self.variant = variant
        self.weighted = weighted

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return compute_saliency_auc(drop_channel(y_pred), drop_channel(y), self.variant, self.weighted)
