# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Saliency metrics that compare two densities: Kullback-Leibler divergence, correlation, similarity.

Definitions of Bylinskii et al., "What do different evaluation metrics tell us about saliency models?", IEEE TPAMI
41(3), 2019. The target is the density of the fixations, blurred; its grid and its blur are part of every number.
A frame whose target is zero everywhere has no gaze and no value: NaN. Everything is computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from monai_usspeech.metrics._map_checks import checked_maps, drop_channel, nan_where
from monai_usspeech.metrics.frame_mean import FrameMeanMetric

__all__ = [
    "SaliencyCC",
    "SaliencyKL",
    "SaliencySIM",
    "compute_saliency_cc",
    "compute_saliency_kl",
    "compute_saliency_sim",
]

EPSILON = torch.finfo(torch.float64).eps
SIM_VARIANTS = ("mit", "plain")


def _density(rows: Tensor) -> Tensor:
    """Rows that sum to 1; a row of zeros stays one."""
    total = rows.sum(1, keepdim=True)
    return rows / torch.where(total > 0, total, 1.0)


def _stretched(rows: Tensor) -> Tensor:
    """Rows from 0 to 1; a constant row becomes zeros."""
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    return (rows - low) / torch.where(high > low, high - low, 1.0)


def _constant(rows: Tensor) -> Tensor:
    return rows.amin(1) == rows.amax(1)


def compute_saliency_kl(pred: Tensor, target: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Divergence of the prediction from the target, KL-Judd: ``sum q log(epsilon + q / (p + epsilon))``, in nats.

    p and q are the maps divided by their sums. Lower is better; 0 for equal maps up to ``epsilon``. Two densities that
    do not meet get a value that ``epsilon`` decides alone: never compare values of different ``epsilon``. A constant
    prediction gets log(H W) minus the entropy of q; a prediction of zeros, which is no density, about -log(epsilon)
    minus that entropy.

    Args:
        pred: ``[B, H, W]``, finite and not negative, any scale.
        target: ``[B, H, W]``, likewise.
        epsilon: regularisation; 2.2204e-16 is that of the MIT/Tuebingen benchmark.

    Returns:
        float64 ``[B]``, NaN where the target is zero everywhere.

    Raises:
        ValueError: when shapes differ, a map holds a negative or non-finite value, or ``epsilon`` is not positive.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}.")
    predicted, wanted = checked_maps(pred, target, "target")
    p, q = _density(predicted), _density(wanted)
    divergence = (q * torch.log(epsilon + q / (p + epsilon))).sum(1)
    return nan_where(divergence, wanted.sum(1) == 0)


def compute_saliency_cc(pred: Tensor, target: Tensor) -> Tensor:
    """Pearson correlation of the two maps over the pixels, -1 to 1.

    Correlation with a constant map is undefined; such a frame gets 0, because a constant prediction explains nothing
    and leaving it out would reward it. :class:`SaliencyCC` counts these frames.

    Args:
        pred: ``[B, H, W]``, finite and not negative.
        target: ``[B, H, W]``, likewise.

    Returns:
        float64 ``[B]``, 0 where either map is constant, NaN where the target is zero everywhere.

    Raises:
        ValueError: when shapes differ or a map holds a negative or non-finite value.
    """
    predicted, wanted = checked_maps(pred, target, "target")
    p, q = _stretched(predicted), _stretched(wanted)  # the same correlation, and no product under- or overflows
    p, q = p - p.mean(1, keepdim=True), q - q.mean(1, keepdim=True)
    scale = p.norm(dim=1) * q.norm(dim=1)
    flat = _constant(predicted) | _constant(wanted)
    correlation = (p * q).sum(1) / torch.where(flat, 1.0, scale)
    return nan_where(torch.where(flat, 0.0, correlation), wanted.sum(1) == 0)


def compute_saliency_sim(pred: Tensor, target: Tensor, variant: str = "mit") -> Tensor:
    """Similarity, the overlap of the two maps as histograms: ``sum min(p, q)``, 0 to 1.

    - ``"mit"``: each map is stretched to 0..1, then divided by its sum, as the MIT benchmark does.
    - ``"plain"``: each map is divided by its sum, as pysaliency does.

    A constant prediction gets 0 under ``"mit"`` (stretched, it is zero everywhere) and its overlap with the uniform
    density under ``"plain"``. A prediction of zeros gets 0 under both.

    Args:
        pred: ``[B, H, W]``, finite and not negative.
        target: ``[B, H, W]``, likewise.
        variant: which of the two.

    Returns:
        float64 ``[B]``, NaN where the target is zero everywhere.

    Raises:
        ValueError: when shapes differ, a map holds a negative or non-finite value, or the variant is unknown.
    """
    if variant not in SIM_VARIANTS:
        raise ValueError(f"variant must be one of {SIM_VARIANTS}, got {variant!r}.")
    predicted, wanted = checked_maps(pred, target, "target")
    p, q = (_stretched(predicted), _stretched(wanted)) if variant == "mit" else (predicted, wanted)
    return nan_where(torch.minimum(_density(p), _density(q)).sum(1), wanted.sum(1) == 0)


class SaliencyKL(FrameMeanMetric):
    """Mean of :func:`compute_saliency_kl` over frames with gaze, in nats; lower is better.

    Args:
        epsilon: regularisation, as there.
        get_not_nans: whether ``aggregate`` also returns the number of frames that counted.
    """

    def __init__(self, epsilon: float = EPSILON, get_not_nans: bool = False) -> None:
        super().__init__(get_not_nans)
        self.epsilon = epsilon

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return compute_saliency_kl(drop_channel(y_pred), drop_channel(y), self.epsilon)


class SaliencyCC(FrameMeanMetric):
    """Mean of :func:`compute_saliency_cc` over frames with gaze.

    Frames in which a map is constant are in the mean as 0; ``n_constant`` says how many they are.

    Args:
        get_not_nans: whether ``aggregate`` also returns the number of frames that counted.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> list[Tensor]:  # type: ignore[override]
        pred, target = drop_channel(y_pred), drop_channel(y)
        values = compute_saliency_cc(pred, target)
        constant = _constant(pred.flatten(1)) | _constant(target.flatten(1)).to(pred.device)
        return [values, constant & ~values.isnan()]

    def __call__(self, y_pred: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """Add a batch; its values ``[B]``."""
        return super().__call__(y_pred, y)[0]  # type: ignore[return-value]

    def get_buffer(self) -> Tensor | None:
        """The values of all frames since the last reset, ``None`` when there are none."""
        buffers = super().get_buffer()
        return None if buffers is None else buffers[0]

    @property
    def n_constant(self) -> int:
        """How many of the counted frames have a constant map, and so 0 by definition."""
        buffers = super().get_buffer()
        return 0 if buffers is None else int(buffers[1].sum())


class SaliencySIM(FrameMeanMetric):
    """Mean of :func:`compute_saliency_sim` over frames with gaze.

    Args:
        variant: ``"mit"`` or ``"plain"``, as there.
        get_not_nans: whether ``aggregate`` also returns the number of frames that counted.

    Raises:
        ValueError: for an unknown variant.
    """

    def __init__(self, variant: str = "mit", get_not_nans: bool = False) -> None:
        super().__init__(get_not_nans)
        if variant not in SIM_VARIANTS:
            raise ValueError(f"variant must be one of {SIM_VARIANTS}, got {variant!r}.")
        self.variant = variant

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return compute_saliency_sim(drop_channel(y_pred), drop_channel(y), self.variant)
