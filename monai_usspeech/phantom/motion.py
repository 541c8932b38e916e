# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How tissue moves under a free hand: drift, tremor, breathing and the heart, on tissue time.

Everything is drawn at 100 Hz and read off at the frames' times, so the motion does not depend on the frame rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

__all__ = ["MOTION_RATE", "Motion", "contraction", "draw_motion", "ornstein_uhlenbeck"]

#: samples per second of the drawn motion
MOTION_RATE = 100.0


def ornstein_uhlenbeck(rng: np.random.Generator, n: int, deviation: float, correlation: float) -> np.ndarray:
    """A stationary Ornstein-Uhlenbeck path at :data:`MOTION_RATE`.

    Args:
        rng: source of the numbers.
        n: samples.
        deviation: standard deviation of the stationary distribution.
        correlation: seconds after which the autocorrelation has fallen to 1/e.
    """
    decay = math.exp(-1.0 / (MOTION_RATE * correlation))
    kicks = rng.normal(0.0, deviation * math.sqrt(1 - decay**2), n)
    kicks[0] = rng.normal(0.0, deviation)
    return np.asarray(lfilter([1.0], [1.0, -decay], kicks))


def contraction(cycle: np.ndarray) -> np.ndarray:
    """Contraction of a heart chamber, 0 at rest to 1: a short systole and a long rest.

    Args:
        cycle: heart cycles passed; the systole is the first 40 % of each.
    """
    share = np.mod(cycle, 1.0)
    return np.where(share < 0.4, np.sin(np.pi * share / 0.4) ** 2, 0.0)


@dataclass(frozen=True)
class Motion:
    """State of the tissue at some instants; float64 [N] each, image units and radians.

    Args:
        dx, dy: in-plane shift. rotation: in-plane rotation about (0, 1.15).
        offset: out-of-plane offset. breath: depth-dependent shift caused by breathing. cycle: heart cycles passed.
    """

    dx: np.ndarray
    dy: np.ndarray
    rotation: np.ndarray
    offset: np.ndarray
    breath: np.ndarray
    cycle: np.ndarray

    def at(self, tissue: np.ndarray) -> Motion:
        """The state at other tissue times, when this one holds the whole path at :data:`MOTION_RATE`."""
        grid = np.arange(len(self.dx)) / MOTION_RATE
        return Motion(*(np.interp(tissue, grid, path) for path in vars(self).values()))

    def to_image(self, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
        """Where the tissue point (x, y) is seen at each instant, image units."""
        c, s = np.cos(self.rotation), np.sin(self.rotation)
        u, v = x, y - 1.15
        column = c * u - s * v + self.dx
        row = s * u + c * v + 1.15 + self.dy
        return column, row + self.breath * (0.3 + 0.4 * row)


def draw_motion(rng: np.random.Generator, offset: np.ndarray) -> Motion:
    """Draw the motion of a scan.

    Args:
        rng: source of the numbers.
        offset: intended out-of-plane offset, [N] at :data:`MOTION_RATE`; the hand's unrest is added to it.

    Returns:
        the motion's path at :data:`MOTION_RATE`.
    """
    n = len(offset)
    times = np.arange(n) / MOTION_RATE
    drift = [ornstein_uhlenbeck(rng, n, sd, tau) for sd, tau in ((0.05, 1.5), (0.04, 1.5), (0.10, 2.0), (0.09, 0.8))]
    tremor = [ornstein_uhlenbeck(rng, n, 0.003, 0.25) for _ in range(2)]
    breath = rng.uniform(0.01, 0.03) * np.sin(2 * np.pi * rng.uniform(0.2, 0.35) * times + rng.uniform(0, 2 * np.pi))
    cycle = rng.uniform(0, 1) + rng.uniform(2.1, 2.7) * times + 0.05 * np.sin(2 * np.pi * 0.3 * times)
    return Motion(drift[0] + tremor[0], drift[1] + tremor[1], drift[2], offset + drift[3], breath, cycle)
