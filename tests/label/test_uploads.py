# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_usspeech.data.files import InputError
from monai_usspeech.label.uploads import check_upload
from tests.data.media_factory import make_video

PICTURE = np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".PNG"])
def test_pictures(tmp_path, ending):
    place = tmp_path / f"tmpx{ending}"
    Image.fromarray(PICTURE).save(place)
    assert check_upload(place, "x") == ending.lower()


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mov", ".mkv"])
def test_videos(tmp_path, ending):
    place = tmp_path / f"tmpx{ending}"
    make_video(place, fps=10, size=(64, 48), frames=[PICTURE] * 4)
    assert check_upload(place, "x") == ending


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_volumes(tmp_path, ending):
    place = tmp_path / f"tmp.v1.x{ending}"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 6, 5), np.uint8), np.eye(4)), place)
    with pytest.raises(InputError, match="no time between its frames") as error:
        check_upload(place, "my clip")
    assert str(error.value).startswith("my clip: ") and str(tmp_path) not in str(error.value)
    assert check_upload(place, "my clip", fps=10) == ending


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("a.avi", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("a.mkv", b"\x89PNG\r\n\x1a\n"),
        ("a.png", b"no"),
        ("a.dcm", b"\0" * 200),
        ("a.nii", b"\x1f\x8b" * 100),
        ("a.nii.gz", b"x" * 400),
        ("a.tif", b"II*\x01"),
        ("a.webm", b""),
    ],
)
def test_a_file_is_what_its_ending_says(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="is not what its ending"):
        check_upload(tmp_path / name, "x")


def test_a_file_that_only_begins_right_is_refused(tmp_path):
    for name, content in {
        "a.png": b"\x89PNG\r\n\x1a\n" + b"x" * 100,
        "b.mp4": b"\0\0\0\x20ftypisom" + b"\0" * 64,
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as error:
            check_upload(tmp_path / name, "my clip")
        assert "my clip" in str(error.value) and str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("name", ["a.py", "a", "a.json", "a.mp4.exe"])
def test_other_endings_are_refused(tmp_path, name):
    Path(tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="none of the endings"):
        check_upload(tmp_path / name, "x")
