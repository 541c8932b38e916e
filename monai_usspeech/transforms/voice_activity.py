# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Voice activity of a scan's speech: one flag per 10 ms, and the share of active time of windows and clips.

``energy`` is the adaptive-threshold detector that Jiao et al. (MICCAI 2020) use (Sakhnov, Verteletskaya and Simak,
IAENG IJCS 36(4), 2009). ``silero`` is the neural detector of the package ``silero-vad``. Both carry state from frame to
frame and need the whole recording of a scan: a 0.6 s snippet has no noise floor to compare with.

No detector can tell talk about the picture from other talk. The energy detector moreover calls every sound active that
rises above the noise floor, such as a click of the keyboard.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

__all__ = [
    "FRAME_SECONDS",
    "METHODS",
    "VoiceActivity",
    "VoiceActivityD",
    "VoiceActivityDict",
    "VoiceActivityd",
    "clip_activity",
    "energy_voice_activity",
    "frame_energy",
    "silero_voice_activity",
    "voice_activity",
    "window_activity",
]

FRAME_SECONDS = 0.01
"""Length of a frame: flag ``j`` covers ``[0.01 j, 0.01 (j + 1))`` s."""

METHODS = ("energy", "silero")
SILERO_RATE = 16000


def frame_energy(wave: NdarrayOrTensor, sample_rate: int) -> np.ndarray:
    """
    Root mean square of every whole 10 ms frame, without overlap.

    Args:
        wave: ``[N]`` samples: floating point in [-1, 1], or int16 (divided by 32768).
        sample_rate: samples per second; where 10 ms are no whole number of samples the borders are rounded.

    Returns:
        float64 ``[floor(100 N / sample_rate)]``, full scale = 1.

    Raises:
        ValueError: When ``wave`` is not ``[N]``, of another type, or has values that are not finite.
    """
    samples = _samples(wave, sample_rate)
    n_frames = len(samples) * 100 // sample_rate
    if n_frames == 0:
        return np.zeros(0)
    borders = (np.arange(n_frames + 1) * sample_rate + 50) // 100
    squares = np.square(samples[: borders[-1]], dtype=np.float64)
    return np.asarray(np.sqrt(np.add.reduceat(squares, borders[:-1]) / np.diff(borders)))


def energy_voice_activity(
    wave: NdarrayOrTensor,
    sample_rate: int,
    hangover: int = 8,
    growth: float = 1.0001,
    floor: float = 1e-4,
    max_decay: float = 1.0,
) -> np.ndarray:
    """
    Voice activity by an adaptive energy threshold (Sakhnov et al. 2009).

    With the frame's energy ``E``, the largest one so far ``E_max`` and the tracked smallest ``E_min``, the threshold
    ``(1 - l) E_max + l E_min`` with ``l = (E_max - E_min) / E_max`` is computed in its closed form
    ``E_min (2 - E_min / E_max)``: it lies between ``E_min`` and ``2 E_min``, 6 dB above the noise floor at most. After
    each frame ``E_min`` grows by a factor that itself grows until a new smallest energy resets it (x1.7 after 1 s, x7.5
    after 2 s), so that it can follow noise that gets louder; it is capped at ``E_max``, above which the
    threshold would mean nothing.

    Args:
        wave: ``[N]`` samples of a whole scan: floating point in [-1, 1], or int16.
        sample_rate: samples per second.
        hangover: frames that stay active after the last frame above the threshold.
        growth: factor by which the growth of ``E_min`` itself grows with each frame.
        floor: smallest ``E_min``, full scale = 1; digital silence would otherwise make all that follows active.
        max_decay: factor on ``E_max`` with each frame; 1: never forgotten.

    Returns:
        bool ``[frames]``, one flag per 10 ms.

    Raises:
        ValueError: When ``wave`` does not fit (see :func:`frame_energy`) or a setting is out of range.
    """
    if hangover < 0 or growth < 1 or floor <= 0 or not 0 < max_decay <= 1:
        raise ValueError(
            f"expected hangover >= 0, growth >= 1, floor > 0 and 0 < max_decay <= 1, got {hangover}, {growth}, "
            f"{floor} and {max_decay}"
        )
    energies = frame_energy(wave, sample_rate).tolist()  # a loop over python floats is the fastest plain way: ~0.1 s
    start = sum(energies[:10]) / max(1, len(energies[:10]))  # the mean of the first 100 ms
    highest, lowest, delta = 0.0, max(start, floor), 1.0
    inactive = hangover  # nothing to hang over before the first active frame
    flags = np.zeros(len(energies), dtype=bool)
    for j, energy in enumerate(energies):
        highest = max(highest * max_decay, energy)
        if energy < lowest:
            lowest, delta = max(start if energy == 0 else energy, floor), 1.0
        if energy > _threshold(lowest, highest):
            flags[j], inactive = True, 0
        else:
            flags[j] = inactive < hangover
            inactive += 1
        delta *= growth
        lowest = max(min(lowest * delta, highest), floor)
    return flags


