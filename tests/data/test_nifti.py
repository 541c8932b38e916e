# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import open_video, rgb_to_luma
from tests.data.media_factory import index_frame

FRAMES = np.stack([index_frame(i) for i in range(6)])  # [T, H, W]


def _nifti(path: Path, data: np.ndarray, step: float | None = None, unit: str = "sec", **header) -> Path:
    image = nibabel.Nifti1Image(data, np.eye(4))
    if step is not None:
        image.header["pixdim"][4] = step
        image.header.set_xyzt_units("mm", unit)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("slices", [True, False])
def test_both_axis_orders_give_upright_frames(tmp_path, suffix, slices):
    data = FRAMES.transpose(2, 1, 0)
    path = _nifti(tmp_path / f"a{suffix}", data[:, :, None] if slices else data)
    source = open_video(path, fps=20)
    np.testing.assert_array_equal([f.image for f in source.frames()], FRAMES)
    np.testing.assert_allclose([f.time for f in source.frames()], np.arange(6) / 20)
    assert (source.info.width, source.info.height, source.info.n_frames) == (96, 64, 6)
    assert source.info.kind == "nifti" and source.info.duration == pytest.approx(0.3)
    assert len(source.sample_frames(3)) == 3
    rgb = next(source.frames("rgb", stride=2, start=0.1)).image
    np.testing.assert_array_equal(rgb, np.repeat(FRAMES[2][..., None], 3, axis=-1))


@pytest.mark.parametrize("form", ["last", "last5", "structured"])
def test_colour(tmp_path, form):
    colour = np.random.RandomState(0).randint(0, 256, (6, 64, 96, 3)).astype(np.uint8)
    data = np.ascontiguousarray(colour.transpose(2, 1, 0, 3))  # (W, H, T, 3)
    if form == "last5":
        data = data[:, :, None]
    elif form == "structured":
        data = data.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0][:, :, None]
    source = open_video(_nifti(tmp_path / "a.nii", data), fps=20)
    np.testing.assert_array_equal([f.image for f in source.frames("rgb")], colour)
    np.testing.assert_array_equal([f.image for f in source.frames()], rgb_to_luma(colour))


@pytest.mark.parametrize(("step", "unit", "seconds"), [(0.05, "sec", 0.05), (40, "msec", 0.04), (25000, "usec", 0.025)])
def test_time_step_of_the_header_goes_before_fps(tmp_path, step, unit, seconds):
    path = _nifti(tmp_path / "a.nii", FRAMES.transpose(2, 1, 0)[:, :, None], step, unit)
    np.testing.assert_allclose([f.time for f in open_video(path, fps=7).frames()], np.arange(6) * seconds, rtol=1e-6)


def test_no_clock_asks_for_fps(tmp_path):
    path = _nifti(tmp_path / "a.nii", FRAMES.transpose(2, 1, 0), 0.05, "unknown")
    with pytest.raises(InputError, match=r"a\.nii.*Set fps"):
        open_video(path)


@pytest.mark.parametrize(
    ("dtype", "header", "low", "high"),
    [("float32", {}, 0, 1), ("int16", {}, -1000, 3000), ("uint16", {"cal_min": 0, "cal_max": 4000}, 0, 4000)],
)
def test_wide_values_are_scaled(tmp_path, dtype, header, low, high):
    values = np.linspace(low, high, 256).astype(dtype)
    data = np.broadcast_to(values[:, None, None], (256, 4, 2)).copy()
    if dtype == "float32":
        data[0, 0, 0] = np.nan  # nothing was measured there: black
    image = next(open_video(_nifti(tmp_path / "a.nii", data, **header), fps=10).frames()).image
    assert np.abs(image[1].astype(int) - np.arange(256)).max() <= 1 and image[0, 0] == 0


def test_bad_files(tmp_path):
    with pytest.raises(InputError, match="is no cine"):
        open_video(_nifti(tmp_path / "volume.nii", np.zeros((4, 4, 4, 5), np.uint8)), fps=10)
    (tmp_path / "text.nii").write_text("not an image " * 100)
    with pytest.raises(InputError, match=r"text\.nii: not a readable NIfTI"):
        open_video(tmp_path / "text.nii", fps=10)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_cut_file_gives_the_frames_it_has(tmp_path, suffix):
    noise = np.random.RandomState(0).randint(0, 256, (64, 96, 20)).astype(np.uint8)
    path = _nifti(tmp_path / f"a{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_video(path, fps=10)
    numbers = [f.index for f in source.frames()]
    assert 5 <= len(numbers) < 15 and numbers == list(range(len(numbers)))
    assert source.truncated and source.problems
