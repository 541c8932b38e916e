# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dct

from monai_usspeech.data.annotations import PlaneInterval, StandardPlane
from monai_usspeech.phantom.anatomy import ORGANS
from monai_usspeech.phantom.gaze import GazeStyle, draw_gaze
from monai_usspeech.phantom.geometry import to_pixels
from monai_usspeech.phantom.lexicon import ORGAN_WORDS, PLANE_WORDS
from monai_usspeech.phantom.narration import NarrationStyle, _silences, narrate
from monai_usspeech.phantom.soundtrack import mix_soundtrack
from monai_usspeech.phantom.speech_synthesis import SPEECH_RATE, Voice, draw_voice, speak


def cepstra(sound: np.ndarray, frames: int = 12) -> np.ndarray:
    """Coarse spectral shape over time, blind to loudness and length: [frames * 12]."""
    pieces = np.array_split(sound, frames)
    bands = [np.array_split(np.abs(np.fft.rfft(piece, 1024)) ** 2, np.arange(8, 512, 16)) for piece in pieces]
    level = np.log([[band.mean() + 1e-4 for band in piece] for piece in bands])
    return dct(level, axis=1, norm="ortho")[:, 1:13].ravel()


def test_vowel_formants_are_where_the_table_says():
    voice = Voice(pitch=100.0, liveliness=0.0, breath=0.0)
    for spelling, expected in (("IY IY IY", (270, 2290)), ("AA AA AA", (730, 1090))):
        sound = speak(spelling, voice, np.random.default_rng(0))
        spectrum = np.abs(np.fft.rfft(sound[1200:-1200] * np.hanning(len(sound) - 2400), 2400 * 4))
        smooth = np.convolve(spectrum, np.hanning(60), "same")
        frequency = np.fft.rfftfreq(2400 * 4, 1 / SPEECH_RATE)
        peaks = frequency[1:-1][(smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] > smooth[2:]) & (frequency[1:-1] < 3000)]
        for formant in expected:
            assert np.abs(peaks - formant).min() < 130, (spelling, formant, peaks)


def test_voices_speak_at_their_own_pitch():
    for pitch in (110.0, 220.0):
        sound = speak("AA AA AA AA", Voice(pitch=pitch, liveliness=0.0), np.random.default_rng(0))[2400:7200]
        correlation = np.correlate(sound, sound, "full")[len(sound) - 1 :]
        period = 60 + np.argmax(correlation[60:400])
        assert SPEECH_RATE / period == pytest.approx(pitch, rel=0.15)


def test_words_are_told_apart_across_speakers():
    """The nearest mean word of eight other speakers is the right one far more often than chance (1/13)."""
    features = np.array(
        [
            [cepstra(speak(spelling, draw_voice(np.random.default_rng(s)), np.random.default_rng([s, w])))
             for w, (_, spelling) in enumerate(PLANE_WORDS.values())]
            for s in range(9)
        ]
    )  # fmt: skip
    means = features[:8].mean(0)
    distance = ((features[8][:, None] - means[None]) ** 2).sum(-1)
    assert (distance.argmin(1) == np.arange(13)).mean() >= 0.75


@pytest.fixture(scope="module")
def planes() -> tuple[PlaneInterval, ...]:
    names = ["4CH", "femur", "lips", "kidneys", "BrainTv", "SpineSag"] * 3
    return tuple(PlaneInterval(5.0 + 10 * k, 11.0 + 10 * k, StandardPlane(name)) for k, name in enumerate(names))


def test_words_match_the_plane_on_the_screen_far_more_often_than_chance(planes: tuple[PlaneInterval, ...]):
    words = narrate(np.random.default_rng(0), 190.0, planes, NarrationStyle()).words
    named = {word: plane for plane, (word, _) in PLANE_WORDS.items()}
    inside = [
        (named[word.word], str(interval.plane))
        for word in words if word.kind == "plane"
        for interval in planes if interval.start <= word.start < interval.end
    ]  # fmt: skip
    assert len(inside) > 20
    assert np.mean([said == shown for said, shown in inside]) > 0.85
    organs = {word: organ for organ, (word, _) in ORGAN_WORDS.items()}
    for word in words:
        if word.kind == "organ":
            shown = [str(i.plane) for i in planes if i.start <= word.start < i.end + 1.5]
            assert organs[word.word] in {ORGANS[plane] for plane in shown}


