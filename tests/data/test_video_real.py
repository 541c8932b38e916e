# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Every real recording is read whole, and agrees with what its manifest says of it."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from monai_usspeech.data.readers import UltrasoundVideoReader
from monai_usspeech.data.speech import is_digital_silence, read_speech, speech_on_video_time, speech_origin
from monai_usspeech.data.video import open_video

VIDEO_SUFFIXES = {".mp4", ".avi", ".gif", ".mpeg", ".dcm"}


def _recordings(real_data):
    folders = ("us_speech", "pocus", "us_video_misc", "dicom")
    return [p for folder in folders for p in sorted((real_data / folder).rglob("*")) if p.suffix in VIDEO_SUFFIXES]


@pytest.mark.slow
def test_every_recording_is_read_without_a_complaint(real_data):
    paths = _recordings(real_data)
    assert len(paths) >= 45
    for path in paths:
        with open_video(path) as source:
            times, black = [], 0
            for frame in source.frames():
                assert frame.image.shape == (source.info.height, source.info.width) and frame.image.dtype == np.uint8
                times.append(frame.time)
                black += frame.image.max() == 0
            assert source.problems == [] and not source.truncated, path
            assert times[0] == 0.0 and np.all(np.diff(times) > 0), path
            assert black < len(times) / 2, path
            if len(times) > 1:
                assert times[-1] + 1 / source.info.fps == pytest.approx(source.info.duration, abs=0.09), path
            samples = source.sample_frames(8)
            assert 1 <= len(samples) <= 8 and all(s.shape == frame.image.shape for s in samples), path


def test_counts_and_rates_agree_with_the_table(real_data):
    with (real_data / "pocus" / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 30
    for row in rows:
        source = open_video(real_data / row["file"])
        assert (source.info.width, source.info.height) == (int(row["width"]), int(row["height"]))
        assert source.info.fps == pytest.approx(float(row["fps"]), abs=6e-4)
        declared = source.info.n_frames  # MPEG declares none: count
        counted = declared or sum(1 for _ in source.frames())
        assert counted == int(row["frames"])


def test_speech_of_the_tongue_recordings(real_data):
    paths = sorted(p for p in (real_data / "us_speech").rglob("*") if p.suffix in (".avi", ".mp4"))
    assert paths
    for path in paths:
        info = open_video(path).info
        track = read_speech(path)
        assert track.problems == () and not is_digital_silence(track)
        samples, covered = speech_on_video_time(track, speech_origin(info, track, same_file=True), info.duration)
        assert covered[0] == pytest.approx(0.0, abs=0.05) and covered[1] == pytest.approx(info.duration, abs=0.05)
        assert 50 < np.abs(samples.astype(int)).mean() < 8000


def test_unconnected_sound_tracks_are_known_as_silent(real_data):
    tracks = {}
    with (real_data / "pocus" / "metadata.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if int(row["audio_streams"]):
                tracks[row["file"]] = is_digital_silence(read_speech(real_data / row["file"]))
    assert len(tracks) >= 5 and any(tracks.values())


def test_every_speech_and_noise_file_is_read(real_data):
    paths = [p for folder in ("speech", "noise") for p in sorted((real_data / folder).rglob("*"))]
    paths = [p for p in paths if p.suffix in (".wav", ".flac", ".ogg")]
    assert len(paths) > 50
    for path in paths:
        track = read_speech(path)
        assert track.problems == () and np.isfinite(track.samples).all() and track.duration > 0.1, path
        assert is_digital_silence(track) == (path.name == "silence2sec.wav"), path


def test_dicom_cine_through_the_reader(real_data):
    reader = UltrasoundVideoReader()
    video, meta = reader.get_data(reader.read(real_data / "dicom" / "examples_ybr_color.dcm"))
    assert video.shape == (1, 30, 240, 320)
    np.testing.assert_allclose(meta["frame_times"], np.arange(30) * 0.033333)
    assert open_video(real_data / "dicom" / "examples_ybr_color.dcm").ultrasound_regions == (31, 84, 240, 320)
