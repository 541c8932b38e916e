# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import sys
import time

import numpy as np
import pytest
import torch

from monai_usspeech.transforms.voice_activity import (
    VoiceActivity,
    VoiceActivityd,
    _threshold,
    clip_activity,
    energy_voice_activity,
    frame_energy,
    silero_voice_activity,
    voice_activity,
    window_activity,
)

RATE = 8000
PER_FRAME = RATE // 100


def wave_of(energies: np.ndarray | list[float]) -> np.ndarray:
    """A square wave whose 10 ms frames have exactly these root mean squares."""
    signs = np.where(np.arange(PER_FRAME) % 2, -1.0, 1.0)
    return (np.asarray(energies, dtype=np.float64)[:, None] * signs).ravel()


def active_by_definition(
    energies: list[float], hangover: int, growth: float = 1.0001, floor: float = 1e-4
) -> list[bool]:
    """The algorithm as published, with the threshold from its definition, plus floor and caps."""
    e_init = sum(energies[:10]) / len(energies[:10])
    e_max, e_min, delta, counter = 0.0, max(e_init, floor), 1.0, hangover
    flags = []
    for e in energies:
        e_max = max(e_max, e)
        if e < e_min:
            e_min = max(e_init if e == 0 else e, floor)
            delta = 1.0
        scale = min(1.0, max(0.0, (e_max - e_min) / e_max)) if e_max > 0 else 0.0
        threshold = (1 - scale) * e_max + scale * e_min
        if e > threshold:
            flags.append(True)
            counter = 0
        else:
            flags.append(counter < hangover)
            counter += 1
        delta *= growth
        e_min = max(min(e_min * delta, e_max), floor)
    return flags


def test_threshold_equals_its_definition():
    rng = np.random.RandomState(0)
    for lowest, highest in np.sort(rng.uniform(0, 1, (2000, 2)), axis=1):
        scale = (highest - lowest) / highest
        assert abs(_threshold(lowest, highest) - ((1 - scale) * highest + scale * lowest)) < 1e-15
        assert lowest <= _threshold(lowest, highest) < 2 * lowest
    assert _threshold(0.5, 0.3) == 0.3  # a noise floor above the maximum: scale clipped to 0


