# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From a matplotlib figure to a PNG, in a file or in memory, without a display and without pyplot's global state."""

from __future__ import annotations

import io
import os

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monai_usspeech.data.files import atomic_file

__all__ = ["bare_axes", "figure_bytes", "new_figure", "save_figure"]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches whose parts make room for one another."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def bare_axes(axes: Axes, colour: str = "#bbbbbb", width: float = 0.8) -> None:
    """Leave of the axes only a thin frame: for pictures, whose pixels are no numbers to be read off."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=width)


def figure_bytes(figure: Figure, dpi: int = 120) -> bytes:
    """The figure as PNG, for a page that holds its pictures.

    Args:
        figure: any figure.
        dpi: pixels per inch.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike, dpi: int = 120) -> None:
    """Write the figure as PNG, whole or not at all.

    Args:
        figure: any figure.
        path: the file; its folder must exist.
        dpi: pixels per inch.
    """
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=dpi)