def test_words_do_not_overlap_and_density_follows_the_style(planes: tuple[PlaneInterval, ...]):
    dense = narrate(np.random.default_rng(1), 190.0, planes, NarrationStyle(gap=0.3, quiet_share=0.0, search_gap=0.5))
    sparse = narrate(np.random.default_rng(1), 190.0, planes, NarrationStyle(gap=3.0, quiet_share=0.5, search_gap=6.0))
    assert len(dense.words) > 1.8 * len(sparse.words)
    for words in (dense.words, sparse.words):
        assert all(a.end <= b.start for a, b in zip(words, words[1:])) and words[-1].end <= 190.0


def test_a_style_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="must not exceed 1"):
        NarrationStyle(plane_share=0.9, organ_share=0.3)
    with pytest.raises(ValueError, match="all 0"):
        NarrationStyle(plane_share=0, organ_share=0, wrong_share=0, chatter_share=0.5)


def test_words_come_late_by_the_lag_and_trail_behind_a_plane_that_has_left(planes: tuple[PlaneInterval, ...]):
    """Each word of a plane, against the interval in which the speaker should have it in mind."""
    only = {"plane_share": 1.0, "organ_share": 0.0, "wrong_share": 0.0, "foretell_share": 0.0, "quiet_share": 0.0}
    for trail in (0.0, 1.0):
        style = NarrationStyle(gap=0.05, search_gap=0.3, lag=(2.0, 2.0), trail=trail, **only)
        words = [w for w in narrate(np.random.default_rng(0), 190.0, planes, style).words if w.kind == "plane"]
        named = {word: plane for plane, (word, _) in PLANE_WORDS.items()}
        assert len(words) > 40
        late = 0
        for word in words:
            spans = [(i.start + 2.0, i.end + 2.0 * trail) for i in planes if str(i.plane) == named[word.word]]
            assert any(start - 1e-4 <= word.start < end + 1e-4 for start, end in spans), (trail, word)
            late += not any(i.start <= word.start < i.end for i in planes)
        assert late > 10 if trail else late == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_nobody_speaks_during_the_stated_share_of_the_time(share: float):
    stretches = _silences(np.random.default_rng(0), 4000.0, share)
    assert sum(min(end, 4000.0) - start for start, end in stretches) / 4000.0 == pytest.approx(share, abs=0.06)
    assert all(end <= start for (_, end), (start, _) in zip(stretches, stretches[1:]))
    style = NarrationStyle(gap=0.1, search_gap=0.1, quiet_share=0.0, noise_share=share)
    rng = np.random.default_rng(1)
    silent = _silences(np.random.default_rng(1).spawn(1)[0], 60.0, share)
    words = narrate(rng, 60.0, (), style).words
    assert not any(start <= word.start < end for word in words for start, end in silent)
    assert (len(words) > 20) == (share < 0.8)


def test_silence_does_not_change_who_speaks():
    spoken = [narrate(np.random.default_rng(3), 40.0, (), NarrationStyle(noise_share=s)) for s in (0.0, 0.5)]
    drawn = [draw_voice(np.random.default_rng(3)) for _ in spoken]
    assert drawn[0] == drawn[1] and len(spoken[1].words) < len(spoken[0].words)


def test_chatter_takes_the_stated_share_and_leaves_the_others_their_proportion(planes: tuple[PlaneInterval, ...]):
    style = NarrationStyle(chatter_share=0.5)
    assert sum(style.shares) == pytest.approx(0.5)
    assert style.shares[0] / style.shares[1] == pytest.approx(0.65 / 0.22)
    assert NarrationStyle().shares == (0.65, 0.22, 0.03)
    style = NarrationStyle(gap=0.05, lag=(0.0, 0.0), quiet_share=0.0, chatter_share=0.5)
    words = narrate(np.random.default_rng(0), 190.0, planes, style).words
    inside = [word.kind == "chatter" for word in words for i in planes if i.start <= word.start < i.end - 0.01]
    assert len(inside) > 80 and np.mean(inside) == pytest.approx(0.5, abs=0.12)


