# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itk
import nibabel
import numpy as np
import pytest
import torch

from monai_usspeech.handlers.saliency_volume import (
    LEVEL_SHARES,
    ClipGrid,
    clip_grid,
    gaze_peaks,
    level_outlines,
    level_thresholds,
    on_grid,
    write_volume,
)
from tests.data.media_factory import make_video

BOX = (10, 20, 50, 100)  # top, left, bottom, right


def grid(step: int = 1, width: int = 120, height: int = 64) -> ClipGrid:
    return ClipGrid(width, height, step, 0, 1.0, np.eye(4))


def test_a_uniform_map_is_one_inside_the_crop_and_nothing_outside():
    laid = on_grid(torch.full((2, 8, 8), 1 / 64), BOX, grid())
    expected = np.zeros((64, 120), np.float32)
    expected[10:50, 20:100] = 1
    np.testing.assert_allclose(laid[1].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_peak_lies_where_the_map_has_it(step):
    density = torch.zeros(1, 8, 8)
    density[0, 2, 5] = 1  # centre: row 2.5 of 8 in a crop of 40, column 5.5 of 8 in a crop of 80
    laid = on_grid(density, BOX, grid(step))[0]
    row, column = divmod(int(laid.argmax()), laid.shape[1])
    # several grid pixels can share the highest value: their middle counts
    rows, columns = np.nonzero(np.isclose(laid, laid.max()))
    assert abs((rows.mean() + 0.5) * step - (10 + 2.5 / 8 * 40)) <= step
    assert abs((columns.mean() + 0.5) * step - (20 + 5.5 / 8 * 80)) <= step
    assert row in rows and column in columns
    ((x, y),) = gaze_peaks(laid[None], grid(step))
    assert [x * 120, y * 64] == pytest.approx([(column + 0.5) * step, (row + 0.5) * step], abs=0.02)


def test_a_peak_is_a_share_of_the_picture_where_the_grid_reaches_beyond_it():
    density = torch.zeros(1, 10, 10)
    density[0, 9, 9] = 1  # centre: 95 of 100 pixels
    over = grid(8, 100, 100)  # 13 grid pixels, 104 of the picture's
    laid = on_grid(density, (0, 0, 100, 100), over)
    ((x, y),) = gaze_peaks(laid, over)
    assert x == y == pytest.approx(0.95, abs=0.04) and x == pytest.approx(11.5 * 8 / 100, abs=1e-4)


def test_long_clips_get_larger_pixels(tmp_path):
    make_video(tmp_path / "a.avi", n_frames=2, size=(320, 240))
    for count, side in ((1000, 256), (12_000, 80)):
        found = clip_grid(tmp_path / "a.avi", np.arange(count))
        assert max(found.shape) <= side and count * np.prod(found.shape) <= 1.1 * 2**26


def test_the_mean_over_the_crop_stays_one():
    density = torch.rand(3, 16, 16).double()
    laid = on_grid(density / density.sum((1, 2), keepdim=True), (0, 0, 64, 64), grid(1, 64, 64))
    assert laid.mean((1, 2)).numpy() == pytest.approx(1, abs=0.05)  # bilinear: borders weigh a little more


def test_thresholds_are_those_of_the_smallest_area():
    density = torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(0)).double()
    density /= density.sum((1, 2), keepdim=True)
    found = level_thresholds(density)
    for one, row in zip(density, found):
        for share, threshold in zip(LEVEL_SHARES, row):
            held = 0.0
            for value in sorted(one.flatten().tolist(), reverse=True):
                held += value
                if held >= share - 1e-9:
                    break
            assert threshold == pytest.approx(value * 42)


def test_levels_are_nested():
    thresholds = level_thresholds(torch.softmax(torch.randn(3, 64), 1).view(3, 8, 8))
    assert (thresholds.diff(dim=1) > 0).all()  # a smaller share asks for more


def test_an_outline_encloses_the_area_that_it_is_the_edge_of():
    ys, xs = np.mgrid[:40, :60]
    disc = (100.0 - (xs - 30) ** 2 - (ys - 20) ** 2).astype(np.float32)  # at least 0 within 10 of (30, 20)
    (line,) = level_outlines(disc, 0.0, grid(2, 120, 80))
    x, y = np.array(line).T
    area = abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
    assert area == pytest.approx(np.pi * 20**2, rel=0.02)
    assert x.mean() == pytest.approx(30.5 * 2 - 0.5, abs=0.7) and y.mean() == pytest.approx(20.5 * 2 - 0.5, abs=0.7)


