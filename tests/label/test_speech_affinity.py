# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The fit of narration and pictures, against loops over windows and against the network called on pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_usspeech.data.store import STORE_SAMPLE_RATE
from monai_usspeech.label.speech_affinity import (
    WINDOW_SECONDS,
    ClipSound,
    affinity_and_margin,
    clip_affinity,
    read_clip_sound,
    voiced_windows,
)
from monai_usspeech.networks import VideoSpeechNet
from monai_usspeech.transforms.spectrogram import LogSpectrogram, spectrogram_statistics
from tests.data.media_factory import click_track, make_audio, make_video
from tests.data.store_factory import speech_bursts


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("seed", range(4))
def test_affinity_and_margin_are_those_of_the_loops(seed: int):
    rng = np.random.RandomState(seed)
    times = np.sort(rng.uniform(0, 6, 9))
    video, speech = rng.standard_normal((2, 9, 5))
    own, more = [], []
    for i in range(9):
        own.append(cosine(video[i], speech[i]))
        far = [cosine(video[j], speech[i]) for j in range(9) if abs(times[j] - times[i]) >= 2]
        if far:
            more.append(own[i] - sum(far) / len(far))
    affinity, margin = affinity_and_margin(video, speech, times)
    assert affinity == pytest.approx(sum(own) / len(own))
    assert margin == pytest.approx(sum(more) / len(more))


def test_equal_directions_fit_perfectly_and_a_short_clip_has_no_margin():
    rows = np.random.RandomState(0).standard_normal((4, 6))
    affinity, margin = affinity_and_margin(rows, 3 * rows, np.arange(4) * 0.5)
    assert affinity == pytest.approx(1.0) and margin is None
    with pytest.raises(ValueError, match="must be"):
        affinity_and_margin(rows, rows[:3], np.arange(4))


def test_windows_are_those_with_enough_voice():
    rng = np.random.RandomState(1)
    flags = np.repeat(rng.random_sample(60) < 0.5, 17)[:1000]
    expected = []
    for number in range(40):
        start = 0.5 * number
        if start + WINDOW_SECONDS <= 9.9:
            cell = round(100 * start)
            if sum(flags[cell : cell + 60]) >= 30 and cell + 60 <= len(flags):
                expected.append(start)
    assert voiced_windows(flags, 9.9).tolist() == expected and len(expected) > 3
    assert len(voiced_windows(flags, 0.5)) == 0 and len(voiced_windows(np.zeros(1000, bool), 10.0)) == 0
    long = voiced_windows(np.ones(100_000, bool), 1000.0)
    assert len(long) == 240 and long[0] == 0 and (np.diff(long) > 0).all() and long[-1] == 999.0


def sound_of(seed: int, seconds: float) -> ClipSound:
    samples, flags = speech_bursts(np.random.RandomState(seed), seconds)
    return ClipSound(samples, flags, spectrogram_statistics(samples / 32768.0))


def network() -> VideoSpeechNet:
    torch.manual_seed(0)
    return VideoSpeechNet("se_resnext_small", embedding_dim=16, projection="separate", order=False).eval()


def test_the_affinity_is_that_of_the_network_on_the_pairs():
    seconds, spectrogram, streams = 8.0, LogSpectrogram(size=(32, 32), normalise="band"), network()
    sound = sound_of(3, seconds)
    times = np.arange(80) / 10 + 0.03
    frames = torch.randn(80, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = clip_affinity(streams, spectrogram, streams.video_stream(frames), times, sound, seconds)
        shown, heard, middles = [], [], []
        for start in voiced_windows(sound.flags, seconds):
            middle = start + 0.3
            shown.append(max(place for place in range(80) if times[place] <= middle + 1e-6))
            wave = sound.samples[round(start * STORE_SAMPLE_RATE) :][: round(0.6 * STORE_SAMPLE_RATE)]
            heard.append(spectrogram(torch.from_numpy(wave), sound.statistics))
            middles.append(middle)
        pairs = streams(frames=frames[shown][None], speech_pos=torch.stack(heard)[None])
    video, speech = pairs["video"][0].double().numpy(), pairs["speech"][0].double().numpy()
    expected = affinity_and_margin(video, speech, np.array(middles))
    assert found.affinity == pytest.approx(expected[0], abs=1e-5)
    assert found.margin == pytest.approx(expected[1], abs=1e-5)
    assert found.speech_share == pytest.approx(sound.flags.mean()) and found.why == ""


def test_without_speech_there_is_no_affinity_and_a_reason():
    streams, spectrogram = network(), LogSpectrogram(size=(32, 32))
    features, times = torch.zeros(5, streams.num_features), np.arange(5) / 5
    none = clip_affinity(streams, spectrogram, features, times, None, 1.0, "no speech: the file is a picture")
    assert none.affinity is None and none.speech_share is None and none.why == "no speech: the file is a picture"
    sound = sound_of(0, 1.0)
    quiet = ClipSound(sound.samples, np.zeros(100, bool), sound.statistics)
    little = clip_affinity(streams, spectrogram, features, times, quiet, 1.0)
    assert little.affinity is None and little.speech_share == 0.0 and "too little voice" in little.why


def test_the_sound_beside_a_clip_lies_on_its_clock(tmp_path):
    clip = make_video(tmp_path / "c1.mp4", n_frames=40, fps=10)
    assert read_clip_sound(clip, "c1", 4.0) == (None, "no speech: the file has no sound track, and there is no c1.wav"
                                                " beside it")  # fmt: skip
    make_audio(tmp_path / "c1.wav", click_track(6.0, [2.5], 48000))
    sound, why = read_clip_sound(clip, "c1", 4.0)
    assert sound is not None and why == "" and len(sound.samples) == 4 * STORE_SAMPLE_RATE
    first = np.flatnonzero(np.abs(sound.samples.astype(int)) > 6000)[0] / STORE_SAMPLE_RATE
    assert first == pytest.approx(2.5, abs=0.01)
    assert len(sound.flags) == 400 and sound.flags[250:256].any() and not sound.flags[:240].any()


def test_the_own_sound_track_is_taken_where_there_is_no_other(tmp_path):
    clip = make_video(tmp_path / "c2.mkv", n_frames=30, fps=10, audio=click_track(3.0, [1.5], 48000), audio_codec="aac")
    sound, _ = read_clip_sound(clip, "c2", 3.0)
    assert sound is not None
    loud = np.flatnonzero(np.abs(sound.samples.astype(int)) > 6000) / STORE_SAMPLE_RATE
    assert loud[0] == pytest.approx(1.5, abs=0.02)


def test_silence_and_damage_are_told(tmp_path):
    clip = make_video(tmp_path / "c3.mp4", n_frames=30, fps=10)
    make_audio(tmp_path / "c3.wav", np.zeros((1, 48000 * 3), np.float32))
    assert read_clip_sound(clip, "c3", 3.0) == (None, "no speech: the recording is silent")
    (tmp_path / "c3.wav").write_bytes(b"not a sound")
    sound, why = read_clip_sound(clip, "c3", 3.0)
    assert sound is None and why.startswith("no speech: c3.wav") and str(tmp_path) not in why
