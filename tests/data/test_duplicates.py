# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_usspeech.data.duplicates import find_duplicates, merge_duplicate_groups
from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from tests.data.media_factory import make_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six different pictures; b.bmp shows what a.png shows, c.png too but one pixel differs."""
    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "b.bmp")
    other = pixels.copy()
    other[3, 4] ^= 1
    Image.fromarray(other).save(tmp_path / "c.png")
    Image.fromarray(pixels.reshape(30, 20)).save(tmp_path / "d.png")  # the same bytes in another shape
    make_video(tmp_path / "e.mp4", n_frames=5)
    shutil.copy(tmp_path / "e.mp4", tmp_path / "f.mp4")
    return tmp_path


def listed(folder: Path, *rows: tuple[str, str, str, int | None]) -> ImageSetDatalist:
    images = [LabelledImage(folder / name, label, group, None, fold) for name, label, group, fold in rows]
    return ImageSetDatalist("x", ("ben", "mal"), tuple(images))


def test_the_same_pixels_are_found_in_any_format_and_nothing_else(folder: Path):
    rows = [(name, "ben", name, None) for name in ("a.png", "b.bmp", "c.png", "d.png", "e.mp4", "f.mp4")]
    found = find_duplicates(listed(folder, *rows))
    assert [[path.name for path in same.files] for same in found] == [["a.png", "b.bmp"], ["e.mp4", "f.mp4"]]


def test_groups_classes_and_folds_are_told(folder: Path):
    (same,) = find_duplicates(listed(folder, ("a.png", "ben", "p1", 0), ("b.bmp", "mal", "p2", 1)))
    assert (same.groups, same.labels, same.folds) == (("p1", "p2"), ("ben", "mal"), (0, 1))


def test_frames_of_one_video_are_no_duplicates_of_one_another(folder: Path):
    images = [LabelledImage(folder / "e.mp4", "ben", "v", time) for time in (0.0, 0.1)]
    assert find_duplicates(ImageSetDatalist("x", ("ben",), tuple(images))) == ()


def test_merging_joins_chains_of_groups_and_the_folds_follow(folder: Path):
    names = ("a.png", "b.bmp", "c.png", "d.png", "e.mp4", "f.mp4")
    # p1 = p2 by a and b, p2 = p3 by e and f, p4 is alone
    datalist = listed(folder, *((n, "ben", g, 0) for n, g in zip(names, ("p1", "p2", "p4", "p4", "p3", "p2"))))
    merged = merge_duplicate_groups(datalist, find_duplicates(datalist))
    assert [image.group for image in merged] == ["p1", "p1", "p4", "p4", "p1", "p1"]
    assert merged.n_folds == 0
    drawn = merged.draw_folds(2)
    again = find_duplicates(drawn, find_duplicates(datalist))
    assert again == find_duplicates(drawn) and all(len(same.folds) == 1 for same in again)


def test_a_damaged_picture_is_named(folder: Path):
    (folder / "c.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match="c.png"):
        find_duplicates(listed(folder, ("a.png", "ben", "p1", None), ("c.png", "ben", "p1", None)))
