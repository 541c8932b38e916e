# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.speech import read_speech, speech_on_video_time, speech_origin
from monai_usspeech.data.ultrasuite import FanConverter, UltrasuiteParameters, read_ultrasuite_parameters
from monai_usspeech.data.video import open_video
from tests.data.media_factory import click_times, click_track, make_audio

PARAMETERS = {
    "NumVectors": "63", "PixPerVector": "412", "ZeroOffset": "51", "BitsPerPixel": "8", "Angle": "0.038", "Kind": "0",
    "PixelsPerMm": "10.000", "FramesPerSec": "121.618", "TimeInSecsOfFirstFrame": "0.50730",
}  # fmt: skip


def _recording(folder: Path, n: int = 5, name: str = "a.param", extra: bytes = b"", **changes) -> Path:
    values = {**PARAMETERS, **changes}
    (folder / name).write_text("".join(f"{k}={v}\n" for k, v in values.items() if v is not None))
    frames = np.random.RandomState(0).randint(0, 256, (n, 63, 412)).astype(np.uint8)
    (folder / "a.ult").write_bytes(frames.tobytes() + extra)
    return folder / "a.ult"


def _explicit_fan(frame: np.ndarray, p: UltrasuiteParameters) -> np.ndarray:
    """The fan by an explicit loop over its pixels, from the geometry's definition."""
    half, far = (p.vectors - 1) / 2 * p.angle, p.zero_offset + p.pixels - 1
    width = 2 * math.ceil(far * math.sin(half)) + 1
    height = math.ceil(far - p.zero_offset * math.cos(half)) + 1
    fan = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, far - row
            v, s = (p.vectors - 1) / 2 + math.atan2(x, y) / p.angle, math.hypot(x, y) - p.zero_offset
            if 0 <= v <= p.vectors - 1 and 0 <= s <= p.pixels - 1:
                v0, s0 = min(int(v), p.vectors - 2), min(int(s), p.pixels - 2)
                a, b = v - v0, s - s0
                low = (1 - b) * frame[v0, s0] + b * frame[v0, s0 + 1]
                high = (1 - b) * frame[v0 + 1, s0] + b * frame[v0 + 1, s0 + 1]
                fan[row, column] = (1 - a) * low + a * high
    return fan


@pytest.mark.parametrize("parameters", [
    UltrasuiteParameters(15, 40, 10, 0.1, 100, 0), UltrasuiteParameters(8, 30, 0, 0.2, 100, 0),
])  # fmt: skip
def test_scan_conversion_equals_the_loop(parameters):
    frame = np.random.RandomState(1).randint(0, 256, (parameters.vectors, parameters.pixels)).astype(np.uint8)
    fan = FanConverter(parameters)(frame)
    expected = _explicit_fan(frame, parameters)
    assert fan.shape == expected.shape and fan.dtype == np.uint8
    assert np.abs(fan - expected).max() <= 0.51


def test_fan_orientation_first_scanline_left_probe_below():
    converter = FanConverter(UltrasuiteParameters(63, 412, 51, 0.038, 120, 0))
    height, width = converter.size
    assert (height, width) == (444, 855)
    left = np.zeros((63, 412), np.uint8)
    left[:10] = 255
    fan = converter(left)
    assert fan[:, : width // 2].any() and not fan[:, width // 2 + 1 :].any()
    near = np.zeros((63, 412), np.uint8)
    near[:, :40] = 255
    rows = np.flatnonzero(converter(near).any(axis=1))
    assert rows.min() > height * 0.75 and rows.max() > 0.98 * height
    constant = converter(np.full((63, 412), 77, np.uint8))
    assert np.all(constant[converter.mask] == 77) and np.all(constant[~converter.mask] == 0)


@pytest.mark.parametrize("name", ["a.param", "aUS.txt", "a_US.txt"])
def test_recording_is_found_with_its_parameters(tmp_path, name):
    with open_video(_recording(tmp_path, name=name)) as source:
        frames = list(source.frames())
        assert source.info.kind == "ultrasuite" and source.info.n_frames == len(frames) == 5
        assert source.info.start_time == pytest.approx(0.5073)
        np.testing.assert_allclose([f.time for f in frames], np.arange(5) / 121.618)
        assert frames[0].image.shape == (source.info.height, source.info.width)
        assert next(source.frames("rgb")).image.shape == (*frames[0].image.shape, 3)
        assert len(source.sample_frames(3)) == 3 and not source.problems


def test_decimal_comma_and_a_late_sign(tmp_path):
    _recording(tmp_path, Angle="0,038", FramesPerSec="82,926", TimeInSecsOfFirstFrame="-0,1")
    p = read_ultrasuite_parameters(tmp_path / "a.param")
    assert (p.angle, p.fps, p.first_frame, p.pixels_per_mm) == (0.038, 82.926, -0.1, 10.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NumVectors": None}, r"a\.param: the line NumVectors=\.\.\. is missing"),
        ({"Angle": "wide"}, "Angle=wide is not a number"),
        ({"FramesPerSec": "0"}, "FramesPerSec=0"),
        ({"BitsPerPixel": "16"}, "BitsPerPixel=16"),
        ({"NumVectors": "9999"}, "less than one frame"),
    ],
)
def test_unusable_parameters(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        open_video(_recording(tmp_path, **changes))


def test_missing_parameter_file(tmp_path):
    path = _recording(tmp_path)
    (tmp_path / "a.param").unlink()
    with pytest.raises(InputError, match=r"a\.ult: its parameter file is missing. Put a\.param"):
        open_video(path)


def test_a_cut_recording_is_marked(tmp_path):
    source = open_video(_recording(tmp_path, extra=b"\0" * 100))
    assert len(list(source.frames())) == 5
    assert source.truncated and "100 bytes" in source.problems[0]


def test_speech_beside_an_ult_lies_on_its_clock(tmp_path):
    source = open_video(_recording(tmp_path, n=100))
    click = 0.5073 + 40 / 121.618  # sounds with frame 40
    track = read_speech(make_audio(tmp_path / "a.wav", click_track(2.0, [click], 48000)))
    samples, _ = speech_on_video_time(track, speech_origin(source.info, track), source.info.duration)
    assert click_times(samples / 32768, 24000) == pytest.approx([40 / 121.618], abs=2e-3)
