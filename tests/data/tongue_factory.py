# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Small tongue ultrasound corpora in the folders of UltraSuite and TaL: bright frames while a tone sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.media_factory import make_audio

FPS, VECTORS, PIXELS = 80.0, 16, 40
RATE = 22_050


def make_utterance(
    folder: Path, stem: str, seconds: float = 2.0, first_frame: float = 0.5, event: tuple[float, float] = (1.0, 1.2)
) -> Path:
    """Write ``stem.ult``, ``.param``, ``.wav`` and ``.txt``.

    Args:
        folder: made when absent.
        stem: name without ending.
        seconds: of ultrasound.
        first_frame: seconds that the sound runs before the first frame.
        event: (begin, end) in seconds after the first frame: there the frames are bright and a tone sounds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * FPS)) / FPS
    inside = (times >= event[0]) & (times < event[1])
    texture = np.random.RandomState(len(stem)).randint(20, 60, (len(times), VECTORS, PIXELS))
    frames = np.where(inside[:, None, None], 220, texture).astype(np.uint8)
    (folder / f"{stem}.ult").write_bytes(frames.tobytes())
    values = {
        "NumVectors": VECTORS, "PixPerVector": PIXELS, "ZeroOffset": 10, "BitsPerPixel": 8, "Angle": 0.08, "Kind": 0,
        "PixelsPerMm": 1.0, "FramesPerSec": FPS, "TimeInSecsOfFirstFrame": first_frame,
    }  # fmt: skip
    (folder / f"{stem}.param").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    time = np.arange(round((seconds + first_frame) * RATE)) / RATE - first_frame
    tone = 0.5 * np.sin(2 * np.pi * 440 * time) * ((time >= event[0]) & (time < event[1]))
    noise = 0.001 * np.random.RandomState(1).standard_normal(len(time))
    make_audio(folder / f"{stem}.wav", (tone + noise).astype(np.float32)[None], RATE)
    (folder / f"{stem}.txt").write_text("a prompt\n26/06/2015 15:09:25\n")
    return folder / f"{stem}.ult"