def test_clicks_are_short_and_loud_and_the_hum_stands_at_its_harmonics():
    silence = np.zeros(20 * SPEECH_RATE)
    quiet = mix_soundtrack(np.random.default_rng(0), silence, clicks_per_minute=0.0).astype(float)
    clicked = mix_soundtrack(np.random.default_rng(0), silence, clicks_per_minute=60.0).astype(float)
    power = [np.sqrt((sound.reshape(-1, 240) ** 2).mean(1)) for sound in (quiet, clicked)]
    loud = power[1] > 3 * np.median(power[0])
    assert not (power[0] > 3 * np.median(power[0])).any() and 0.01 < loud.mean() < 0.15
    strongest = []
    for seed in range(8):  # the hum's share of the noise is drawn; its fundamental lies at 95-125 Hz
        sound = mix_soundtrack(np.random.default_rng(seed), silence, clicks_per_minute=0.0).astype(float)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
        frequency = np.fft.rfftfreq(len(sound), 1 / SPEECH_RATE)
        band = (frequency > 80) & (frequency < 150)
        peak = frequency[band][spectrum[band].argmax()]
        strongest.append(95 <= peak <= 125 and spectrum[band].max() > 30 * np.median(spectrum[band]))
    assert np.mean(strongest) >= 0.7


def test_speech_stands_out_of_the_noise_by_the_stated_ratio():
    voice = np.zeros(20 * SPEECH_RATE)
    spoken = np.zeros(len(voice), dtype=bool)
    for start in range(0, 20, 2):
        sound = speak("AA L AA M AA N AA", Voice(), np.random.default_rng(start))
        voice[start * SPEECH_RATE : start * SPEECH_RATE + len(sound)] = sound
        spoken[start * SPEECH_RATE : start * SPEECH_RATE + len(sound)] = True
    recorded = mix_soundtrack(np.random.default_rng(0), voice, snr=(15.0, 15.0), clicks_per_minute=0.0).astype(float)
    quiet = ~np.convolve(spoken, np.ones(9600), "full")[: len(spoken)].astype(bool)  # without the echo's tail
    ratio = 10 * np.log10((recorded[spoken] ** 2).mean() / (recorded[quiet] ** 2).mean())
    assert 11.0 < ratio < 18.0


def test_gaze_rests_on_the_landmark_and_is_lost_now_and_then():
    def landmark(times: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(0.4 + 0.1 * np.sin(times), np.full(len(times), 1.3))]

    gaze = draw_gaze(np.random.default_rng(0), 120.0, 256, landmark, GazeStyle(lag=0.1))
    column, row = to_pixels(0.4 + 0.1 * np.sin(gaze.time - 0.1), np.full(len(gaze.time), 1.3), 256)
    distance = np.hypot(gaze.x - column, gaze.y - row)
    lost = np.isnan(gaze.x)
    assert (lost == np.isnan(gaze.y)).all() and 0.01 < lost.mean() < 0.09
    assert np.nanmedian(distance) < 10 and np.nanmean(distance > 25) < 0.15
    speed = np.hypot(np.diff(gaze.x), np.diff(gaze.y))
    assert 60 < np.nansum(speed > 6) < 600  # saccades: one every 0.25-0.9 s


def test_wandering_and_lag_are_the_styles():
    def landmark(times: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(0.5 * np.sin(3 * times), np.full(len(times), 1.3))]

    def track(**style: float) -> tuple[np.ndarray, np.ndarray]:
        gaze = draw_gaze(np.random.default_rng(0), 120.0, 256, landmark, GazeStyle(scatter=0.0, missing=0.0, **style))
        return gaze.time, gaze.x

    def distance(time: np.ndarray, x: np.ndarray, lag: float) -> np.ndarray:
        return np.abs(x - to_pixels(0.5 * np.sin(3 * (time - lag)), np.zeros(len(time)), 256)[0])

    for lag in (0.0, 0.3):
        time, x = track(wander=0.0, lag=lag)
        errors = [np.median(distance(time, x, guess)) for guess in (0.0, 0.15, 0.3, 0.45)]
        assert np.argmin(errors) == (0 if lag == 0 else 2)
    away = [np.mean(distance(*track(wander=share), 0.1) > 8) for share in (0.0, 0.2, 0.5)]
    assert away[0] < 0.02 and away[1] == pytest.approx(0.2 * 0.85, abs=0.08) and away[2] > 1.7 * away[1]
