# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The room around the voice: echo, air conditioning, mains hum, and clicks of keys and switches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import oaconvolve

from monai_usspeech.phantom.speech_synthesis import SPEECH_RATE

__all__ = ["mix_soundtrack"]


def _reverberate(rng: np.random.Generator, voice: np.ndarray) -> np.ndarray:
    """Add a diffuse tail, 8-15 dB below the direct sound."""
    n = round(rng.uniform(0.08, 0.2) * SPEECH_RATE)
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n)
    tail *= 10 ** (-rng.uniform(8.0, 15.0) / 20) / np.linalg.norm(tail)
    tail[0] += 1.0
    return np.asarray(oaconvolve(voice, tail)[: len(voice)])


def _air(rng: np.random.Generator, n: int) -> np.ndarray:
    """Noise with a power spectrum of 1/f^a, a in 0.3-1.2, through a microphone deaf below 120 Hz; unit power."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / SPEECH_RATE), 1.0)
    colour = frequency ** (-0.5 * rng.uniform(0.3, 1.2)) / (1 + (120.0 / frequency) ** 4)
    noise = np.fft.irfft(spectrum * colour, n)
    return noise / max(float(noise.std()), 1e-12)


def _hum(rng: np.random.Generator, n: int) -> np.ndarray:
    """Harmonics of a fan or transformer at 95-125 Hz, unit power."""
    times = np.arange(n) / SPEECH_RATE
    base = rng.uniform(95.0, 125.0)
    waves = [rng.uniform(0.3, 1.0) / k * np.sin(2 * np.pi * (base * k * times + rng.random())) for k in range(1, 6)]
    hum = np.sum(waves, axis=0)
    return np.asarray(hum / max(float(hum.std()), 1e-12))


def _click(rng: np.random.Generator) -> np.ndarray:
    """30 ms of a damped resonance, as loud as a voice."""
    times = np.arange(round(0.03 * SPEECH_RATE)) / SPEECH_RATE
    decay = np.exp(-times / rng.uniform(0.003, 0.007))
    ring = np.sin(2 * np.pi * rng.uniform(900, 4000) * times) + 0.7 * rng.standard_normal(len(times))
    return np.asarray(rng.uniform(1.0, 3.0) * decay * ring)


def mix_soundtrack(
    rng: np.random.Generator,
    voice: np.ndarray,
    freezes: Sequence[float] = (),
    snr: tuple[float, float] = (8.0, 22.0),
    clicks_per_minute: float = 4.0,
) -> np.ndarray:
    """Put a voice into a room and record it.

    Args:
        rng: source of the room.
        voice: [N] at 24 kHz, root mean square 1 while somebody speaks.
        freezes: seconds at which the freeze button is pressed; 60 % of the presses are heard.
        snr: range of the signal-to-noise ratio in dB of speech against the steady noise.
        clicks_per_minute: clicks at random times.

    Returns:
        int16 [N].
    """
    n = len(voice)
    sound = _reverberate(rng, voice)
    noise = _air(rng, n) + rng.uniform(0.0, 0.8) * _hum(rng, n)
    sound += noise / max(float(noise.std()), 1e-12) * 10 ** (-rng.uniform(*snr) / 20)
    times = [time + rng.normal(0.0, 0.03) for time in freezes if rng.random() < 0.6]
    times += rng.uniform(0, n / SPEECH_RATE, rng.poisson(clicks_per_minute * n / SPEECH_RATE / 60)).tolist()
    for time in times:
        click, first = _click(rng), max(0, round(time * SPEECH_RATE))
        sound[first : first + len(click)] += click[: max(0, n - first)]
    level = rng.uniform(0.04, 0.1) * 32767  # root mean square of the voice in the recording
    return np.clip(np.round(sound * level), -32768, 32767).astype(np.int16)
