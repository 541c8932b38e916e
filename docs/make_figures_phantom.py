# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Make the pictures of ``docs/phantom.md``: ``python docs/make_figures_phantom.py [folder]``."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from monai_usspeech.phantom import Phantom
from monai_usspeech.phantom.lexicon import PLANE_WORDS
from monai_usspeech.phantom.speech_synthesis import SPEECH_RATE, draw_voice, speak

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PHANTOM = Phantom(seed=0, size=256, frame_rate=10.0, seconds=60.0)


def frame_at(index: int, time: float) -> tuple[np.ndarray, np.ndarray]:
    """One frame of a scan without drawing the rest, and the gaze within 0.3 s of it as [N, 2] pixels."""
    course = PHANTOM.course(index)
    gaze = course.gaze()
    near = np.abs(gaze.time - time) < 0.3
    course.times = np.array([time])
    return next(iter(course.frames()))[0], np.stack([gaze.x[near], gaze.y[near]], axis=1)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a picture in 64 colours: a quarter of the bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi)
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def plane_sheet(path: Path) -> None:
    """One frame of every plane, with the gaze, and one frame of background."""
    figure, axes = plt.subplots(2, 7, figsize=(14, 4.7))
    found: dict[str, tuple[int, float]] = {}
    for index in range(13):  # each plane comes first in one of 13 scans
        first = PHANTOM.course(index).planes[0]
        found[str(first.plane)] = (index, 0.5 * (first.start + first.end))
    passing = next(sweep for sweep in PHANTOM.course(4).timeline.sweeps if sweep.plane == "background")
    found["background"] = (4, passing.start + 0.5 * (passing.end - passing.start))
    for axis, plane in zip(axes.flat, [*PLANE_WORDS, "background"]):
        image, gaze = frame_at(*found[plane])
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.plot(gaze[:, 0], gaze[:, 1], ".", color="tab:orange", markersize=2)
        axis.set_title(plane, fontsize=9)
        axis.axis("off")
    figure.tight_layout(pad=0.3, h_pad=1.2)
    save(figure, path, 100)


def word_sheet(path: Path) -> None:
    """Spectrograms of the 13 plane words, each by two speakers."""
    figure, axes = plt.subplots(4, 7, figsize=(14, 6.5), sharey=True)
    for column, (word, spelling) in enumerate(PLANE_WORDS.values()):
        for speaker in range(2):
            rng = np.random.default_rng([speaker, column])
            sound = speak(spelling, draw_voice(np.random.default_rng(speaker + 5)), rng)
            axis = axes[2 * (column // 7) + speaker, column % 7]
            sound = sound + 0.01 * rng.standard_normal(len(sound))
            axis.specgram(sound, NFFT=240, noverlap=120, pad_to=512, Fs=SPEECH_RATE, vmin=-85, vmax=-35)
            axis.set_title(word if speaker == 0 else "", fontsize=9)
            axis.tick_params(labelsize=6)
    for axis in axes[2:, 6]:
        axis.axis("off")
    figure.tight_layout(pad=0.4)
    save(figure, path, 70)


def course_sheet(path: Path) -> None:
    """Thirty seconds of a scan: planes, out-of-plane offset, words and sound."""
    course = PHANTOM.course(1)
    wall = np.arange(0, 30, 0.02)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(14, 5), sharex=True)
    top.plot(wall, course.motion.at(course.timeline.tissue_time(wall)).offset, color="0.3")
    top.axhspan(-0.33, 0.33, color="tab:green", alpha=0.15)
    for start, end, plane in (interval for interval in course.planes if interval.start < 30):
        top.axvspan(start, min(end, 30), color="tab:green", alpha=0.2)
        top.text(start, 1.75, str(plane), fontsize=9)
    for start, seconds in (freeze for freeze in course.timeline.freezes if freeze[0] < 30):
        top.axvspan(start, start + seconds, ymax=0.08, color="tab:blue")
    top.set(ylabel="out-of-plane offset", ylim=(-2, 2.1))
    bottom.specgram(course.speech()[: 30 * SPEECH_RATE] / 32768, NFFT=240, noverlap=120, pad_to=512, Fs=SPEECH_RATE)
    bottom.images[0].set_clim(-125, -70)
    for number, word in enumerate(course.narration.words):
        if word.end < 29:
            bottom.text(word.start, 10800 - 900 * (number % 3), word.word, fontsize=7, color="white")
    bottom.set(xlabel="time, s", ylabel="frequency, Hz", xlim=(0, 30))
    figure.tight_layout()
    save(figure, path, 70)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    plane_sheet(folder / "phantom_planes.png")
    word_sheet(folder / "phantom_words.png")
    course_sheet(folder / "phantom_course.png")
