# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Frames of a clip with where one would look at them, on one picture."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from monai_usspeech.handlers.figures import bare_axes, new_figure
from monai_usspeech.handlers.saliency_picture import add_saliency_bar, draw_saliency

__all__ = ["gaze_strip_figure"]

_CELL = 1.75
_COLUMNS = 4


def gaze_strip_figure(
    frames: np.ndarray, times: np.ndarray, density: np.ndarray, title: str = "", n_shown: int = 8
) -> Figure:
    """Draw frames of a clip under their gaze maps, evenly spread over it.

    Args:
        frames: uint8 ``[T, H, W]``.
        times: ``[T]`` seconds.
        density: ``[T, h, w]``, not negative.
        title: a line above; usually the file's name.
        n_shown: largest number of frames shown.

    Raises:
        ValueError: when the shapes do not fit together, or there is no frame.
    """
    if len(frames) == 0 or len(times) != len(frames) or density.ndim != 3 or len(density) != len(frames):
        raise ValueError(
            f"expected T frames, times and maps, got the shapes {frames.shape}, {times.shape} and {density.shape}."
        )
    count = min(n_shown, len(frames))
    shown = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)  # the middle one of each of equal stretches
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = new_figure(_CELL * columns + 1.0, (_CELL + 0.25) * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, number in zip(grid.flat, shown):
        axes.imshow(frames[number], cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
        drawn = draw_saliency(axes, density[number])
        axes.set(xlim=(0, 1), ylim=(1, 0), aspect=frames.shape[1] / frames.shape[2])
        axes.set_xlabel(f"{times[number]:.1f} s", fontsize=8)
        bare_axes(axes)
    for axes in grid.flat[count:]:
        axes.remove()
    add_saliency_bar(figure, drawn, grid.flat[:count].tolist(), rows)
    figure.suptitle(title, fontsize=9)
    return figure
