# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_usspeech.transforms.augmentation import apply_augmentation, draw_augmentation, identity_augmentation
from monai_usspeech.transforms.gaze_map import (
    GazeMap,
    GazeMapd,
    augmented_points,
    blur_fixations,
    fixation_map,
    inside_picture,
)

# --- points through the augmentation ---


def dotted(row: int, column: int, side: int = 128) -> torch.Tensor:
    """A dark picture [1, 1, S, S] with a bright dot of 3 x 3 pixels around (row, column)."""
    image = torch.zeros(1, 1, side, side)
    image[..., row - 1 : row + 2, column - 1 : column + 2] = 1.0
    return image


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_bright_dot_stays_at_the_cell_of_the_fixation_map(flip):
    rng, checked = np.random.RandomState(int(flip)), 0
    for _ in range(150):
        row, column = rng.randint(2, 126, 2)
        params = draw_augmentation(rng, 1, scale=(0.3, 1.0), flip=flip, gain=(1.0, 1.0), gamma=(1.0, 1.0))
        points = augmented_points(np.array([[(row + 0.5) / 128, (column + 0.5) / 128]]), params["affine"][0])
        augmented = apply_augmentation(dotted(row, column), params, size=128)[0, 0]
        cells = fixation_map(points, 64)
        if not inside_picture(points).all():
            assert not cells.any()
            assert augmented.sum() < 9 / 0.3  # at most a part of the dot remains at the border
            continue
        if ((points < 0.03) | (points > 0.97)).any():
            continue  # the border cuts the dot, and its middle is not its centre of mass
        grid = (torch.arange(128) + 0.5) / 128
        centre = [(augmented.sum(1 - axis) * grid).sum() / augmented.sum() for axis in (0, 1)]
        found = torch.stack(centre)
        assert torch.allclose(found.double(), points[0], atol=0.004)  # half a pixel of the picture
        away = (cells.nonzero()[0] + 0.5) / 64 - found
        assert away.abs().max() < 0.5 / 64 + 0.004  # the dot is in the marked cell, or on its very edge
        checked += 1
    assert checked > 60


def test_points_go_through_any_affine_as_the_loop_says():
    rng = np.random.RandomState(0)
    for _ in range(20):
        affine = rng.uniform(-1, 1, (2, 3)) + 1.5 * np.eye(2, 3)  # rotation and shear too
        points = rng.uniform(0, 1, (5, 2))
        result = augmented_points(points, affine)
        for (row, column), (new_row, new_column) in zip(points, result.tolist()):
            looked_up = affine @ [2 * new_column - 1, 2 * new_row - 1, 1]
            np.testing.assert_allclose(looked_up, [2 * column - 1, 2 * row - 1], atol=1e-9)
    same = identity_augmentation(1)["affine"][0]
    np.testing.assert_allclose(augmented_points(points, same), points)
    assert augmented_points(np.zeros((0, 2)), same).shape == (0, 2)


# --- fixation maps ---


def test_a_fixation_map_marks_the_cell_of_each_point_once():
    points = np.array([[0, 0], [0.999, 0.999], [0.5, 0.25], [0.51, 0.26], [1.0, 0.5], [0.5, -1e-9], [np.nan, 0.5]])
    marked = fixation_map(points, (4, 8))
    assert marked.dtype == torch.bool and marked.shape == (4, 8)
    assert sorted(map(tuple, marked.nonzero().tolist())) == [(0, 0), (2, 2), (3, 7)]
    assert inside_picture(points).tolist() == [True] * 4 + [False] * 3
    assert not fixation_map(np.zeros((0, 2)), 8).any()


def test_the_last_cell_takes_the_last_representable_place():
    for size in (3, 48, 64, 100, 224):
        assert fixation_map(torch.full((1, 2), np.nextafter(1.0, 0.0), dtype=torch.float64), size)[-1, -1]
        assert fixation_map(np.full((1, 2), np.nextafter(np.float32(1), np.float32(0))), size)[-1, -1]


