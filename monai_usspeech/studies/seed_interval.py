# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How far a difference between two methods depends on the seed: Student's t interval of the paired differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

__all__ = ["SeedDifference", "contains", "seed_difference"]


@dataclass(frozen=True)
class SeedDifference:
    """The difference between two methods, seed by seed.

    Attributes:
        mean: mean over seeds of the mean over folds; NaN without a seed that counts.
        interval: its 95 % interval over seeds; None with fewer than two.
        n_seeds: seeds that count.
    """

    mean: float
    interval: tuple[float, float] | None
    n_seeds: int


def seed_difference(values: np.ndarray, reference: np.ndarray, level: float = 0.95) -> SeedDifference:
    """``values - reference`` with an interval over seeds.

    With ``d_s`` the mean over folds of the difference with seed s, the interval is ``mean(d) +- t sd(d) / sqrt(n)``,
    with t the quantile of Student's distribution with n - 1 degrees of freedom: that of the paired t test (Student,
    Biometrika 6, 1908). It takes seeds to be drawn independently, and says what other seeds would change on the same
    test subjects. Folds are averaged first, because runs of different folds share training subjects.

    Args:
        values: ``[folds, seeds]`` of a method; NaN where a cell has no value.
        reference: the same of the method compared with.
        level: of the interval.

    Returns:
        The difference. Folds of which no seed has both values are left out; then a seed counts when it has both values
        in all the folds left, so that all seeds are means of the same folds.

    Raises:
        ValueError: when the two have different shapes.
    """
    values, reference = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if values.shape != reference.shape or values.ndim != 2:
        raise ValueError(
            f"values and reference must be [folds, seeds] of one shape, got {values.shape} and {reference.shape}."
        )
    difference = values - reference
    difference = difference[np.isfinite(difference).any(axis=1)]
    if not len(difference):
        return SeedDifference(float("nan"), None, 0)
    seeds = difference[:, np.isfinite(difference).all(axis=0)].mean(axis=0)
    n = len(seeds)
    if n < 2:
        return SeedDifference(float(seeds[0]) if n else float("nan"), None, n)
    reach = float(student_t.ppf((1 + level) / 2, n - 1) * seeds.std(ddof=1) / np.sqrt(n))
    mean = float(seeds.mean())
    return SeedDifference(mean, (mean - reach, mean + reach), n)


def contains(interval: tuple[float, float] | None, value: float = 0.0) -> bool:
    """Whether a value lies in an interval, ends included; False without one."""
    return interval is not None and interval[0] <= value <= interval[1]
