# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Small valid scan stores for tests, written directly with ScanStoreWriter: no video file is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from monai_usspeech.data.store import ScanStoreWriter
from monai_usspeech.transforms.spectrogram import spectrogram_statistics

RATE = 24_000


def moving_texture(rng: np.random.RandomState, n_frames: int, size: int) -> np.ndarray:
    """uint8 [T, H, W]: a smooth random texture that drifts and turns over, so that no two frames are alike."""
    fields = gaussian_filter(rng.standard_normal((2, 2 * size, 2 * size)), (0, size / 24, size / 24), mode="wrap")
    fields = (fields - fields.mean()) / fields.std()
    frames = np.empty((n_frames, size, size), np.uint8)
    step = rng.randint(1, 4, size=2) * rng.choice([-1, 1], size=2)
    for t in range(n_frames):
        phase = 0.05 * t
        field = np.cos(phase) * fields[0] + np.sin(phase) * fields[1]
        frames[t] = np.clip(110 + 50 * np.roll(field, step * t, axis=(0, 1))[:size, :size], 0, 255)
    return frames


def speech_bursts(rng: np.random.RandomState, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Speech-like bursts and when they sound: int16 [N] at 24 kHz, and bool [J] per 10 ms."""
    n, wave = round(seconds * RATE), np.zeros(round(seconds * RATE))
    active = np.zeros(n // 240, bool)
    position = rng.uniform(0, 0.5)
    while position < seconds:
        length, pitch = rng.uniform(0.6, 2.5), rng.uniform(90, 220)
        first, last = int(position * 100) * 240, min(int((position + length) * 100) * 240, n)
        t = np.arange(last - first) / RATE
        voice = sum(np.sin(2 * np.pi * pitch * k * t + rng.uniform(0, 6)) / k for k in range(1, 20))
        wave[first:last] = voice * (0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(3, 6) * t))
        active[first // 240 : last // 240] = True
        position += length + rng.uniform(0.3, 1.5)
    wave = 0.1 * wave + 0.002 * rng.standard_normal(n)
    return np.int16(np.clip(wave, -1, 1) * 32767), active


@cache
def _scan(seed: int, seconds: float, fps: float, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict]:
    rng = np.random.RandomState(seed)
    samples, active = speech_bursts(rng, seconds)
    return moving_texture(rng, round(seconds * fps), size), samples, active, spectrogram_statistics(samples / 32768.0)


def _circling(seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    time = np.arange(0, seconds, 1 / 30)
    return time, 50 + 10 * np.sin(time), 50 + 10 * np.cos(time)


def make_store(
    root: str | os.PathLike,
    n_scans: int = 3,
    seconds: float = 20.0,
    fps: float = 10.0,
    size: int = 64,
    seed: int = 0,
    speech: bool = True,
    scans_per_subject: int = 1,
    codec: str = "raw",
    gaze: bool | Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray] | None] = False,
    planes: bool | Callable[[int], list[list]] = False,
) -> Path:
    """Write a small store: scans ``s000``, ``s001``, ... of subjects ``p000``, ``p001``, ...

    Args:
        root: the store's folder (made when absent).
        n_scans: scans.
        seconds: length of each.
        fps: frames per second kept.
        size: H = W in pixels.
        seed: the content's seed; scan i is made from ``1000 * seed + i``.
        speech: write speech with energy voice activity (the true bursts) and spectrogram statistics.
        scans_per_subject: consecutive scans that share a subject.
        codec: "raw" or "jpeg".
        gaze: add a gaze track of 30 Hz; or a function of the scan's number that gives time, x and y, or None for no
            gaze.
        planes: add two labelled intervals; or a function of the scan's number that gives them.

    Returns:
        ``root`` as a Path.
    """
    for number in range(n_scans):
        frames, samples, active, statistics = _scan(1000 * seed + number, seconds, fps, size)
        with ScanStoreWriter(root, f"s{number:03d}", codec=codec) as writer:
            for index, frame in enumerate(frames):
                writer.add_frame(frame, index / fps, 3 * index)
            if speech:
                writer.set_speech(samples, (0.0, seconds), statistics)
                writer.set_voice_activity("energy", active)
            track = gaze(number) if callable(gaze) else _circling(seconds) if gaze else None
            if track is not None:
                writer.set_gaze(*track)
            halves = [[0.0, seconds / 2, "4CH"], [seconds / 2, seconds, "femur"]]
            writer.finish(
                {
                    "subject": f"p{number // scans_per_subject:03d}",
                    "duration": seconds,
                    "fan_box": [10, 20, 10 + 2 * size, 20 + 2 * size],
                    "source_size": [3 * size, 4 * size],
                    "planes": planes(number) if callable(planes) else halves if planes else [],
                }
            )
    return Path(root)
