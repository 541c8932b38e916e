# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from monai_usspeech.data._media import FrameClock
from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import open_video
from tests.data.media_factory import make_video, read_index

FASTSTART = {"movflags": "faststart"}


def _cut(path, share: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _read(path):
    source = open_video(path)
    frames = list(source.frames())
    return source, [read_index(f.image) for f in frames], np.array([f.time for f in frames])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"Dear colleague,\nthe recording follows.\n" * 20, "holds text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (np.random.RandomState(0).bytes(5000), "no video or sound format"),
        (b"\0\0\0\x18ftypmp42" + bytes(4000), "moov"),
    ],
)
def test_a_file_that_is_no_video_gives_one_sentence_with_its_name(tmp_path, content, message):
    path = tmp_path / "scan.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_video(path)
    assert "scan.mp4" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"none\.mp4: no such file"):
        open_video(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="not a file"):
        open_video(tmp_path)


def test_mp4_cut_before_its_index_says_so(tmp_path):
    with pytest.raises(InputError, match="moov"):
        open_video(_cut(make_video(tmp_path / "a.mp4", 90), 0.6))


@pytest.mark.parametrize(
    ("name", "container"), [("cut.mp4", FASTSTART), ("cut.mov", FASTSTART), ("cut.mkv", None), ("cut.avi", None)]
)
def test_a_cut_file_gives_what_it_has_and_is_marked(tmp_path, name, container):
    path = _cut(make_video(tmp_path / name, 120, options={"g": "15"}, container_options=container), 0.6)
    source, numbers, times = _read(path)
    assert source.truncated and any("cut short" in problem for problem in source.problems)
    assert 15 <= len(numbers) < 90 and numbers[:10] == list(range(10))
    np.testing.assert_allclose(times[:10], np.arange(10) / 30, atol=6e-4)
    assert np.all(np.diff(times) > 0)
    assert source.sample_frames(4)


def test_a_whole_file_is_not_marked_after_a_cut_one_was(tmp_path):
    source, _, _ = _read(make_video(tmp_path / "a.mp4", 30))
    assert not source.truncated and source.problems == []
    walk = source.frames()
    next(walk)
    walk.close()
    assert not source.truncated  # a walk that was given up says nothing about the end of the file


def test_damage_in_the_middle_is_counted_and_reading_goes_on(tmp_path):
    path = make_video(tmp_path / "a.mp4", 120, options={"g": "10", "bf": "0"}, container_options=FASTSTART)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[start : start + 400] = np.random.RandomState(0).bytes(400)
    path.write_bytes(bytes(data))
    source, numbers, times = _read(path)
    assert any("could not be decoded" in p or "damaged" in p for p in source.problems)
    assert not source.truncated
    assert numbers[:20] == list(range(20)) and numbers[-20:] == list(range(100, 120))
    np.testing.assert_allclose(times[-20:], np.arange(100, 120) / 30, atol=1e-6)  # the damage moves nothing behind it


def test_interlaced_video_is_named(tmp_path):
    source, numbers, _ = _read(make_video(tmp_path / "a.mp4", 10, options={"x264-params": "tff=1"}))
    assert numbers == list(range(10))
    assert any("interlaced" in problem for problem in source.problems)


def test_stamps_that_do_not_increase_are_filled_in_and_reported(tmp_path):
    class Stream:
        time_base, average_rate, guessed_rate = 0.001, 10, 10

    class Frame:
        def __init__(self, pts):
            self.pts = pts

    clock = FrameClock(Stream(), by_order=False, fps=None)
    # missing, repeated, and starting again after 5 s
    times = [clock.time(Frame(pts)) for pts in (5000, 5100, None, 5200, 5300, 0, 100, 200)]
    np.testing.assert_allclose(times, [5.0, 5.1, 5.2, 5.225, 5.3, 5.4, 5.5, 5.6])
    assert clock.untimed == 3
