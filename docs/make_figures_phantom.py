# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Make the pictures of ``docs/phantom.md``: ``python docs/make_figures_phantom.py [folder]``."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.phantom_speckle import INSIDE, LAGS, middle_frames, speckle_matches
from monai_usspeech.data.annotations import PLANES, plane_at
from monai_usspeech.phantom import Phantom
from monai_usspeech.phantom.course import PhantomCourse
from monai_usspeech.phantom.geometry import to_pixels
from monai_usspeech.phantom.lexicon import PLANE_WORDS
from monai_usspeech.phantom.motion import contraction
from monai_usspeech.phantom.speech_synthesis import SPEECH_RATE, draw_voice, speak
from monai_usspeech.transforms.voice_activity import voice_activity

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


def difficulty_sheet(path: Path) -> None:
    """For each difficulty the first plane of three scans, and what is shown and said in a minute of another."""
    figure = Figure(figsize=(14, 6.6))
    grid = figure.add_gridspec(3, 6, wspace=0.03, hspace=0.3, left=0.01, right=0.99, top=0.96, bottom=0.06)
    for row, name in enumerate(("easy", "standard", "hard")):
        phantom = Phantom(seed=0, size=256, frame_rate=10.0, difficulty=name)
        courses = [phantom.course(index) for index in range(13)]
        chosen = [course for course in courses if course.planes[0].plane in ("4CH", "BrainTv", "abdomen")]
        for column, course in enumerate(sorted(chosen, key=lambda course: str(course.planes[0].plane))):
            axis = figure.add_subplot(grid[row, column])
            plane = course.planes[0]
            axis.imshow(pictures_at(course, [0.5 * (plane.start + plane.end)])[0], cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{name}: {plane.plane}", fontsize=9)
            axis.axis("off")
        axis = figure.add_subplot(grid[row, 3:])
        box = axis.get_position()
        axis.set_position((box.x0 + 0.035, box.y0 + 0.02, box.width - 0.035, box.height - 0.04))
        _word_course(axis, name, courses[1])
    save(figure, path, 85)


def pictures_at(course: PhantomCourse, times: Sequence[float]) -> np.ndarray:
    """Frames of a scan at some times, uint8 [N, size, size]."""
    course.times = np.asarray(times)
    return np.concatenate(list(course.frames()))


def look_sheet(path: Path) -> None:
    """One plane in seven scans (fans, scanners, poses); then one scan coming into a plane and a beating heart."""
    figure, axes = plt.subplots(2, 7, figsize=(14, 4.7))
    four_chamber = next(k for k in range(13) if PHANTOM.course(k).planes[0].plane == "4CH")
    for number, axis in enumerate(axes[0]):
        course = PHANTOM.course(four_chamber + 13 * number)  # the same plane comes first in every 13th scan
        plane = course.planes[0]
        axis.imshow(pictures_at(course, [0.5 * (plane.start + plane.end)])[0], cmap="gray", vmin=0, vmax=255)
        axis.set_title(f"{course.id}: {plane.plane}", fontsize=9)
    course = PHANTOM.course(four_chamber)
    plane = course.planes[0]
    wall = np.arange(max(plane.start - 1.5, 0.0), plane.start + 0.4, 0.01)
    offset = np.abs(course.motion.at(course.timeline.tissue_time(wall)).offset)
    coming = [float(wall[np.argmin(np.abs(offset - depth))]) for depth in (1.2, 0.8, 0.5, 0.3, 0.1)]
    beat = np.arange(plane.start + 0.6, plane.start + 1.1, 0.01)
    cycle = contraction(course.motion.at(course.timeline.tissue_time(beat)).cycle)
    coming += [float(beat[cycle.argmin()]), float(beat[cycle.argmax()])]
    titles = [f"offset {depth}" for depth in ("1.2", "0.8", "0.5: near miss", "0.3", "0.1")] + ["diastole", "systole"]
    for time, title, axis in zip(coming, titles, axes[1]):
        axis.imshow(pictures_at(course, [time])[0], cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout(pad=0.3, h_pad=1.2)
    save(figure, path, 100)


def _word_course(axis: Axes, name: str, course: PhantomCourse) -> None:
    """A minute of a scan: planes above, words below, each word in its plane's colour (grey: says no plane)."""
    colours = dict(zip(PLANE_WORDS, plt.get_cmap("tab20").colors))
    said = {word: plane for plane, (word, _) in PLANE_WORDS.items()}
    for start, end, plane in course.planes:
        axis.axvspan(start, end, 0.5, 0.8, color=colours[str(plane)])
        axis.text(start, 0.85, str(plane), fontsize=8)
    for word in course.narration.words:
        colour = colours[said[word.word]] if word.kind == "plane" else "0.6" if word.kind == "organ" else "0.85"
        axis.axvspan(word.start, word.end, 0.1, 0.42, color=colour)
    axis.set(xlim=(0, 60), ylim=(0, 1), yticks=(0.26, 0.65), yticklabels=("words", name))
    axis.tick_params(labelsize=8)


def speckle_sheet(path: Path) -> None:
    """Frames of a plane at growing distances in time, and how well their blocks are found again."""
    phantom = Phantom(seed=3, size=128, frame_rate=10.0, seconds=20.0, grid=(72, 144), freeze_share=0.0)
    frames = middle_frames(phantom, 2, LAGS[:4])[INSIDE]
    figure, axes = plt.subplots(1, 6, figsize=(14, 2.6), width_ratios=(1, 1, 1, 1, 1, 1.9))
    for frame, lag, axis in zip(frames, (0.0, *LAGS), axes):
        axis.imshow(frame, cmap="gray", vmin=0, vmax=255)
        axis.set_title("a frame" if lag == 0 else f"{lag:g} s later", fontsize=9)
        axis.axis("off")
    matches, other = speckle_matches(6)
    axes[5].plot(LAGS, matches, "o-", color="tab:blue", label="frames of one plane")
    axes[5].axhline(other, color="0.4", linestyle="--", label="frames of two scans")
    axes[5].set(xlabel="seconds between the frames", ylabel="best match", ylim=(0, 1))
    axes[5].legend(fontsize=7)
    figure.tight_layout(pad=0.4)
    save(figure, path, 90)


def sound_sheet(path: Path) -> None:
    """Twelve seconds of three narrations, from a quiet room to a loud one, and what voice activity finds in them."""
    begin, end = 12, 24
    figure, axes = plt.subplots(3, 1, figsize=(14, 5.6), sharex=True)
    for axis, name in zip(axes, ("easy", "standard", "hard")):
        course = Phantom(seed=2, seconds=40.0, difficulty=name).course(1)
        sound = course.speech()[begin * SPEECH_RATE : end * SPEECH_RATE] / 32768
        axis.specgram(sound, NFFT=240, noverlap=120, pad_to=512, Fs=SPEECH_RATE, xextent=(begin, end))
        axis.images[0].set_clim(-125, -70)
        voice = voice_activity(course.speech(), SPEECH_RATE)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], voice.astype(int), [0]]))) / 100
        axis.broken_barh(list(zip(edges[::2], edges[1::2] - edges[::2])), (-1200, 900), color="tab:green")
        for word in course.narration.words:
            if begin <= word.start and word.end < end:
                weight = "bold" if word.kind == "plane" else "normal"
                axis.text(word.start, 10500, word.word, fontsize=8, color="white", weight=weight)
        axis.set(ylabel=f"{name}\nHz", xlim=(begin, end), ylim=(-1400, 12000))
    axes[2].set_xlabel("time, s")
    figure.tight_layout(pad=0.4)
    save(figure, path, 70)


