# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_usspeech.phantom.geometry import SectorGeometry, to_pixels


def test_mask_is_the_inside_of_the_circles_and_beams():
    geometry, size = SectorGeometry(), 128
    rows, columns = np.mgrid[:size, :size]
    x = (columns + 0.5) / size * 2.5 - 1.25
    y = (rows + 0.5) / size * 2.5 - 0.3 - geometry.apex_y
    radius, angle = np.hypot(x, y), np.abs(np.arctan2(x, y))
    expected = (radius >= 0.45) & (radius <= 2.25) & (angle <= geometry.half_angle)
    assert (geometry.mask(size) != expected).mean() < 2e-4  # rounding on the border only


def test_outline_encloses_the_mask():
    geometry = SectorGeometry()
    outline, mask = geometry.outline(160), geometry.mask(160)
    rows, columns = np.nonzero(mask)
    assert abs(outline[:, 0].min() - columns.min()) < 1.5 and abs(outline[:, 0].max() - columns.max()) < 1.5
    assert abs(outline[:, 1].min() - rows.min()) < 1.5 and abs(outline[:, 1].max() - rows.max()) < 1.5


@pytest.mark.parametrize("seed", range(20))
def test_every_random_fan_fits_the_canvas_and_leaves_room_above(seed: int):
    geometry = SectorGeometry.random(np.random.default_rng(seed))
    outline = geometry.outline(128)
    assert outline.min() > 0 and outline.max() < 127
    assert outline[:, 1].min() > 9  # a line of writing is 5 dots high


def test_lookup_finds_the_polar_sample_under_a_pixel():
    geometry, size, beams, depth = SectorGeometry(), 96, 40, 60
    radius, angle = geometry.polar_grid(beams, depth)
    polar = torch.stack([radius[:, None].expand(-1, beams), angle[None].expand(depth, -1)])[None]
    pixels, grid = geometry.canvas_lookup(size)
    found = torch.nn.functional.grid_sample(polar, grid, align_corners=True)[0, :, 0]
    x, y = found[0] * found[1].sin(), geometry.apex_y + found[0] * found[1].cos()
    columns, rows = to_pixels(x.numpy(), y.numpy(), size)
    np.testing.assert_allclose(columns, pixels.numpy() % size, atol=1e-3)
    np.testing.assert_allclose(rows, pixels.numpy() // size, atol=1e-3)


def test_polar_box_holds_every_sample_of_the_discs_and_little_else():
    geometry, beams, depth = SectorGeometry(), 50, 80
    radius, angle = (values.numpy() for values in geometry.polar_grid(beams, depth))
    x, y = radius[:, None] * np.sin(angle), geometry.apex_y + radius[:, None] * np.cos(angle)
    rng = np.random.default_rng(0)
    for _ in range(50):
        centres, reach = rng.uniform((-1.5, -0.5), (1.5, 2.5), (3, 2)), rng.uniform(0.02, 0.6)
        rows, columns = geometry.polar_box(centres[:, 0], centres[:, 1], reach, beams, depth)
        inside = (np.hypot(x[..., None] - centres[:, 0], y[..., None] - centres[:, 1]) <= reach).any(-1)
        boxed = np.zeros_like(inside)
        boxed[rows, columns] = True
        assert not (inside & ~boxed).any()
    rows, columns = geometry.polar_box(np.zeros(1), np.ones(1), 0.05, beams, depth)
    assert rows.stop - rows.start < 8 and columns.stop - columns.start < 8
