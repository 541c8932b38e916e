# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Speckle: a random scatterer field that moves with the tissue, seen through the scanner's point spread function.

The field is complex Gaussian, so the envelope is Rayleigh distributed where tissue is homogeneous (fully developed
speckle; Wagner et al., "Statistics of speckle in ultrasound B-scans", IEEE Trans. Sonics Ultrason. 30(3), 1983).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

__all__ = ["ScattererLattice", "blur_polar", "noise_bank"]

_LAYERS = 6
_LAYER_SPACING = 0.35  # out-of-plane offset between two independent layers


class ScattererLattice:
    """A periodic lattice of complex scatterers in tissue coordinates.

    The lattice is smoothed until it is coarser than the polar grid that samples it. A finer lattice would alias: the
    speckle would boil from frame to frame instead of moving with the tissue.

    Args:
        rng: source of the scatterers.
        resolution: spacing of the polar grid where it is coarsest, image units.
        size: lattice points along each in-plane axis.
        smoothing: standard deviation of the smoothing in lattice points, at least 2 to be free of aliasing.
    """

    def __init__(self, rng: np.random.Generator, resolution: float, size: int = 192, smoothing: float = 2.0) -> None:
        raw = rng.standard_normal((_LAYERS, 2, size, size), dtype=np.float32)
        smooth = gaussian_filter(raw, (0, 0, smoothing, smoothing), mode="wrap")
        smooth /= smooth.std() * np.sqrt(2.0)  # unit mean intensity
        closed = np.pad(smooth, ((0, 0), (0, 0), (0, 1), (0, 1)), mode="wrap")  # bilinear over the seam
        self.layers = torch.from_numpy(closed)
        self.period = size * 0.5 * resolution / smoothing

    def sample(self, x: torch.Tensor, y: torch.Tensor, offset: np.ndarray) -> torch.Tensor:
        """The field at tissue positions.

        Args:
            x, y: tissue coordinates [B, depth, beams].
            offset: out-of-plane offsets [B].

        Returns:
            real and imaginary parts [B, 2, depth, beams] of unit mean intensity.
        """
        level = np.mod(offset / _LAYER_SPACING, _LAYERS)
        lower = np.floor(level).astype(int) % _LAYERS
        angle = torch.from_numpy((level - np.floor(level)) * np.pi / 2).float()[:, None, None, None]
        # cos and sin keep the intensity constant between two independent layers
        plane = self.layers[lower] * angle.cos() + self.layers[(lower + 1) % _LAYERS] * angle.sin()
        grid = torch.stack([x, y], dim=-1).mul_(1.0 / self.period)
        grid.sub_(grid.floor()).mul_(2.0).sub_(1.0)
        return F.grid_sample(plane, grid, mode="bilinear", align_corners=True)


def _kernel(deviation: float) -> torch.Tensor:
    reach = max(1, int(np.ceil(2.5 * deviation)))
    weights: torch.Tensor = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= torch.linalg.vector_norm(weights)  # keeps the intensity of white noise
    return weights


def blur_polar(field: torch.Tensor, lateral: float, axial: float) -> torch.Tensor:
    """Separable Gaussian point spread function on the polar grid, so it widens with depth.

    Args:
        field: [B, 2, depth, beams].
        lateral: standard deviation in beams.
        axial: standard deviation in depth samples.
    """
    batch, parts, depth, beams = field.shape
    flat = field.reshape(batch * parts, 1, depth, beams)
    across, along = _kernel(lateral), _kernel(axial)
    flat = F.conv2d(flat, across[None, None, None, :], padding=(0, len(across) // 2))
    flat = F.conv2d(flat, along[None, None, :, None], padding=(len(along) // 2, 0))
    return flat.reshape(field.shape)


def noise_bank(rng: np.random.Generator, depth: int, beams: int) -> torch.Tensor:
    """Complex white noise [2, 2 * depth, 2 * beams]; windows cut from it at random places serve as electronic noise."""
    return torch.from_numpy(rng.standard_normal((2, 2 * depth, 2 * beams), dtype=np.float32) * np.float32(0.5**0.5))