def _threshold(lowest: float, highest: float) -> float:
    """Threshold of the energy detector; where the noise floor reaches the maximum, the maximum (``l`` clipped to 0)."""
    return lowest * (2 - lowest / highest) if lowest < highest else highest


def silero_voice_activity(wave: NdarrayOrTensor, sample_rate: int, threshold: float = 0.5) -> np.ndarray:
    """
    Voice activity by the neural detector of ``silero-vad``, with that package's own segment rules.

    The weights lie inside the installed package; nothing is fetched. Other rates than 16 kHz are resampled with soxr.
    The model runs on the CPU, on the threads that torch has, 32 ms at a time.

    Args:
        wave: ``[N]`` samples of a whole scan: floating point in [-1, 1], or int16.
        sample_rate: samples per second.
        threshold: speech probability above which speech begins.

    Returns:
        bool ``[frames]``, one flag per 10 ms: whether the middle of the frame lies in a speech segment.

    Raises:
        ValueError: When ``wave`` does not fit (see :func:`frame_energy`).
        ImportError: When ``silero-vad`` is not installed.
    """
    samples = _samples(wave, sample_rate)
    n_frames = len(samples) * 100 // sample_rate
    flags = np.zeros(n_frames, dtype=bool)
    if n_frames == 0:
        return flags
    threads = torch.get_num_threads()
    try:
        from silero_vad import get_speech_timestamps, load_silero_vad
    except ImportError as error:
        raise ImportError('voice activity "silero" needs silero-vad: pip install "monai_usspeech[vad]"') from error
    finally:
        torch.set_num_threads(threads)  # importing silero-vad sets one thread for the whole process

    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if sample_rate != SILERO_RATE:
        import soxr

        samples = soxr.resample(samples, sample_rate, SILERO_RATE)
    model = load_silero_vad()  # loaded anew for each scan: 0.1 s against many, and no state is shared
    segments = get_speech_timestamps(torch.from_numpy(samples), model, threshold=threshold, sampling_rate=SILERO_RATE)
    per_frame = SILERO_RATE // 100
    for segment in segments:  # frame j has its middle at sample 160 j + 80
        first, last = ((segment[edge] + per_frame // 2 - 1) // per_frame for edge in ("start", "end"))
        flags[first:last] = True
    return flags


def voice_activity(wave: NdarrayOrTensor, sample_rate: int, method: str = "energy", **settings: Any) -> np.ndarray:
    """
    Voice activity of a whole scan by the named method.

    Args:
        wave: ``[N]`` samples: floating point in [-1, 1], or int16.
        sample_rate: samples per second.
        method: ``"energy"`` (:func:`energy_voice_activity`) or ``"silero"`` (:func:`silero_voice_activity`).
        settings: further arguments of that function.

    Returns:
        bool ``[frames]``, one flag per 10 ms.

    Raises:
        ValueError: When the method is unknown or ``wave`` does not fit.
    """
    if method == "energy":
        return energy_voice_activity(wave, sample_rate, **settings)
    if method == "silero":
        return silero_voice_activity(wave, sample_rate, **settings)
    raise ValueError(f"unknown voice activity method {method!r}; known: {', '.join(METHODS)}")


def window_activity(flags: NdarrayOrTensor, window: int = 60) -> np.ndarray:
    """
    Share of active frames of the window that starts at each frame.

    Args:
        flags: bool ``[J]``, one per 10 ms.
        window: frames in a window; 60 = 0.6 s.

    Returns:
        float64 ``[max(J - window + 1, 0)]`` in [0, 1]: entry ``j`` is the window ``[0.01 j, 0.01 (j + window))`` s.

    Raises:
        ValueError: When ``flags`` is not ``[J]`` or the window is shorter than one frame.
    """
    counts = _running_count(flags, window)
    return np.asarray((counts[window:] - counts[:-window]) / window)


def clip_activity(flags: NdarrayOrTensor, clip: int = 200) -> np.ndarray:
    """
    Share of active frames of consecutive clips; a shorter rest at the end is left out.

    Args:
        flags: bool ``[J]``, one per 10 ms.
        clip: frames in a clip; 200 = 2 s.

    Returns:
        float64 ``[J // clip]`` in [0, 1].

    Raises:
        ValueError: When ``flags`` is not ``[J]`` or the clip is shorter than one frame.
    """
    return np.asarray(np.diff(_running_count(flags, clip)[::clip]) / clip)


def _running_count(flags: NdarrayOrTensor, length: int) -> np.ndarray:
    """Number of active frames before each frame, int64 ``[J + 1]``."""
    values = flags.detach().cpu().numpy() if isinstance(flags, Tensor) else np.asarray(flags)
    if values.ndim != 1 or length < 1:
        raise ValueError(f"expected flags [J] and a length of 1 or more, got {values.shape} and {length}")
    return np.concatenate([[0], np.cumsum(values.astype(bool), dtype=np.int64)])


def _samples(wave: NdarrayOrTensor, sample_rate: int) -> np.ndarray:
    """Samples ``[N]`` in [-1, 1] as floating point."""
    values = wave.detach().cpu().numpy() if isinstance(wave, Tensor) else np.asarray(wave)
    if values.ndim != 1:
        raise ValueError(f"voice activity is that of one mono recording [N], got the shape {values.shape}")
    if sample_rate < 100:
        raise ValueError(f"a frame of 10 ms needs 100 samples per second or more, got {sample_rate}")
    if values.dtype == np.int16:
        return np.asarray(values.astype(np.float32) / 32768)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"expected floating point or int16 samples, got {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError("the wave has samples that are not finite")
    return values


class VoiceActivity(Transform):
    """
    Voice activity of a recording, one flag per 10 ms.

    Args:
        sample_rate: samples per second.
        method: ``"energy"`` or ``"silero"``.
        settings: further arguments of :func:`energy_voice_activity` or :func:`silero_voice_activity`.

    Raises:
        ValueError: When the method is unknown.

    Example:
        >>> flags = VoiceActivity(24000)(torch.randn(24000 * 60) * 0.01)  # bool [6000]
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, sample_rate: int = 24000, method: str = "energy", **settings: Any) -> None:
        if method not in METHODS:
            raise ValueError(f"unknown voice activity method {method!r}; known: {', '.join(METHODS)}")
        self.sample_rate = sample_rate
        self.method = method
        self.settings = settings

    def __call__(self, wave: NdarrayOrTensor) -> Tensor:
        """
        Detect.

        Args:
            wave: ``[N]`` or ``[1, N]`` samples of a whole scan: floating point in [-1, 1], or int16.

        Returns:
            bool ``[frames]``.

        Raises:
            ValueError: When ``wave`` does not fit.
        """
        mono = wave[0] if wave.ndim == 2 and wave.shape[0] == 1 else wave
        return torch.from_numpy(voice_activity(mono, self.sample_rate, self.method, **self.settings))


class VoiceActivityd(MapTransform):
    """
    Dictionary version of :class:`VoiceActivity`; keeps the wave and writes the flags under ``{key}_{postfix}``.

    Args:
        keys: keys of waves ``[N]`` or ``[1, N]``.
        sample_rate, method, settings: see :class:`VoiceActivity`.
        postfix: of the key of the flags.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = VoiceActivity.backend

    def __init__(
        self,
        keys: KeysCollection,
        sample_rate: int = 24000,
        method: str = "energy",
        postfix: str = "voice_activity",
        allow_missing_keys: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.postfix = postfix
        self.detect = VoiceActivity(sample_rate, method, **settings)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the flags."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[f"{key}_{self.postfix}"] = self.detect(d[key])
        return d


VoiceActivityD = VoiceActivityDict = VoiceActivityd
