# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Shape of the curvilinear fan, and the way from its polar grid to the canvas.

Two frames are used throughout the phantom. *Image units*: x in [-1.25, 1.25] to the right, y in [-0.3, 2.2] downwards;
the whole square canvas is 2.5 units wide. *Pixels*: column = (x + 1.25) / 2.5 * size - 0.5, row likewise from y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from monai_usspeech.phantom.nuisance import stretched

__all__ = ["CANVAS_LEFT", "CANVAS_TOP", "CANVAS_UNITS", "SectorGeometry", "to_pixels"]

CANVAS_LEFT, CANVAS_TOP, CANVAS_UNITS = -1.25, -0.3, 2.5


def to_pixels(x: np.ndarray, y: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image units to pixel coordinates (column, row), where the centre of the first pixel is 0."""
    return (x - CANVAS_LEFT) / CANVAS_UNITS * size - 0.5, (y - CANVAS_TOP) / CANVAS_UNITS * size - 0.5


@dataclass(frozen=True)
class SectorGeometry:
    """A circular sector in image units; its axis is x = 0 and it opens downwards.

    Args:
        apex_y: y of the point where the outer beams would meet, above the canvas' fan.
        inner_radius: distance from the apex to the transducer's surface.
        outer_radius: distance from the apex to the deepest sample.
        half_angle: angle between the axis and the outermost beam, radians.
    """

    apex_y: float = -0.35
    inner_radius: float = 0.45
    outer_radius: float = 2.25
    half_angle: float = math.radians(33.0)

    @classmethod
    def random(cls, rng: np.random.Generator, nuisance: float = 1.0) -> SectorGeometry:
        """Draw a fan that fits the canvas and leaves room for text above it.

        Args:
            rng: source of the numbers.
            nuisance: factor on the spread; 1 gives half angles of 29-35 degrees, 2 of 26-38.
        """
        half_angle = math.radians(stretched(rng.uniform(29.0, 35.0), 32.0, nuisance))
        outer = min(stretched(rng.uniform(2.15, 2.3), 2.225, nuisance), 1.22 / math.sin(half_angle))
        return cls(-0.35, stretched(rng.uniform(0.42, 0.52), 0.47, nuisance), outer, half_angle)

    def polar_grid(self, beams: int, depth: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Radius [depth] and beam angle [beams] (radians from the axis) of the polar samples."""
        radius = torch.linspace(self.inner_radius, self.outer_radius, depth)
        angle = torch.linspace(-self.half_angle, self.half_angle, beams)
        return radius, angle

    def polar_box(self, x: np.ndarray, y: np.ndarray, reach: float, beams: int, depth: int) -> tuple[slice, slice]:
        """The smallest (depth, beam) slices that hold every disc of radius ``reach`` around the points (x, y).

        Both slices are empty when no disc touches the fan.
        """
        radius = np.hypot(x, y - self.apex_y)
        angle = np.arctan2(x, y - self.apex_y)
        opening = np.where(radius > reach, np.arcsin(np.minimum(reach / np.maximum(radius, 1e-6), 1.0)), np.pi)
        per_unit = (depth - 1) / (self.outer_radius - self.inner_radius)
        per_radian = (beams - 1) / (2 * self.half_angle)
        top = math.floor(((radius - reach).min() - self.inner_radius) * per_unit)
        bottom = math.ceil(((radius + reach).max() - self.inner_radius) * per_unit) + 1
        left = math.floor(((angle - opening).min() + self.half_angle) * per_radian)
        right = math.ceil(((angle + opening).max() + self.half_angle) * per_radian) + 1
        return slice(max(top, 0), max(min(bottom, depth), 0)), slice(max(left, 0), max(min(right, beams), 0))

    def canvas_lookup(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each pixel of the fan is found on the polar grid.

        Args:
            size: canvas height and width in pixels.

        Returns:
            flat pixel numbers [N] of the fan, and their coordinates [1, 1, N, 2] for
            :func:`torch.nn.functional.grid_sample` with ``align_corners=True`` on a [B, 1, depth, beams] image.
        """
        centre = (torch.arange(size) + 0.5) / size * CANVAS_UNITS
        y = (centre + CANVAS_TOP - self.apex_y)[:, None].expand(size, size)
        x = (centre + CANVAS_LEFT)[None, :].expand(size, size)
        radius, angle = torch.hypot(x, y), torch.atan2(x, y)
        beam = angle / self.half_angle
        along = 2 * (radius - self.inner_radius) / (self.outer_radius - self.inner_radius) - 1
        inside = ((beam.abs() <= 1) & (along.abs() <= 1)).flatten()
        pixels = inside.nonzero().squeeze(1)
        return pixels, torch.stack([beam.flatten()[pixels], along.flatten()[pixels]], dim=-1)[None, None]

    def mask(self, size: int) -> np.ndarray:
        """Which pixels of a ``size`` x ``size`` canvas show tissue: bool [size, size]."""
        flat = np.zeros(size * size, dtype=bool)
        flat[self.canvas_lookup(size)[0].numpy()] = True
        return flat.reshape(size, size)

    def outline(self, size: int, points: int = 48) -> np.ndarray:
        """The fan's border as a closed polygon: float64 [N, 2] of (column, row) in pixels."""
        angle = np.linspace(-self.half_angle, self.half_angle, points)
        radius = np.concatenate([np.full(points, self.outer_radius), np.full(points, self.inner_radius)])
        angle = np.concatenate([angle, angle[::-1]])
        column, row = to_pixels(radius * np.sin(angle), self.apex_y + radius * np.cos(angle), size)
        return np.stack([column, row], axis=1)
