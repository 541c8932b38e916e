# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A small formant synthesiser: a pulse train and noise, shaped by three resonances that glide from phone to phone.

It sounds like a robot, and it is meant to: what matters is that words differ in their spectrograms as spoken words do,
that no two speakers are alike, and that a seed gives the same waveform everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from monai_usspeech.phantom.lexicon import Phone, phones_of

__all__ = ["SPEECH_RATE", "Voice", "draw_voice", "speak"]

#: samples per second of all phantom sound
SPEECH_RATE = 24000
_HOP, _WINDOW = 120, 512
_BANDWIDTHS = (70.0, 100.0, 160.0)
_HIGH_FORMANTS = ((3500.0, 250.0), (4500.0, 350.0), (5600.0, 450.0))  # do not move with the tongue


@dataclass(frozen=True)
class Voice:
    """A speaker.

    Args:
        pitch: mean F0 in Hz. formants: factor on all formants (vocal tract length). rate: 1 is the normal pace.
        breath: noise within voiced sounds. tilt: corner of the glottal low-pass, Hz. liveliness: depth of F0 movement.
        accent: shift of F1 and F2 towards the speaker's own vowels, [2] factors.
    """

    pitch: float = 120.0
    formants: float = 1.0
    rate: float = 1.0
    breath: float = 0.03
    tilt: float = 700.0
    liveliness: float = 0.12
    accent: tuple[float, float] = (1.0, 1.0)


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draw a speaker; high voices tend to have short vocal tracts."""
    height = rng.uniform(0.0, 1.0)
    return Voice(
        pitch=95.0 * (245.0 / 95.0) ** height,
        formants=float(np.clip(0.97 + 0.2 * height + rng.normal(0.0, 0.03), 0.9, 1.22)),
        rate=rng.uniform(0.85, 1.2),
        breath=rng.uniform(0.01, 0.06),
        tilt=rng.uniform(500.0, 1100.0),
        liveliness=rng.uniform(0.06, 0.18),
        accent=tuple(np.exp(rng.normal(0.0, 0.04, 2)).tolist()),
    )


def _tracks(phones: list[Phone], voice: Voice, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Control tracks of an utterance, one value per 5 ms."""
    columns: dict[str, list[np.ndarray]] = {"formants": [], "voice": [], "hiss": [], "band": []}
    factor = np.array([*voice.accent, 1.0]) * voice.formants
    for phone in phones:
        n = max(2, round(phone.seconds * np.exp(rng.normal(0.0, 0.08)) / voice.rate * SPEECH_RATE / _HOP))
        end = np.array(phone.glide or phone.formants)
        share = np.linspace(0.0, 1.0, n)[:, None]
        columns["formants"].append((np.array(phone.formants) * (1 - share) + end * share) * factor)
        columns["voice"].append(np.full(n, phone.voice))
        columns["hiss"].append(np.full(n, phone.hiss))
        columns["band"].append(np.tile(phone.band, (n, 1)))
    tracks = {name: np.concatenate(parts) for name, parts in columns.items()}
    tracks["formants"] = gaussian_filter1d(tracks["formants"], 4.0, axis=0)  # 20 ms: the tongue has mass
    tracks["voice"] = gaussian_filter1d(tracks["voice"], 1.5)
    tracks["hiss"] = gaussian_filter1d(tracks["hiss"], 0.8)
    return tracks


def _pulses(pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pulse train with a slightly uneven period; ``pitch`` in Hz per 5 ms."""
    steps = np.repeat(pitch / SPEECH_RATE, _HOP)
    phase = np.cumsum(steps)
    train = (np.diff(np.floor(phase), prepend=0.0) > 0).astype(np.float64)
    return train * (1 + 0.05 * rng.standard_normal(len(train))) / np.sqrt(steps)  # the same power at every pitch


def _resonances(formants: np.ndarray, frequency: np.ndarray, voice: Voice) -> np.ndarray:
    """Transfer function of the vocal tract [frames, bins]: resonances in cascade and the glottis' low-pass."""
    delay = np.exp(-2j * np.pi * frequency / SPEECH_RATE)[None, :]
    response = np.ones((len(formants), len(frequency)), dtype=np.complex128)
    moving = [(formants[:, number : number + 1], width) for number, width in enumerate(_BANDWIDTHS)]
    fixed = [(np.array([[centre * voice.formants]]), width) for centre, width in _HIGH_FORMANTS]
    for centre, width in moving + fixed:
        pole = np.exp(np.pi * (-width + 2j * centre) / SPEECH_RATE)
        gain = np.abs((1 - pole) * (1 - pole.conj()))  # unity at 0 Hz
        response *= gain / ((1 - pole * delay) * (1 - pole.conj() * delay))
    high_pass = frequency / (frequency + 120.0)  # lips radiate high frequencies better
    return response * (high_pass / (1 + (frequency / voice.tilt) ** 2) ** 0.5)[None, :]


def _slices(sound: np.ndarray) -> np.ndarray:
    """Overlapping windows centred on every 5 ms: [frames, 512]."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(sound, _WINDOW // 2), _WINDOW)[::_HOP]


def speak(spelling: str, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Synthesise an utterance.

    Args:
        spelling: phones separated by spaces (see :mod:`~monai_usspeech.phantom.lexicon`).
        voice: the speaker.
        rng: source of the noise and of the variation from one utterance to the next.

    Returns:
        float64 [N] at 24 kHz with a root mean square of 1 over its loudest half.
    """
    tracks = _tracks(phones_of(spelling), voice, rng)
    n = len(tracks["voice"])
    place = np.linspace(0.0, 1.0, n)
    bend = 1.12 - 0.25 * place + voice.liveliness * np.sin(np.pi * place * rng.uniform(0.8, 2.2) + rng.uniform(0, 1))
    voiced = _pulses(voice.pitch * bend, rng)
    noise = rng.standard_normal(n * _HOP)
    window = np.hanning(_WINDOW + 1)[:-1]
    pulses, hiss = (np.fft.rfft(_slices(sound)[:n] * window, axis=1) for sound in (voiced, noise))
    frequency = np.fft.rfftfreq(_WINDOW, 1 / SPEECH_RATE)
    tract = _resonances(tracks["formants"], frequency, voice)
    centre, width = tracks["band"][:, :1] * voice.formants, tracks["band"][:, 1:]
    friction = np.exp(-0.5 * ((frequency[None, :] - centre) / (0.5 * width)) ** 2)
    spectrum = tracks["voice"][:, None] * tract * (pulses + voice.breath * 6 * hiss)
    spectrum += 0.25 * tracks["hiss"][:, None] * friction * hiss
    pieces = np.fft.irfft(spectrum, n=_WINDOW, axis=1)
    sound = np.zeros((n - 1) * _HOP + _WINDOW)
    for number, piece in enumerate(pieces):
        sound[number * _HOP : number * _HOP + _WINDOW] += piece
    sound = sound[_WINDOW // 2 - _HOP :]
    loud = np.sort(sound**2)[len(sound) // 2 :].mean()
    return np.asarray(sound / np.sqrt(loud))
