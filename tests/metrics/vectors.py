# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Two worked examples with known values, and the metrics written as explicit loops from their equations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Checked with exact rationals and with pysaliency and scikit-learn.
VALUES = {
    1: {
        "kl": 0.439546483721,
        "nss": -0.242579960221,
        "nss_n": -0.248881787836,
        "cc": 0.130818159154,
        "sim": 2937 / 4448,
        "sim_plain": 65 / 96,
        "auc_judd": 15 / 32,
        "auc_exact": 25 / 64,
    },
    2: {
        "kl": 0.658091764875,
        "cc": 0.679295433355,
        "nss": 2.419850564358,
        "nss_n": 2.421427528073,
        "sim": 0.530764058803,
        "sim_plain": 0.530757254196,
        "auc_judd": 0.967689295039,
        "auc_exact": 0.939947780679,
    },
}


def fixated(pixels: list[tuple[int, int]], shape: tuple[int, int]) -> Tensor:
    """A bool map ``[1, H, W]`` of the given (row, column) pixels."""
    fixations = torch.zeros(1, *shape, dtype=torch.bool)
    for row, column in pixels:
        fixations[0, row, column] = True
    return fixations


def bump(row: float, column: float, sigma: float, shape: tuple[int, int] = (24, 32)) -> Tensor:
    """A Gaussian of height 1, ``[1, H, W]`` in float64."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    return torch.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))[None]


def example(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target density and fixations of an example, each ``[1, H, W]``."""
    if number == 1:
        pred = [[2, 4, 10, 3, 17], [5, 8, 15, 9, 7], [14, 1, 9, 4, 3], [12, 17, 9, 5, 5]]
        target = [[2, 9, 5, 1, 8], [7, 3, 10, 6, 2], [1, 8, 4, 0, 7], [6, 2, 9, 5, 1]]
        maps = torch.tensor([pred, target], dtype=torch.float64)
        return maps[:1], maps[1:], fixated([(0, 1), (1, 2), (2, 4), (3, 3)], (4, 5))
    pred = bump(10, 14, 4) + 0.5 * bump(18, 25, 3)
    return pred, bump(11, 13, 2) + bump(17, 24, 2), fixated([(11, 13), (17, 24)], (24, 32))


def kl_by_loop(pred: list[float], target: list[float]) -> float:
    total, eps = 0.0, 2.220446049250313e-16
    for p, q in zip(pred, target):
        p, q = p / sum(pred), q / sum(target)
        total += q * math.log(eps + q / (p + eps))
    return total


def sim_by_loop(pred: list[float], target: list[float], stretch: bool) -> float:
    if stretch:
        pred, target = ([(x - min(m)) / (max(m) - min(m)) for x in m] for m in (pred, target))
    return sum(min(p / sum(pred), q / sum(target)) for p, q in zip(pred, target))


def nss_by_loop(pred: list[float], fixations: list[float], ddof: int) -> float:
    mean = sum(pred) / len(pred)
    deviation = math.sqrt(sum((p - mean) ** 2 for p in pred) / (len(pred) - ddof))
    return sum(w * (p - mean) / deviation for p, w in zip(pred, fixations)) / sum(fixations)


def exact_auc_by_loop(positives: list[float], negatives: list[float]) -> float:
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    return sum(pairs) / len(pairs)


def judd_auc_by_loop(positives: list[float], negatives: list[float]) -> float:
    """Thresholds at the distinct fixated values, from the highest down; trapezoids from (0, 0) to (1, 1)."""
    curve = [(0.0, 0.0)]
    for t in sorted(set(positives), reverse=True):
        curve.append((sum(n >= t for n in negatives) / len(negatives), sum(p >= t for p in positives) / len(positives)))
    curve.append((1.0, 1.0))
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in zip(curve, curve[1:]))


def split(pred: Tensor, fixations: Tensor) -> tuple[list[float], list[float]]:
    """Values at the fixated pixels, repeated as often as fixated, and at the others; of one frame."""
    counts = fixations.long().flatten()
    values = pred.flatten().double()
    return values.repeat_interleave(counts).tolist(), values[counts == 0].tolist()
