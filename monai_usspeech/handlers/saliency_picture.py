# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Predicted gaze over frames, methods side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from monai_usspeech.handlers.figures import bare_axes, new_figure

__all__ = ["add_saliency_bar", "draw_saliency", "saliency_figure"]

_SCALE = LogNorm(1.0, 50.0)
_GAZE, _TRUTH = "#25E0F0", "#FFFFFF"
_TRUTH_LEVEL = 0.2
_CELL = 1.75


def saliency_figure(
    images: np.ndarray,
    fixations: np.ndarray,
    target: np.ndarray,
    predictions: Sequence[tuple[str, np.ndarray]],
    titles: Sequence[str],
) -> Figure:
    """Draw examples as rows: the frame, where the sonographer looked, and what each method predicts.

    All maps share one scale: how many times as likely a pixel is as under a uniform map, logarithmic from 1 (nothing
    is drawn) to 50. A method that predicts nothing in particular therefore shows nothing, instead of its noise
    stretched to full contrast. Every map is normalised to a sum of 1 first. Circles are gaze points; the white line on
    the predictions is the ground truth at a fifth of its highest value.

    Args:
        images: uint8 ``[E, H, W]``.
        fixations: bool ``[E, h, w]``.
        target: ground truth ``[E, h, w]``, not negative.
        predictions: (method, maps ``[E, h, w]``, not negative).
        titles: one line for each example.

    Returns:
        The figure.

    Raises:
        ValueError: when the numbers of examples or the map sizes differ, or there is no example.
    """
    shapes = {"fixations": np.shape(fixations), "target": np.shape(target)}
    shapes.update({name: np.shape(maps) for name, maps in predictions})
    if len(set(shapes.values())) > 1 or len({len(images), len(titles), len(target)}) > 1:
        raise ValueError(f"Need {len(images)} images, as many titles ({len(titles)}) and maps of one shape: {shapes}.")
    if len(images) == 0:
        raise ValueError("There is no example to draw.")
    columns = [("frame and gaze", None), ("ground truth", target), *predictions]
    height, width = images.shape[1:]
    figure = new_figure(_CELL * len(columns) + 0.9, (_CELL * height / width + 0.04) * len(images) + 0.5)
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for row in range(len(images)):
        for column, (name, maps) in enumerate(columns):
            axes = grid[row, column]
            _draw_frame(axes, images[row], fixations[row])
            if maps is not None:
                shown = draw_saliency(axes, maps[row])
            if column > 1:
                _draw_truth(axes, target[row])
            if row == 0:
                axes.set_title(name, fontsize=9, weight="bold")
        grid[row, 0].set_ylabel(titles[row], fontsize=7.5)
    add_saliency_bar(figure, shown, grid.ravel().tolist(), len(images))
    figure.supxlabel("circles: gaze; white line: ground truth at a fifth of its highest value", fontsize=7.5)
    return figure


def _draw_frame(axes: Axes, image: np.ndarray, fixed: np.ndarray) -> None:
    """The frame in grey and the gaze points; axes in shares of the frame, so that maps of any size fit on it."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
    rows, columns = np.nonzero(fixed)
    x, y = (columns + 0.5) / fixed.shape[1], (rows + 0.5) / fixed.shape[0]
    axes.plot(x, y, "o", markersize=3.5, markerfacecolor="none", markeredgecolor="black", markeredgewidth=1.5, zorder=5)
    axes.plot(x, y, "o", markersize=3.5, markerfacecolor="none", markeredgecolor=_GAZE, markeredgewidth=0.8, zorder=6)
    axes.set(xlim=(0, 1), ylim=(1, 0), aspect=image.shape[0] / image.shape[1])
    bare_axes(axes)


def _relative(density: np.ndarray) -> np.ndarray:
    """How many times the uniform density; all 0 for a map without any mass."""
    total = float(np.sum(density, dtype=np.float64))
    relative: np.ndarray = np.asarray(density, np.float64) * (density.size / total if total > 0 else 0.0)
    return relative


def draw_saliency(axes: Axes, density: np.ndarray) -> AxesImage:
    """Lay a map over a frame whose axes are shares of it: nothing where it is uniform, brighter up to 50 times that.

    Args:
        axes: of the frame.
        density: ``[h, w]``, not negative; normalised to a sum of 1 first.
    """
    relative = np.maximum(_relative(density), 1.0)
    strength = np.clip(np.log(relative) / np.log(3.0), 0.0, 1.0) * 0.75  # fades in between 1 and 3 times uniform
    return axes.imshow(relative, cmap="inferno", norm=_SCALE, alpha=strength, extent=(0, 1, 1, 0),
                       interpolation="bilinear", zorder=2)  # fmt: skip


def add_saliency_bar(figure: Figure, shown: AxesImage, axes: list[Axes], rows: int = 1) -> None:
    """Beside the axes, the scale that all maps share.

    Args:
        figure: of the axes.
        shown: what :func:`draw_saliency` gave for one of them.
        axes: all that the bar stands beside.
        rows: rows of pictures among them.
    """
    bar = figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.01, aspect=min(12 * rows, 40), shrink=0.9)
    bar.set_ticks([1, 2, 5, 10, 20, 50], labels=["1", "2", "5", "10", "20", "50"])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=7)
    bar.set_label("times as likely as uniform", fontsize=7.5)


def _draw_truth(axes: Axes, density: np.ndarray) -> None:
    if not density.max() > density.min():
        return  # a flat map has no contour
    y, x = ((np.arange(n) + 0.5) / n for n in density.shape)
    axes.contour(x, y, density, levels=[_TRUTH_LEVEL * float(density.max())], colors=_TRUTH, linewidths=0.9, zorder=4)