@pytest.mark.parametrize("hangover", [0, 8, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_energy_matches_the_published_loop(seed, hangover):
    rng = np.random.RandomState(seed)
    level = np.repeat(10.0 ** rng.uniform(-5, -0.5, 60), rng.randint(5, 60, 60))
    energies = level * rng.uniform(0.7, 1.3, level.size)
    energies[rng.uniform(size=level.size) < 0.05] = 0.0
    wave = wave_of(energies)
    expected = active_by_definition(frame_energy(wave, RATE).tolist(), hangover)
    flags = energy_voice_activity(wave, RATE, hangover=hangover)
    assert flags.dtype == bool and 0.05 < flags.mean() < 0.95
    np.testing.assert_array_equal(flags, expected)


@pytest.mark.parametrize("frames, factor", [(100, 1.66), (200, 7.5), (300, 91)])
def test_noise_floor_grows_super_exponentially(frames, factor):
    exact = 1.0001 ** (frames * (frames + 1) / 2)
    assert exact == pytest.approx(factor, rel=0.01)
    # a step of that ratio stays active until the grown floor has reached it, which is after exactly these frames
    energies = [1.0] * 20 + [0.999] + [0.999 * exact * 0.99999] * 400
    flags = energy_voice_activity(wave_of(np.array(energies) * 1e-3), RATE, hangover=0)
    assert not flags[:21].any()
    np.testing.assert_array_equal(np.flatnonzero(flags), 21 + np.arange(frames - 1))


def test_louder_noise_is_learnt_and_a_tone_dropped():
    rng = np.random.RandomState(1)
    noise = 0.002 * rng.uniform(0.95, 1.05, 1000)
    noise[300:] *= 4
    noise[50:60] = 0.3  # speech sets the maximum; with noise alone the threshold lies inside the noise
    flags = energy_voice_activity(wave_of(noise), RATE)
    # the threshold is twice the floor, so the floor must double: n (n + 1) / 2 = ln 2 / 1e-4, 1.2 s, plus the hangover
    assert flags[302:400].all() and not flags[430:].any()
    assert energy_voice_activity(wave_of(noise), RATE, growth=1.0)[302:].all()  # never without growth
    tone = 0.002 * rng.uniform(0.95, 1.05, 1000)
    tone[300:800] = 0.03
    tone[50:60] = 0.3
    flags = energy_voice_activity(wave_of(tone), RATE, hangover=0)
    dropped = np.flatnonzero(~flags[300:])[0]
    assert flags[300 : 300 + dropped].all() and 1.7 < dropped / 100 < 2.1  # 15 times as loud: a factor of 7.5
    assert not flags[300 + dropped : 800].any()


def test_silence_is_inactive_and_does_not_make_the_rest_active():
    assert not energy_voice_activity(np.zeros(5 * RATE), RATE).any()
    quiet = wave_of(np.r_[np.zeros(100), np.full(100, 5e-5), np.zeros(100), np.full(100, 9e-5)])
    assert not energy_voice_activity(quiet, RATE).any()
    assert energy_voice_activity(quiet, RATE, floor=1e-9).any()  # what the floor is for
    # the same in the middle of a recording: E_init takes the place of a zero
    gap = wave_of(np.r_[np.full(200, 0.01), np.zeros(50), np.full(200, 0.0101)])
    assert not energy_voice_activity(gap, RATE)[:250].any()


def test_burst_over_noise_with_hangover():
    energies = np.full(300, 0.01)
    energies[150:180] = 0.1
    for hangover in (0, 8, 20):
        flags = energy_voice_activity(wave_of(energies), RATE, hangover=hangover)
        np.testing.assert_array_equal(np.flatnonzero(flags), np.arange(150, 180 + hangover))


def test_click_is_called_active():
    wave = 0.001 * np.random.RandomState(0).randn(3 * RATE)
    wave[RATE : RATE + 16] += 0.8
    assert energy_voice_activity(wave, RATE)[100]


def test_gain_and_number_format_do_not_matter():
    rng = np.random.RandomState(3)
    level = np.repeat(rng.uniform(0.01, 0.4, 40), 25)
    wave = (wave_of(level) * rng.uniform(0.5, 1.5, level.size * PER_FRAME)).astype(np.float32)
    integers = (wave * 32768).round().clip(-32768, 32767).astype(np.int16)
    flags = energy_voice_activity(integers, RATE)
    np.testing.assert_array_equal(flags, energy_voice_activity(integers / np.float32(32768), RATE))
    np.testing.assert_array_equal(flags, energy_voice_activity(torch.from_numpy(integers), RATE))
    np.testing.assert_array_equal(flags, energy_voice_activity(integers / np.float32(65536), RATE))


@pytest.mark.parametrize("rate, samples", [(8000, 8000), (22050, 22049), (44100, 441), (24000, 239), (11025, 5000)])
def test_frame_energy(rate, samples):
    wave = np.random.RandomState(0).randn(samples) * 0.1
    energies = frame_energy(wave, rate)
    assert len(energies) == math.floor(samples * 100 / rate)
    borders = [int(np.floor(j * rate / 100 + 0.5)) for j in range(len(energies) + 1)]
    expected = [np.sqrt(np.mean(wave[a:b] ** 2)) for a, b in zip(borders, borders[1:])]
    np.testing.assert_allclose(energies, expected, rtol=1e-12)


def test_thirty_minutes_take_a_few_seconds():
    wave = np.tile(np.random.RandomState(0).randn(RATE * 60).astype(np.float32) * 0.05, 30)
    start = time.perf_counter()
    assert len(energy_voice_activity(wave, RATE)) == 180_000
    assert time.perf_counter() - start < 5


def test_shares():
    flags = np.random.RandomState(0).uniform(size=1037) < 0.4
    windows = window_activity(flags)
    assert windows.shape == (1037 - 59,)
    np.testing.assert_allclose(windows, [flags[j : j + 60].mean() for j in range(len(windows))])
    short = window_activity(torch.from_numpy(flags), 7)
    np.testing.assert_allclose(short[:5], [flags[j : j + 7].mean() for j in range(5)])
    np.testing.assert_allclose(clip_activity(flags), [flags[j * 200 : j * 200 + 200].mean() for j in range(5)])
    for n in (0, 1, 58, 59, 60):
        assert window_activity(flags[:n]).shape == (max(n - 59, 0),) and clip_activity(flags[:n]).shape == (0,)


@pytest.mark.parametrize(
    "wave, settings, message",
    [
        (np.zeros((2, 800)), {}, r"\(2, 800\)"),
        (np.zeros(800, dtype=np.int32), {}, "int32"),
        (np.full(800, np.nan), {}, "not finite"),
        (np.zeros(800), {"hangover": -1}, "hangover"),
        (np.zeros(800), {"growth": 0.9}, "growth"),
        (np.zeros(800), {"method": "webrtc"}, "energy, silero"),
    ],
)
def test_bad_input(wave, settings, message):
    with pytest.raises(ValueError, match=message):
        voice_activity(wave, RATE, **settings)


def test_transforms():
    wave = wave_of(np.r_[np.full(100, 0.01), np.full(30, 0.1), np.full(100, 0.01)])
    expected = energy_voice_activity(wave, RATE, hangover=3)
    flags = VoiceActivity(RATE, hangover=3)(torch.from_numpy(wave)[None])
    assert flags.dtype == torch.bool and flags.tolist() == expected.tolist()
    result = VoiceActivityd("speech", RATE, hangover=3)({"speech": wave})
    assert result["speech"] is wave and result["speech_voice_activity"].tolist() == expected.tolist()
    assert VoiceActivityd("other", RATE, allow_missing_keys=True)({"speech": wave}).keys() == {"speech"}
    with pytest.raises(ValueError, match="unknown voice activity method"):
        VoiceActivity(method="louder")


def test_silero_missing_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(ImportError, match=r'pip install "monai_usspeech\[vad\]"'):
        silero_voice_activity(np.zeros(16000), 16000)


def test_silero_leaves_the_threads_alone(monkeypatch):
    pytest.importorskip("silero_vad")
    for name in [name for name in sys.modules if name.split(".")[0] == "silero_vad"]:
        monkeypatch.delitem(sys.modules, name)  # its import is what sets one thread
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert not silero_voice_activity(np.zeros(24000), 24000).any()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_silero_on_real_speech(real_data):
    pytest.importorskip("silero_vad")
    from monai_usspeech.data.speech import read_speech

    path = real_data / "speech" / "librispeech" / "8629-261140-0001.flac"
    wave = read_speech(path, 24000).samples
    flags = silero_voice_activity(wave, 24000)
    np.testing.assert_array_equal(flags, silero_voice_activity(wave, 24000))  # same input, same flags
    assert len(flags) == len(wave) // 240
    assert (flags == silero_voice_activity(read_speech(path, 16000).samples, 16000)[: len(flags)]).mean() > 0.98
    delayed = silero_voice_activity(np.concatenate([np.zeros(24000, np.float32), wave]), 24000)
    assert not delayed[:90].any() and (delayed[100:] == flags).mean() > 0.95  # flags lie where the speech is


def test_silero_beats_webrtcvad_and_energy_on_labelled_speech(real_data):
    pytest.importorskip("silero_vad")
    pytest.importorskip("webrtcvad")
    from benchmarks.voice_activity import detectors, evaluate, labelled_speech

    recordings = labelled_speech(real_data)
    results = {name: evaluate(detect, recordings) for name, detect in detectors().items()}
    silero = results.pop("silero")
    for name, counts in results.items():
        assert silero.balanced_accuracy > counts.balanced_accuracy + 0.01, name
    assert silero.recall > 0.85 and silero.false_positive_rate < 0.2
    # the literal method of the paper finds nearly all speech, and calls half of the rest speech
    assert results["energy, hangover 8"].recall > 0.95 and results["energy, hangover 8"].false_positive_rate > 0.4
