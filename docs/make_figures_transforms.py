# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Draw the figures of docs/transforms.md from synthetic signals.

    python docs/make_figures_transforms.py
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from monai_usspeech.transforms.augmentation import apply_augmentation, draw_augmentation
from monai_usspeech.transforms.order import draw_order, order_label, shuffle_frames
from monai_usspeech.transforms.spectrogram import LogSpectrogram, spectrogram_statistics

RATE = 24000
SEGMENT = 14400


def synthetic_vowels(rng: np.random.RandomState, seconds: float) -> np.ndarray:
    """Pulses of a gliding voice through three resonances that change three times a second; int16."""
    n = round(seconds * RATE)
    time = np.arange(n) / RATE
    pitch = 125 + 25 * np.sin(2 * np.pi * 0.8 * time)
    source = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0) + 0.02 * rng.randn(n)
    wave = np.zeros(n)
    block = RATE // 3
    for first in range(0, n, block):
        piece = source[first : first + block]
        for formant, width in zip(rng.uniform((300, 900, 2300), (800, 2200, 3200)), (80, 110, 160)):
            radius = np.exp(-np.pi * width / RATE)
            piece = lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], piece)
        wave[first : first + block] = piece / np.abs(piece).max() * np.sin(np.linspace(0, np.pi, len(piece))) ** 0.5
    return (9000 * wave).astype(np.int16)


def synthetic_clip(rng: np.random.RandomState, frames: int = 4, size: int = 288) -> torch.Tensor:
    """Speckle with a dark ring that moves and widens; uint8 ``[frames, 1, size, size]``."""
    speckle = np.abs(gaussian_filter(rng.randn(size, size), 1.5) + 1j * gaussian_filter(rng.randn(size, size), 1.5))
    y, x = np.mgrid[:size, :size] / size
    clip = []
    for t in np.linspace(0, 1, frames):
        distance = np.hypot(x - 0.35 - 0.25 * t, (y - 0.5) * 1.2)
        echo = 0.25 + 0.9 * np.exp(-(((distance - 0.16 - 0.06 * t) / 0.025) ** 2)) - 0.2 * (distance < 0.15 + 0.06 * t)
        echo += 0.15 * (y > 0.8)
        clip.append(np.clip(255 * echo.clip(0.03) * speckle / speckle.mean() * 0.6, 0, 255))
    return torch.as_tensor(np.stack(clip)[:, None].astype(np.uint8))


def picture(axes: Axes, values: torch.Tensor, title: str, ticks: dict[int, str]) -> None:
    """One spectrogram with low frequencies at the bottom."""
    axes.imshow(values[0], origin="lower", cmap="magma", vmin=-2.5, vmax=5, aspect="auto", extent=(0, 600, 0, 256))
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("time, ms", fontsize=8)
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.tick_params(labelsize=7)


def save(figure: Figure, path: Path) -> None:
    """Write with 96 colours: speckle compresses badly, and the eye does not miss the others."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=90)
    plt.close(figure)
    Image.open(buffer).convert("RGB").quantize(96).save(path, optimize=True)


def draw_spectrograms(path: Path) -> None:
    """A spoken and a silent segment under the scan's statistics and under their own, and the log-frequency rows."""
    rng = np.random.RandomState(2)
    voice, noise = synthetic_vowels(rng, 6.0), (40 * rng.randn(6 * RATE)).astype(np.int16)
    scan = np.concatenate([voice + noise, noise])
    spoken, silent = scan[RATE : RATE + SEGMENT], scan[8 * RATE : 8 * RATE + SEGMENT]
    statistics = spectrogram_statistics(scan)
    linear, log = LogSpectrogram(), LogSpectrogram(freq_scale="log")

    figure, axes = plt.subplots(2, 3, figsize=(10, 5.2), layout="constrained")
    kilohertz = {round(f * 512 / RATE): f"{f // 1000} kHz" for f in (0, 2000, 4000, 8000)}
    lowest = RATE / 512
    octaves = {round(255 * np.log(f / lowest) / np.log(255)): f"{f} Hz" for f in (100, 400, 1600, 6400)}
    titles = ("the segment's own statistics", "the segment's own: silence looks loud")
    for row, (segment, name) in enumerate(((spoken, "spoken"), (silent, "silent"))):
        axes[row, 0].set_ylabel(name, fontsize=10)
        picture(axes[row, 0], linear(segment, statistics), "statistics of the scan (default)", kilohertz)
        picture(axes[row, 1], linear(segment), titles[row], kilohertz)
        picture(axes[row, 2], log(segment, statistics), 'freq_scale="log"', octaves)
    save(figure, path)


def draw_augmentations(path: Path) -> None:
    """Four frames: as they are, augmented as one clip, each on its own, and shuffled with jitter for the order task."""
    rng = np.random.RandomState(8)
    clip = synthetic_clip(rng)
    shared = apply_augmentation(clip, draw_augmentation(rng, 4), 256)
    apart = apply_augmentation(clip, draw_augmentation(rng, 4, shared=False), 256)
    order = draw_order(rng)
    jittered = apply_augmentation(clip, draw_augmentation(rng, 4, jitter=5 / 256, noise=0.03), 256)
    rows = (
        ("source", clip.float() / 255),
        ("shared=True\n(default)", shared),
        ("shared=False", apart),
        (f"order task:\nclass {order_label(order)}", torch.as_tensor(shuffle_frames(jittered, order))),
    )
    figure, axes = plt.subplots(len(rows), 4, figsize=(7, 7.2), layout="constrained")
    for line, (name, frames) in zip(axes, rows):
        for axis, frame in zip(line, frames):
            axis.imshow(frame[0], cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(name, fontsize=9)
    for i, axis in enumerate(axes[-1]):
        axis.set_xlabel(f"frame {order[i]}", fontsize=9)
    save(figure, path)


def main() -> None:
    """Write both figures."""
    parser = argparse.ArgumentParser(description="draw the figures of docs/transforms.md")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    draw_spectrograms(folder / "spectrogram.png")
    draw_augmentations(folder / "augmentation.png")


if __name__ == "__main__":
    main()
