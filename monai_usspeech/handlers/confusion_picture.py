# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Confusion matrices side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from monai_usspeech.handlers.figures import new_figure

__all__ = ["confusion_figure"]

_SMALLEST = 0.05
"""Shares below this are told by their colour alone: 196 numbers in one panel hide the few that matter."""
_CELL = 0.29
"""Inches per class."""


def confusion_figure(matrices: Sequence[tuple[str, np.ndarray]], classes: Sequence[str]) -> Figure:
    """Draw confusion matrices, each row as shares of its true class.

    The diagonal is thus the recall of each class. The number of frames of each true class stands at the right margin; a
    class without any has an empty row, not a row of zeros.

    Args:
        matrices: (title, counts ``[C, C]``), rows = true class, columns = predicted class.
        classes: the C names.

    Returns:
        The figure, one panel for each matrix.

    Raises:
        ValueError: without a matrix, or when one is not ``[C, C]``.
    """
    number = len(classes)
    for title, matrix in matrices:
        if np.shape(matrix) != (number, number):
            raise ValueError(f"{title}: the matrix must be [{number}, {number}], got {list(np.shape(matrix))}.")
    if not matrices:
        raise ValueError("There is no confusion matrix to draw.")
    side = max(_CELL * number, 1.8)
    figure = new_figure((side + 0.55) * len(matrices) + 1.5, side + 1.35)
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for place, (axes, (title, matrix)) in enumerate(zip(panels, matrices)):
        image = _draw(axes, np.asarray(matrix, dtype=np.float64), classes, names=place == 0)
        axes.set_title(title, fontsize=10, weight="bold")
    bar = figure.colorbar(image, ax=list(panels), fraction=0.025, pad=0.01, aspect=30)
    bar.set_label("share of the true class, %", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


def _draw(axes: Axes, counts: np.ndarray, classes: Sequence[str], names: bool) -> AxesImage:
    """One panel; the class names of the rows only where asked for."""
    support = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        shares = counts / np.where(support > 0, support, np.nan)[:, None]
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    number = len(classes)
    for row, column in zip(*np.nonzero(np.nan_to_num(shares) >= _SMALLEST)):
        share = shares[row, column]
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7,
                  color="white" if share > 0.55 else "#1a1a1a")  # fmt: skip
    for row in np.flatnonzero(support == 0):
        axes.axhspan(row - 0.5, row + 0.5, facecolor="#eeeeee", edgecolor="none", zorder=2)
    for row in range(number):
        axes.text(number - 0.3, row, f"{support[row]:.0f}", ha="left", va="center", fontsize=6.5, color="#666666")
    axes.text(number - 0.3, -0.75, "n", ha="left", va="bottom", fontsize=7, color="#666666", style="italic")
    # White lines between the cells: a step of the eye along a row of fourteen needs a guide.
    axes.set_xticks(np.arange(number) - 0.5, minor=True)
    axes.set_yticks(np.arange(number) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.set_xticks(range(number), classes, rotation=90, fontsize=8)
    axes.set_yticks(range(number), classes if names else [""] * number, fontsize=8)
    axes.set_xlabel("predicted", fontsize=8.5)
    if names:
        axes.set_ylabel("true", fontsize=8.5)
    axes.spines[:].set_color("#bbbbbb")
    return image
