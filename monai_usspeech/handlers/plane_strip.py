# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A clip and what a plane classifier said about it, on one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from monai_usspeech.handlers.figures import bare_axes, new_figure

__all__ = ["plane_strip_figure"]


def plane_strip_figure(
    frames: np.ndarray,
    times: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    title: str = "",
    n_shown: int = 8,
) -> Figure:
    """Draw frames of a clip above the probabilities of all classes over time.

    Args:
        frames: uint8 ``[T, H, W]``.
        times: ``[T]`` seconds.
        probabilities: ``[T, C]``.
        classes: the C names.
        title: a line above; usually the file's name.
        n_shown: largest number of frames shown, evenly spread.

    Raises:
        ValueError: when the shapes do not fit together, or there is no frame.
    """
    if len(frames) == 0 or probabilities.shape != (len(frames), len(classes)) or times.shape != (len(frames),):
        raise ValueError(
            f"expected T frames and times and probabilities [T, {len(classes)}], got the shapes {frames.shape}, "
            f"{times.shape} and {probabilities.shape}."
        )
    # the middle frame of each of equal stretches
    count = min(n_shown, len(frames))
    shown = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)
    figure = new_figure(max(1.5 * count, 6.0) + 1.0, 5.2)
    grid = figure.add_gridspec(2, count, height_ratios=[1.0, 1.7])
    for column, frame in enumerate(shown):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(frames[frame], cmap="gray", vmin=0, vmax=255)
        best = int(probabilities[frame].argmax())
        axes.set_title(f"{classes[best]} {probabilities[frame, best]:.0%}", fontsize=8)
        axes.set_xlabel(f"{times[frame]:.1f} s", fontsize=8)
        bare_axes(axes)
    _draw_probabilities(figure, grid, times, probabilities, classes)
    figure.suptitle(title, fontsize=9)
    return figure


def _draw_probabilities(
    figure: Figure, grid: object, times: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> None:
    axes = figure.add_subplot(grid[1, :])  # type: ignore[index]
    if len(times) == 1:  # a still picture has no time axis
        axes.barh(range(len(classes)), probabilities[0], color="tab:blue")
        axes.set_xlim(0, 1)
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set_xlabel("probability", fontsize=8)
    else:
        # frames need not be evenly spaced: each cell reaches from half-way before its frame to half-way after
        middle = (times[1:] + times[:-1]) / 2
        edges = np.concatenate([[2 * times[0] - middle[0]], middle, [2 * times[-1] - middle[-1]]])
        rows = np.arange(len(classes) + 1) - 0.5
        mesh = axes.pcolormesh(edges, rows, probabilities.T, cmap="magma", vmin=0, vmax=1)
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set_xlabel("seconds", fontsize=8)
        figure.colorbar(mesh, ax=axes, label="probability", pad=0.01)
    axes.set_yticks(range(len(classes)), list(classes), fontsize=7)
