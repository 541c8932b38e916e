# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data import image_set_reader
from monai_usspeech.data.annotations import PLANES
from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_set_reader import ImageSetReader
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from monai_usspeech.data.store import ScanStore
from monai_usspeech.data.video_sources import video_frames
from tests.data.image_set_factory import picture
from tests.data.media_factory import make_video, read_index
from tests.data.store_factory import make_store


@pytest.mark.parametrize(("clip_seconds", "interval"), [(2.0, 0.25), (1.5, 8 / 30), (3.0, 0.01)])
def test_windows_hold_the_frames_of_their_time(tmp_path: Path, clip_seconds: float, interval: float):
    store = ScanStore(make_store(tmp_path, n_scans=2, seconds=7.3, size=8, speech=False, planes=True))
    source = video_frames(store, interval=interval, clip_seconds=clip_seconds)
    count = int(7.3 / clip_seconds)
    assert len(source.labels) == 2 * count and source.offsets[-1] == len(source.frame_labels)
    for video in range(2 * count):
        frames = range(*source.offsets[video : video + 2])
        times = np.array([source.describe(frame)[2] for frame in frames])
        begin = video % count * clip_seconds
        # an oracle that looks at each stored frame: on display at some multiple of the interval
        grid = np.arange(0, 7.2 + interval / 2, interval)
        shown = {max(t for t in np.arange(73) / 10 if t <= at + 1e-6) for at in grid}
        expected = sorted(t for t in shown if begin - 1e-6 <= t < begin + clip_seconds - 1e-6)
        assert np.allclose(times, expected)
        middle = begin + clip_seconds / 2
        assert PLANES[source.labels[video]] == ("4CH" if middle < 3.65 else "femur")
        assert [PLANES[source.frame_labels[frame]] for frame in frames] == [
            "4CH" if t < 3.65 else "femur" for t in times
        ]
        assert {source.describe(frame)[1] for frame in frames} == {f"s{video // count:03d}"}
    rows = source.offsets[count] + np.arange(3)[::-1]
    assert np.array_equal(source.read(rows)[:, 0], store["s001"].read_frames(source.numbers[rows]))


def test_a_scan_shorter_than_a_window_is_one_video(tmp_path: Path):
    root = make_store(tmp_path, n_scans=1, seconds=1.0, size=8, speech=False)
    source = video_frames(root, interval=0.2, clip_seconds=2.0, channels=3)
    assert source.offsets.tolist() == [0, 5] and source.labels.tolist() == [-1] and source.classes == ()
    assert source.read([0, 4]).shape == (2, 3, 8, 8)
    assert source.video_name(0) == "scan s000 from 0.00 s" and source.frame_name(4) == "scan s000 at 0.80 s"


@pytest.fixture
def images(tmp_path: Path) -> ImageSetDatalist:
    """A patient with two pictures of one class and one of another, a lone picture, and a video, out of order."""
    make_video(tmp_path / "v.mp4", n_frames=20)
    for name in "abcd":
        picture(tmp_path / f"{name}.png")
    entries = [("a.png", "ill", "p1"), ("v.mp4", "ill", "p2"), ("b.png", "well", "p1"), ("c.png", "ill", "p1")]
    listed = [LabelledImage(tmp_path / file, label, group) for file, label, group in entries]
    listed += [LabelledImage(tmp_path / "v.mp4", "ill", "p2", 0.5), LabelledImage(tmp_path / "d.png", None, "p3")]
    return ImageSetDatalist("x", ("ill", "well"), tuple(listed))


def test_pictures_of_a_group_and_class_and_frames_of_a_file_are_videos(images: ImageSetDatalist):
    source = video_frames(images, size=8)
    names = [source.describe(frame)[1:] for frame in range(6)]
    assert names == [("a.png", 0), ("c.png", 0), ("v.mp4", 0), ("v.mp4", 0.5), ("b.png", 0), ("d.png", 0)]
    assert source.offsets.tolist() == [0, 2, 4, 5, 6] and source.labels.tolist() == [0, 0, 1, -1]
    assert source.frame_labels.tolist() == [0, 0, 0, 0, 1, -1] and source.subjects == ("p1", "p2", "p3")
    assert [source.video_name(v) for v in range(4)] == ["images of p1", "video v.mp4", "image b.png", "image d.png"]
    assert [source.frame_name(frame) for frame in (1, 3)] == ["image c.png", "video v.mp4 at 0.50 s"]


def test_a_source_that_is_none_is_named(tmp_path: Path, images: ImageSetDatalist):
    images.save(tmp_path / "list.json")
    assert video_frames(str(tmp_path / "list.json"), size=8).labels.tolist() == [0, 0, 1, -1]
    with pytest.raises(InputError, match="no such scan store"):
        video_frames(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no prepared scan"):
        video_frames(tmp_path)
    root = make_store(tmp_path / "store", n_scans=1, seconds=1, size=8, speech=False)
    for settings in ({"interval": 0}, {"clip_seconds": -1}, {"channels": 2}):
        with pytest.raises(InputError, match="give seconds above 0, and 1 or 3 channels"):
            video_frames(root, **settings)


# --- the reader ---


@pytest.mark.parametrize(("keep", "decoded"), [(True, [[0.0, 0.5]]), (False, [[0.5], [0.0, 0.5]])])
def test_a_kept_video_is_decoded_once(images: ImageSetDatalist, monkeypatch, keep: bool, decoded: list[list[float]]):
    calls: list[list[float]] = []
    read = image_set_reader.read_video_frames
    monkeypatch.setattr(
        image_set_reader,
        "read_video_frames",
        lambda path, times, channels: calls.append(times) or read(path, times, channels),
    )
    first, second = images.images[1], images.images[4]
    reader = ImageSetReader(images, (64, 96), keep_frames=keep)
    assert read_index(reader.read([second])[0, 0]) == 15
    assert [read_index(frame[0]) for frame in reader.read([second, first, second])] == [15, 0, 15]
    assert calls == decoded