# --- blur ---


def cell_share(cell: int, centre: int, sigma: float) -> float:
    """What a Gaussian about the middle of cell ``centre`` leaves in ``cell``."""
    edges = [(cell - centre + side) / (sigma * math.sqrt(2)) for side in (-0.5, 0.5)]
    return 0.5 * (math.erf(edges[1]) - math.erf(edges[0]))


@pytest.mark.parametrize(("height", "width", "sigma"), [(48, 48, 0.02), (24, 40, 0.05), (32, 32, 0.1)])
def test_the_blur_is_the_stated_gaussian_normalised_to_one(height, width, sigma):
    fixed = torch.zeros(height, width, dtype=torch.bool)
    fixed[3, 5] = fixed[height // 2, width - 2] = True
    expected = np.zeros((height, width))
    for row, column in fixed.nonzero().tolist():
        for i, j in np.ndindex(height, width):
            expected[i, j] += cell_share(i, row, sigma * width) * cell_share(j, column, sigma * width)
    blurred = blur_fixations(fixed, sigma)
    np.testing.assert_allclose(blurred, expected / expected.sum(), atol=2e-4 * expected.max() / expected.sum())
    assert blurred.dtype == torch.float32 and abs(float(blurred.sum()) - 1) < 1e-5


def test_the_width_of_the_blur_is_two_percent_of_the_picture():
    grid = (torch.arange(256) + 0.5) / 256
    fixed = torch.zeros(256, 256)
    fixed[128, 128] = 1
    share = blur_fixations(fixed).sum(0)
    mean = (share * grid).sum()
    spread = ((share * (grid - mean) ** 2).sum()).sqrt()
    assert float(spread) == pytest.approx(0.02, rel=0.01)


def test_maps_are_blurred_one_by_one_and_an_empty_one_stays_empty():
    fixed = torch.rand(3, 2, 16, 16) > 0.97
    fixed[1, 1] = False
    fixed[0, 0, 4, 4] = True
    blurred = blur_fixations(fixed, 0.1)
    for place in np.ndindex(3, 2):
        torch.testing.assert_close(blurred[place], blur_fixations(fixed[place], 0.1))
        assert float(blurred[place].sum()) == pytest.approx(float(fixed[place].any()), abs=1e-5)
    assert not blurred[1, 1].any() and torch.isfinite(blurred).all()


# --- transforms ---


def test_the_transforms_are_the_functions():
    points = np.array([[0.25, 0.5], [0.9, 0.1]])
    transform = GazeMap((16, 32), sigma=0.05)
    torch.testing.assert_close(transform(points), blur_fixations(fixation_map(points, (16, 32)), 0.05))
    torch.testing.assert_close(transform.fixations, fixation_map(points, (16, 32)))
    data = {"gaze": points, "name": "s001"}
    result = GazeMapd("gaze", size=(16, 32), sigma=0.05)(data)
    torch.testing.assert_close(result["gaze"], transform(points))
    assert torch.equal(result["gaze_fixations"], transform.fixations) and result["name"] == "s001"
    assert data["gaze"] is points
    assert GazeMapd(["gaze", "other"], allow_missing_keys=True)(data)["gaze"].shape == (64, 64)


def test_what_does_not_fit_is_an_error():
    for points in (np.zeros(2), np.zeros((3, 3))):
        with pytest.raises(ValueError, match=r"\[N, 2\]"):
            fixation_map(points)
    with pytest.raises(ValueError, match="affine"):
        augmented_points(np.zeros((1, 2)), np.zeros((1, 2, 3)))
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="positive"):
            blur_fixations(torch.zeros(4, 4), wrong)
        with pytest.raises(ValueError, match="positive"):
            GazeMap(sigma=wrong)
    with pytest.raises(ValueError, match="positive"):
        GazeMap(size=0)
