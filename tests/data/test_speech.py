# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soxr

from monai_usspeech.data.files import InputError
from monai_usspeech.data.speech import (
    SpeechTrack,
    is_digital_silence,
    read_speech,
    speech_on_video_time,
    speech_origin,
)
from monai_usspeech.data.video import open_video
from tests.data.media_factory import click_times, click_track, is_bright, make_audio, make_video


def _sine(rate: int, seconds: float = 1.0, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    wave_ = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave_[None].astype(np.float32), channels, axis=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mov", {}),
        ("a.mkv", {}),
        ("a.avi", {}),
        ("a.ts", {}),
        ("44.mp4", {"audio_rate": 44100}),
        ("late_video.mp4", {"start": 0.5}),
        ("both_late.mkv", {"start": 0.5, "audio_start": 0.2}),
        ("late_audio.mp4", {"audio_start": 0.3}),
        ("opus.mkv", {"audio_codec": "libopus"}),
        ("pcm.mkv", {"audio_codec": "pcm_s16le"}),
        ("mp3.mp4", {"audio_codec": "libmp3lame"}),
        ("b_frames.avi", {"codec": "libx264", "options": {"bf": "2", "g": "12"}}),
    ],
)
def test_a_click_falls_on_its_bright_frame(tmp_path, name, options):
    bright = [12, 21, 32]
    clicks = [b / 30 + options.get("start", 0.0) - options.get("audio_start", 0.0) for b in bright]
    sound = click_track(2.2, clicks, options.get("audio_rate", 48000))
    path = make_video(tmp_path / name, 45, bright=bright, audio=sound, **options)
    source = open_video(path)
    seen = [frame.time for frame in source.frames() if is_bright(frame.image)]
    track = read_speech(path)
    samples, covered = speech_on_video_time(track, speech_origin(source.info, track, same_file=True), 1.5)
    heard = click_times(samples / 32768, 24000)
    assert samples.dtype == np.int16 and len(samples) == 36000
    assert len(heard) == len(seen) == 3
    assert np.abs(heard - seen).max() < 0.005
    assert covered[0] == pytest.approx(max(0.0, options.get("audio_start", 0.0) - options.get("start", 0.0)), abs=0.03)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        (f"a.{kind}", rate)
        for kind in ("wav", "flac", "ogg", "mp3", "m4a")
        for rate in (8000, 16000, 44100, 48000)
        if (kind, rate) != ("ogg", 44100)  # Opus has no such rate
    ],
)
def test_sound_files_of_any_rate_keep_time_and_level(tmp_path, name, rate):
    path = make_audio(tmp_path / name, click_track(1.0, [0.25, 0.7], rate, channels=2), rate)
    track = read_speech(path)
    assert track.sample_rate == 24000 and track.samples.dtype == np.float32 and track.start == 0.0
    np.testing.assert_allclose(click_times(track.samples, 24000), [0.25, 0.7], atol=1e-3)
    assert track.duration == pytest.approx(1.0, abs=0.05)
    tone = read_speech(make_audio(tmp_path / f"tone{Path(name).suffix}", _sine(rate), rate)).samples[6000:18000]
    assert np.sqrt(np.mean(tone**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.06)  # LAME scales by 0.95
    assert np.abs(np.fft.rfft(tone * np.hanning(12000))).argmax() * 2 == 440


@pytest.mark.parametrize(
    ("codec", "tolerance"),
    [("pcm_u8", 1 / 128), ("pcm_s16le", 1e-4), ("pcm_s24le", 1e-6), ("pcm_s32le", 1e-6), ("pcm_f32le", 1e-6),
     ("pcm_f64le", 1e-6), ("pcm_s16be", 1e-4)],
)  # fmt: skip
def test_sample_formats_have_one_scale(tmp_path, codec, tolerance):
    wave_ = _sine(24000)
    suffix = ".mov" if codec.endswith("be") else ".wav"
    with av.open(str(tmp_path / f"a{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=24000)
        stream.layout = "mono"
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=24000)
        frame = av.AudioFrame.from_ndarray(wave_, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 24000, Fraction(1, 24000), 0
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    np.testing.assert_allclose(read_speech(tmp_path / f"a{suffix}").samples, wave_[0], atol=tolerance)


def test_int16_survives_the_way_to_the_store_exactly(tmp_path):
    values = np.random.RandomState(0).randint(-32768, 32768, 24000).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(24000)
        file.writeframes(values.tobytes())
    samples, covered = speech_on_video_time(read_speech(tmp_path / "a.wav"), 0.0, 1.0)
    np.testing.assert_array_equal(samples, values)
    assert covered == (0.0, 1.0)


def test_channels_are_averaged(tmp_path):
    left, right = _sine(24000)[0], np.full(24000, 0.25, np.float32)
    path = make_audio(tmp_path / "a.wav", np.stack([left, right]), 24000, codec="pcm_f32le")
    np.testing.assert_allclose(read_speech(path).samples, (left + right) / 2, atol=1e-6)


def test_streamed_resampling_equals_one_call(tmp_path):
    noise = np.random.RandomState(0).uniform(-0.5, 0.5, (1, 44100 * 3)).astype(np.float32)
    path = make_audio(tmp_path / "a.wav", noise, 44100, codec="pcm_f32le")
    np.testing.assert_allclose(read_speech(path).samples, soxr.resample(noise[0], 44100, 24000, "HQ"), atol=1e-6)


def test_no_alias_from_above_the_new_band(tmp_path):
    path = make_audio(tmp_path / "a.wav", _sine(48000, hertz=15000), 48000, codec="pcm_f32le")
    assert np.abs(read_speech(path).samples[2400:-2400]).max() < 1e-4  # linear interpolation would fold it to 9 kHz


def _mkv_with_stamps(path: Path, blocks: list[tuple[float, np.ndarray]]) -> Path:
    """PCM blocks at given times (s), 48 kHz mono."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000)
        stream.layout = "mono"
        for start, block in blocks:
            frame = av.AudioFrame.from_ndarray((block[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), round(start * 48000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_gaps_become_zeros_and_nothing_behind_them_moves(tmp_path):
    block = np.full(4800, 0.5, np.float32)
    click = click_track(0.1, [0.05], 48000)[0]
    path = _mkv_with_stamps(tmp_path / "a.mkv", [(0.0, block), (0.1, block), (0.75, click), (0.85, block)])
    track = read_speech(path, 48000)
    assert track.duration == pytest.approx(0.95, abs=1e-3)
    assert np.all(track.samples[9700:35900] == 0) and track.samples[9500] == pytest.approx(0.5, abs=1e-3)
    assert click_times(track.samples[36000:40700], 48000)[0] == pytest.approx(0.05, abs=1e-3)
    assert len(track.problems) == 1 and "1 gaps" in track.problems[0] and "0.550 s" in track.problems[0]


def test_one_stray_stamp_is_jitter(tmp_path):
    tone = _sine(48000, 0.3)[0]
    blocks = [(0.0, tone[:4800]), (0.12, tone[4800:9600]), (0.2, tone[9600:])]
    track = read_speech(_mkv_with_stamps(tmp_path / "a.mkv", blocks), 48000)
    np.testing.assert_allclose(track.samples, tone, atol=1e-4)
    assert track.problems == ()


def test_overlap_is_cut_and_a_broken_stamp_does_not_fill_the_memory(tmp_path):
    block = np.full(4800, 0.5, np.float32)
    track = read_speech(_mkv_with_stamps(tmp_path / "a.mkv", [(0.0, block), (0.05, block), (0.15, block)]), 48000)
    assert track.duration == pytest.approx(0.25, abs=1e-3)
    jump = read_speech(_mkv_with_stamps(tmp_path / "b.mkv", [(0.0, block), (90_000.0, block)]), 48000)
    assert jump.duration == pytest.approx(0.2, abs=1e-3) and "jump" in jump.problems[0]


def test_a_video_without_sound_says_what_to_set(tmp_path):
    with pytest.raises(InputError, match=r'a\.mp4: the file has no sound track. Set "speech": null'):
        read_speech(make_video(tmp_path / "a.mp4", 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, bad):
    wave_ = _sine(48000)
    wave_[0, 30000] = bad
    with pytest.raises(InputError, match=r"a\.wav: the sound holds NaN or infinite values"):
        read_speech(make_audio(tmp_path / "a.wav", wave_, codec="pcm_f32le"))


def test_float_sound_in_integer_units(tmp_path):
    with pytest.raises(InputError, match=r"holds values up to 1\.638e\+04"):
        read_speech(make_audio(tmp_path / "a.wav", _sine(48000) * 32768, codec="pcm_f32le"))


def test_overshoot_is_clipped(tmp_path):
    samples = read_speech(make_audio(tmp_path / "a.wav", _sine(24000) * 3, 24000, codec="pcm_f32le")).samples
    assert samples.max() == 1.0 and samples.min() == -1.0


def test_empty_and_unreadable_files(tmp_path):
    with wave.open(str(tmp_path / "zero.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(24000)
    with pytest.raises(InputError, match=r"zero\.wav"):
        read_speech(tmp_path / "zero.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(InputError, match="empty"):
        read_speech(tmp_path / "empty.wav")
    (tmp_path / "text.wav").write_text("no sound " * 50)
    with pytest.raises(InputError, match="holds text"):
        read_speech(tmp_path / "text.wav")
    with pytest.raises(InputError, match="no such file"):
        read_speech(tmp_path / "none.wav")


@pytest.mark.parametrize(
    ("origin", "length", "expected", "covered"),
    [
        (0.0, 4, [1, 2, 3, 4, 0, 0, 0, 0], (0.0, 0.4)),
        (0.3, 4, [0, 0, 0, 1, 2, 3, 4, 0], (0.3, 0.7)),
        (-0.2, 4, [3, 4, 0, 0, 0, 0, 0, 0], (0.0, 0.2)),
        (0.6, 4, [0, 0, 0, 0, 0, 0, 1, 2], (0.6, 0.8)),
        (-0.3, 20, [4, 5, 6, 7, 8, 9, 10, 11], (0.0, 0.8)),
        (2.0, 4, [0] * 8, (0.0, 0.0)),
        (-2.0, 4, [0] * 8, (0.0, 0.0)),
    ],
)
def test_placing_on_video_time(origin, length, expected, covered):
    track = SpeechTrack(np.arange(1, length + 1, dtype=np.float32) / 32768, 10, 0.0)
    samples, stretch = speech_on_video_time(track, origin, 0.8)
    np.testing.assert_array_equal(samples, expected)
    assert stretch == pytest.approx(covered)


def test_full_scale_does_not_wrap():
    samples, _ = speech_on_video_time(SpeechTrack(np.array([1.0, -1.0], np.float32), 10, 0.0), 0.0, 0.2)
    np.testing.assert_array_equal(samples, [32767, -32768])


@pytest.mark.parametrize(("peak", "silent"), [(0.0, True), (2.0**-15, True), (1e-3, False)])
def test_digital_silence(peak, silent):
    samples = np.zeros(100, np.float32)
    samples[50] = -peak
    assert is_digital_silence(SpeechTrack(samples, 24000, 0.0)) is silent


def test_offset_moves_speech_later(tmp_path):
    video = open_video(make_video(tmp_path / "a.mp4", 3, start=0.5)).info
    track = SpeechTrack(np.zeros(10, np.float32), 24000, 0.2)
    assert speech_origin(video, track, same_file=True) == pytest.approx(-0.3)
    assert speech_origin(video, track, 0.1, same_file=True) == pytest.approx(-0.2)
    assert speech_origin(video, track, 0.1) == pytest.approx(0.1)  # another file starts with the first frame
