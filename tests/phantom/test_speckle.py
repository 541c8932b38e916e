# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_usspeech.phantom.speckle import ScattererLattice, blur_polar


@pytest.fixture(scope="module")
def lattice() -> ScattererLattice:
    return ScattererLattice(np.random.default_rng(0), resolution=0.02)


def positions(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(torch.linspace(0, 1.5, n), torch.linspace(-1, 1, n), indexing="ij")
    return x[None], y[None]


@pytest.mark.parametrize("offset", [0.0, 0.1, 0.175, -0.9])
def test_intensity_is_one_at_every_depth_of_the_slice(lattice: ScattererLattice, offset: float):
    field = lattice.sample(*positions(300), np.array([offset]))
    assert float(field.square().sum(1).mean()) == pytest.approx(1.0, abs=0.12)


def test_envelope_of_homogeneous_tissue_is_rayleigh_distributed(lattice: ScattererLattice):
    field = blur_polar(lattice.sample(*positions(300), np.zeros(1)), 1.0, 1.0)
    envelope = field.square().sum(1).sqrt()
    # fully developed speckle: mean / standard deviation = sqrt(pi / (4 - pi)) = 1.913
    assert float(envelope.mean() / envelope.std()) == pytest.approx(1.913, rel=0.05)


def test_speckle_is_attached_to_tissue_coordinates(lattice: ScattererLattice):
    x, y = positions(64)
    moved = lattice.sample(torch.cat([x, x + lattice.period]), torch.cat([y, y - 2 * lattice.period]), np.zeros(2))
    torch.testing.assert_close(moved[0], moved[1], atol=1e-3, rtol=0)


def test_slices_far_apart_are_independent_and_near_ones_are_not(lattice: ScattererLattice):
    x, y = positions(200)
    base, near, far = (lattice.sample(x, y, np.array([offset]))[0, 0].flatten() for offset in (0.0, 0.03, 0.8))
    assert float(torch.corrcoef(torch.stack([base, near]))[0, 1]) > 0.95
    assert abs(float(torch.corrcoef(torch.stack([base, far]))[0, 1])) < 0.15


def test_smoothing_leaves_no_detail_finer_than_the_polar_grid(lattice: ScattererLattice):
    """Half a grid step apart the field is nearly the same; an aliased lattice would be uncorrelated."""
    x, y = positions(200)
    here, beside = lattice.sample(x, y, np.zeros(1)), lattice.sample(x + 0.01, y, np.zeros(1))
    assert float(torch.corrcoef(torch.stack([here.flatten(), beside.flatten()]))[0, 1]) > 0.7


def test_blur_equals_the_convolution_written_out():
    field = torch.randn(1, 2, 15, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    found = blur_polar(field, lateral=0.8, axial=1.0)

    def weights(deviation: float) -> np.ndarray:
        reach = int(np.ceil(2.5 * deviation))
        values = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
        return values / np.sqrt((values**2).sum())

    across, along = weights(0.8), weights(1.0)
    centre = 0.0
    for i, a in enumerate(along):
        for j, b in enumerate(across):
            centre += a * b * float(field[0, 1, 7 + i - len(along) // 2, 8 + j - len(across) // 2])
    assert float(found[0, 1, 7, 8]) == pytest.approx(centre, abs=1e-5)