def test_an_area_at_the_edge_is_closed_inside_the_picture():
    block = np.zeros((10, 10), np.float32)
    block[:4, :4] = 1
    (line,) = level_outlines(block, 0.5, grid(1, 10, 10))
    points = np.array(line)
    assert (points >= 0).all() and (points <= 9).all()
    np.testing.assert_array_equal(points[0], points[-1])


def test_a_volume_lies_where_the_clip_lies(tmp_path):
    affine = np.array([[0.5, 0, 0, -20.0], [0, 0.7, 0, 5.0], [0, 0, 2.0, 1.0], [0, 0, 0, 1]])
    clip = np.random.default_rng(0).integers(0, 255, (120, 64, 9), np.uint8)
    nibabel.save(nibabel.Nifti1Image(clip, affine), tmp_path / "clip.nii.gz")
    placed = clip_grid(tmp_path / "clip.nii.gz", [1, 3, 5, 7], max_side=60, fps=10)
    assert (placed.step, placed.first, placed.every, placed.shape) == (2, 1, 2.0, (32, 60))
    maps = np.zeros((4, 32, 60), np.float32)
    maps[2, 11, 7] = 3.5
    write_volume(maps, placed, tmp_path / "maps.nrrd")
    read = itk.imread(tmp_path / "maps.nrrd")
    values = itk.array_from_image(read)  # frame, y, x
    assert values.dtype == np.float32 and values.shape == (4, 32, 60)
    frame, y, x = (int(axis[0]) for axis in np.nonzero(values))
    assert (frame, y, x) == (2, 11, 7)
    lps = np.array(read.TransformIndexToPhysicalPoint((x, y, frame)))
    # grid pixel 7 covers picture pixels 14 and 15, whose middle is 14.5; grid frame 2 is frame 5
    np.testing.assert_allclose(lps * [-1, -1, 1], (affine @ [14.5, 22.5, 5, 1])[:3], atol=1e-5)


@pytest.mark.parametrize("affine", [None, np.diag([0.5, 0.25, 2, 1]), np.diag([-0.5, -0.25, 2, 1])])
@pytest.mark.parametrize("unit", ["unknown", "mm", "meter", "micron"])
def test_a_volume_lies_where_viewers_put_the_clip(tmp_path, affine, unit):
    image = nibabel.Nifti1Image(np.zeros((12, 8, 5), np.uint8), affine)
    image.header["pixdim"][1:5] = 0.5, 0.25, 2.0, 0.1
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, tmp_path / "clip.nii")
    write_volume(np.zeros((5, 8, 12), np.float32), clip_grid(tmp_path / "clip.nii", range(5)), tmp_path / "maps.nrrd")
    clip, maps = (itk.imread(tmp_path / name) for name in ("clip.nii", "maps.nrrd"))
    for corner in ((0, 0, 0), (11, 0, 0), (0, 7, 0), (11, 7, 4)):
        places = [list(one.TransformIndexToPhysicalPoint(corner)) for one in (clip, maps)]
        np.testing.assert_allclose(places[1], places[0], rtol=1e-5, atol=1e-9)


def test_a_clip_whose_orientation_was_not_filled_in_gets_a_plain_grid(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((12, 8, 5), np.uint8), None)
    image.header["sform_code"] = 1  # with rows of zeros
    nibabel.save(image, tmp_path / "clip.nii")
    placed = clip_grid(tmp_path / "clip.nii", range(5), fps=10)
    np.testing.assert_array_equal(placed.own_affine, np.diag([-1.0, -1.0, 1.0, 1.0]))
    write_volume(np.zeros((5, 8, 12), np.float32), placed, tmp_path / "maps.nrrd")


def test_bytes_stay_bytes(tmp_path):
    write_volume(np.arange(24, dtype=np.uint8).reshape(1, 4, 6), grid(1, 6, 4), tmp_path / "levels.nrrd")
    values = itk.array_from_image(itk.imread(tmp_path / "levels.nrrd"))
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values.reshape(4, 6), np.arange(24).reshape(4, 6))


def test_a_video_has_a_plain_grid(tmp_path):
    placed = clip_grid(make_video(tmp_path / "a.mp4", 5), [0, 1, 2, 3, 4])
    assert (placed.width, placed.height, placed.step, placed.every) == (96, 64, 1, 1.0)
    np.testing.assert_array_equal(placed.own_affine, np.diag([-1.0, -1.0, 1.0, 1.0]))


def test_what_cannot_be_a_grid_is_refused(tmp_path):
    clip = make_video(tmp_path / "a.mp4", 2)
    with pytest.raises(ValueError, match="there must be a frame"):
        clip_grid(clip, [])
    with pytest.raises(ValueError, match="max_side must be at least 1"):
        clip_grid(clip, [0], max_side=0)
