# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from monai_usspeech.data.clip_files import list_clip_files
from monai_usspeech.data.files import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.MP4", "a.png", "deep/c.nii.gz", "deep/notes.txt", ".hidden/d.mp4", ".e.mp4", "f.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.mp4").mkdir()
    return tmp_path


def names(items, folder):
    return [item["image"].removeprefix(f"{folder}/") for item in items]


def test_a_folder_is_searched_for_clips_and_pictures(folder):
    assert names(list_clip_files(folder), folder) == ["a.png", "b.MP4", "deep/c.nii.gz"]


def test_a_named_file_may_have_any_suffix(folder):
    assert list_clip_files(str(folder / "f.gz")) == [{"image": str(folder / "f.gz")}]


def test_a_list_keeps_its_order_and_names_nothing_twice(folder):
    items = list_clip_files([folder / "deep/notes.txt", folder / "b.MP4", folder])
    assert names(items, folder) == ["deep/notes.txt", "b.MP4", "a.png", "deep/c.nii.gz"]


@pytest.mark.parametrize(
    ("wrong", "message"), [("none.mp4", "no such file"), ("folder.mp4", "no clip or picture"), ([], "no file is named")]
)
def test_nothing_to_read_is_said(folder, wrong, message):
    with pytest.raises(InputError, match=message):
        list_clip_files(folder / wrong if isinstance(wrong, str) else wrong)
