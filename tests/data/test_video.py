# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import open_video, rgb_to_luma
from tests.data.media_factory import index_frame, make_audio, make_video, read_index, trim_by_edit_list


def _numbers_and_times(path: Path, **options) -> tuple[list[int], np.ndarray]:
    with open_video(path) as source:
        frames = list(source.frames(**options))
        assert source.problems == [] and not source.truncated
    return [read_index(frame.image) for frame in frames], np.array([frame.time for frame in frames])


def _textured(n: int) -> list[np.ndarray]:
    """Numbered frames with noise: in MPEG, frames so small that several share a packet lose single time stamps."""
    frames = [index_frame(i, height=96) for i in range(n)]
    for i, frame in enumerate(frames):
        frame[40:] = np.random.RandomState(i).randint(0, 256, frame[40:].shape)
    return frames


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("b_frames.mp4", {"options": {"bf": "3", "g": "12"}}),
        ("plain.mov", {}),
        ("plain.mkv", {}),
        ("plain.avi", {}),
        ("motion.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("b_frames.avi", {"codec": "libx264", "options": {"bf": "2", "g": "12"}}),  # an AVI has no presentation stamps
        ("plain.gif", {"fps": 10}),
        ("plain.mpeg", {"fps": 25, "frames": _textured(40)}),
        ("plain.ts", {}),
        ("late.mp4", {"start": 0.5}),
        ("late.mkv", {"start": 0.5}),
        ("one.mp4", {"n_frames": 1}),
    ],
)
def test_constant_rate_files_give_every_frame_in_order_at_its_time(tmp_path, name, options):
    height = 96 if "frames" in options else 64
    path = make_video(tmp_path / name, **{"n_frames": 40, "size": (96, height), **options})
    numbers, times = _numbers_and_times(path)
    count, fps = options.get("n_frames", 40), options.get("fps", 30)
    assert numbers == list(range(count))
    np.testing.assert_allclose(times, np.arange(count) / fps, atol=6e-4)  # Matroska rounds to milliseconds
    info = open_video(path).info
    assert info.kind == "media" and (info.width, info.height) == (96, height)
    assert info.n_frames in (count, None)
    assert info.fps == pytest.approx(fps, rel=1e-3)
    if name not in ("plain.ts", "plain.mpeg"):  # MPEG streams start their clock where they like
        assert info.start_time == pytest.approx(options.get("start", 0.0), abs=1e-3)
        assert info.duration == pytest.approx(count / fps, abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_rate_times_are_the_files_own(tmp_path, suffix):
    shown = [0.0, 0.05, 0.06, 0.3, 0.31, 1.0, 2.5]
    numbers, times = _numbers_and_times(make_video(tmp_path / f"v{suffix}", times=shown, start=0.25))
    assert numbers == list(range(7))
    np.testing.assert_allclose(times, shown, atol=6e-4)


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "2", "g": "60"}])
def test_edit_list_hides_frames_and_is_no_truncation(tmp_path, options):
    path = make_video(tmp_path / "edited.mp4", 60, options=options)
    trim_by_edit_list(path, 0.5)
    numbers, times = _numbers_and_times(path)
    assert numbers == list(range(15, 60))
    np.testing.assert_allclose(times, np.arange(45) / 30, atol=1e-6)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation_is_applied(tmp_path, rotation):
    path = make_video(tmp_path / "turned.mp4", 3, size=(96, 80), rotation=rotation)
    source = open_video(path)
    assert (source.info.width, source.info.height) == ((96, 80) if rotation == 180 else (80, 96))
    for frame in source.frames():
        assert read_index(np.rot90(frame.image, -rotation // 90)) == frame.index
    assert source.sample_frames(2)[0].shape == (source.info.height, source.info.width)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unmarked.mp4", {}),
        ("limited.mp4", {"full_range": False}),
        ("full.mp4", {"full_range": True}),
        ("ten_bit.mp4", {"pix_fmt": "yuv420p10le"}),
        ("chroma.mp4", {"pix_fmt": "yuv444p"}),
        ("grey.mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
        ("grey16.mkv", {"codec": "ffv1", "pix_fmt": "gray16le"}),
        ("rgb.mkv", {"codec": "ffv1", "pix_fmt": "bgr0"}),
        ("jpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("grey.gif", {"fps": 10}),
    ],
)
@pytest.mark.parametrize("channels", ["luma", "rgb"])
def test_stored_range_becomes_full_range(tmp_path, name, options, channels):
    path = make_video(tmp_path / name, 3, options={"crf": "1"} if name.endswith(".mp4") else None, **options)
    image = next(open_video(path).frames(channels)).image
    assert image.dtype == np.uint8 and image.ndim == (2 if channels == "luma" else 3)
    grey = image if channels == "luma" else rgb_to_luma(image)
    # the grey ramp from 0 to 255; limited range left alone would span 16 to 235
    assert np.abs(grey[32].astype(int) - index_frame(0)[32]).max() <= 5
    assert np.abs(grey[32].mean() - index_frame(0)[32].mean()) < 2.5  # FFmpeg rounds 10-bit colours down


def test_luma_of_colours_is_bt601():
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [77, 77, 77]], np.uint8)
    np.testing.assert_array_equal(rgb_to_luma(colours), [76, 150, 29, 255, 0, 77])
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    np.testing.assert_array_equal(rgb_to_luma(ramp), np.arange(256))


