# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Where the sonographer looks: fixations on the plane's landmarks, glances around while searching, lost samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from monai_usspeech.data.annotations import GazeTrack
from monai_usspeech.phantom.geometry import to_pixels

__all__ = ["GazeStyle", "draw_gaze"]


@dataclass(frozen=True)
class GazeStyle:
    """How the sonographer looks.

    Args:
        rate: samples per second. fixation: range of the seconds of one fixation.
        lag: seconds by which the eye trails a moving target.
        scatter: standard deviation of a fixation about its target, image units (the canvas is 2.5 wide).
        jitter: standard deviation of the tracker's noise, image units.
        wander: probability that a fixation on a plane goes elsewhere.
        missing: share of the samples without a fix, lost in runs of 0.1-0.4 s.
    """

    rate: float = 60.0
    fixation: tuple[float, float] = (0.25, 0.9)
    lag: float = 0.1
    scatter: float = 0.05
    jitter: float = 0.008
    wander: float = 0.08
    missing: float = 0.04

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.fixation[0] <= 0:
            raise ValueError(f"rate {self.rate} and fixation {self.fixation} must be greater than 0.")
        for name in ("lag", "scatter", "jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")
        for name in ("wander", "missing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a share lies in 0..1.")


#: For instants [N]: the landmarks' image positions, a list of (x [N], y [N]); empty while no plane is shown.
TargetsAt = Callable[[np.ndarray], Sequence[tuple[np.ndarray, np.ndarray]]]


def _one_fixation(
    rng: np.random.Generator, times: np.ndarray, targets_at: TargetsAt, style: GazeStyle
) -> tuple[np.ndarray, np.ndarray]:
    targets = targets_at(np.maximum(times - style.lag, 0.0))
    if not targets or rng.random() < style.wander:
        x, y = np.clip(rng.normal((0.0, 1.15), (0.4, 0.35)), (-0.8, 0.4), (0.8, 1.8))
        return np.full(len(times), x), np.full(len(times), y)
    weights = np.array([0.5**number for number in range(len(targets))])
    x, y = targets[int(rng.choice(len(targets), p=weights / weights.sum()))]
    dx, dy = rng.normal(0.0, style.scatter, 2)
    return x + dx, y + dy


def draw_gaze(
    rng: np.random.Generator, seconds: float, size: int, targets_at: TargetsAt, style: GazeStyle | None = None
) -> GazeTrack:
    """Draw the gaze of a scan.

    Args:
        rng: source of the fixations and of the lost samples.
        seconds: length of the scan.
        size: canvas height and width in pixels.
        targets_at: where the landmarks are at given wall times.
        style: how the sonographer looks.

    Returns:
        samples in canvas pixels; x and y are NaN together where the tracker lost the eye.
    """
    style = style or GazeStyle()
    times = np.arange(int(seconds * style.rate)) / style.rate
    x, y = np.empty(len(times)), np.empty(len(times))
    first = 0
    while first < len(times):
        last = min(len(times), first + max(2, round(rng.uniform(*style.fixation) * style.rate)))
        x[first:last], y[first:last] = _one_fixation(rng, times[first:last], targets_at, style)
        first = last
    x += rng.normal(0.0, style.jitter, len(x))
    y += rng.normal(0.0, style.jitter, len(y))
    column, row = to_pixels(x, y, size)
    for start in np.flatnonzero(rng.random(len(times)) < style.missing / (0.25 * style.rate)):
        lost = slice(start, start + round(rng.uniform(0.1, 0.4) * style.rate))
        column[lost] = row[lost] = np.nan
    return GazeTrack(times, column, row)