def gaze_sheet(path: Path) -> None:
    """Gaze over ten seconds, where it rests on the fan, and how much of it a prior explains."""
    course = PHANTOM.course(1)
    track, wall = course.gaze(), np.arange(0, 20, 0.05)
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.9), width_ratios=(2.2, 1, 1, 1))
    axes[0].plot(track.time, track.x, color="tab:orange", linewidth=1, label="gaze, column")
    for number in range(3):
        marks = [course.landmarks(np.array([time])) for time in wall]
        x = np.array([mark[number][0][0] if len(mark) > number else np.nan for mark in marks])
        column = to_pixels(x, x, PHANTOM.size)[0]
        label = "landmarks" if number == 0 else None
        axes[0].plot(wall, column, color="0.2", linewidth=1.4 - 0.4 * number, label=label)
    for start, end, plane in (interval for interval in course.planes if interval.start < 20):
        axes[0].axvspan(start, min(end, 20), color="tab:green", alpha=0.15)
        axes[0].text(start, 205, str(plane), fontsize=8)
    axes[0].set(xlim=(0, 20), ylim=(50, 215), xlabel="time, s", ylabel="pixels")
    axes[0].legend(loc="lower left", fontsize=7)
    for axis, name in zip(axes[1:], ("easy", "standard", "hard")):
        phantom = Phantom(seed=0, size=256, difficulty=name)
        outline = phantom.course(0).geometry.outline(256)
        points = []
        for other in (phantom.course(index) for index in range(13)):
            gaze = other.gaze()
            seen = ~np.isnan(gaze.x) & (plane_at(other.planes, gaze.time) < len(PLANES) - 1)
            points.append(np.stack([gaze.x[seen], gaze.y[seen]], axis=1))
        spots = np.concatenate(points)
        axis.hist2d(spots[:, 0], spots[:, 1], bins=64, range=((0, 256), (0, 256)), cmap="magma")
        axis.plot(*np.concatenate([outline, outline[:1]]).T, color="0.6", linewidth=0.8)
        axis.set(title=f"{name}: 13 scans, on planes", xlim=(0, 256), ylim=(256, 0), aspect="equal")
        axis.title.set_fontsize(9)
        axis.axis("off")
    figure.tight_layout()
    save(figure, path, 80)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    plane_sheet(folder / "phantom_planes.png")
    word_sheet(folder / "phantom_words.png")
    course_sheet(folder / "phantom_course.png")
    difficulty_sheet(folder / "phantom_difficulty.png")
    look_sheet(folder / "phantom_look.png")
    gaze_sheet(folder / "phantom_gaze.png")
    speckle_sheet(folder / "phantom_speckle.png")
    sound_sheet(folder / "phantom_sound.png")