def test_stride_and_bounds_choose_frames_without_moving_their_times(tmp_path):
    source = open_video(make_video(tmp_path / "a.mp4", 40))
    frames = list(source.frames(stride=7, start=0.3, stop=1.0))
    assert [f.index for f in frames] == [14, 21, 28] == [read_index(f.image) for f in frames]
    np.testing.assert_allclose([f.time for f in frames], [14 / 30, 21 / 30, 28 / 30])
    assert source.problems == []


def test_bad_arguments_fail_at_the_call(tmp_path):
    source = open_video(make_video(tmp_path / "a.mp4", 3))
    with pytest.raises(ValueError, match="stride"):
        source.frames(stride=0)
    with pytest.raises(ValueError, match="channels"):
        source.frames("grey")
    with pytest.raises(InputError, match="fps must be a positive"):
        open_video(tmp_path / "a.mp4", fps=-1)


@pytest.mark.parametrize("gop", ["10", "1000"])
@pytest.mark.parametrize("n", [1, 4, 16])
def test_samples_are_spread_over_the_file(tmp_path, gop, n):
    options = {"g": gop, "bf": "0", "sc_threshold": "0"}
    source = open_video(make_video(tmp_path / "a.mp4", 120, options=options))
    numbers = [read_index(image) for image in source.sample_frames(n)]
    assert n / 2 <= len(numbers) <= n and numbers == sorted(set(numbers))
    if n > 1:
        assert numbers[0] < 40 and numbers[-1] >= 80


def test_content_decides_where_the_suffix_is_wrong(tmp_path):
    path = make_video(tmp_path / "a.mp4", 5).rename(tmp_path / "a.avi")
    assert _numbers_and_times(path)[0] == list(range(5))
    odd = make_video(tmp_path / "b.mp4", 5).rename(tmp_path / "scan:1 %02d é.mp4")
    assert _numbers_and_times(odd)[0] == list(range(5))


def test_raw_stream_needs_a_rate(tmp_path):
    path = tmp_path / "a.h264"
    with av.open(str(make_video(tmp_path / "a.mp4", 20, options={"bf": "0"}))) as container:
        unwrap = BitStreamFilterContext("h264_mp4toannexb", container.streams.video[0])
        path.write_bytes(b"".join(bytes(p) for packet in container.demux(video=0) for p in unwrap.filter(packet)))
    with pytest.raises(InputError, match=r"a\.h264.*Set fps"):
        open_video(path)
    frames = list(open_video(path, fps=12.5).frames())
    assert [read_index(f.image) for f in frames] == list(range(20))
    np.testing.assert_allclose([f.time for f in frames], np.arange(20) / 12.5)


def test_sound_beside_the_picture_changes_nothing(tmp_path):
    sound = np.zeros((1, 48000 * 3), np.float32)
    path = make_video(tmp_path / "a.mkv", 40, audio=sound)  # the sound outlasts the picture
    assert _numbers_and_times(path)[0] == list(range(40))


def _count(source, queue) -> None:
    queue.put([read_index(frame.image) for frame in source.frames(stride=10)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_source_used_before_works_in_another_process(tmp_path, method):
    source = open_video(make_video(tmp_path / "a.mp4", 40))
    walk = source.frames()
    next(walk)
    assert pickle.loads(pickle.dumps(source)).info == source.info
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_count, args=(source, queue))
    process.start()
    assert queue.get(timeout=60) == [0, 10, 20, 30]
    process.join(timeout=60)
    assert read_index(next(walk).image) == 1


def test_sound_file_given_as_video(tmp_path):
    path = make_audio(tmp_path / "a.wav", np.zeros((1, 4800), np.float32))
    with pytest.raises(InputError, match=r"a\.wav.*no video stream"):
        open_video(path)
