# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Similarity over offset, utterance by utterance and on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from monai_usspeech.handlers.figures import new_figure
from monai_usspeech.metrics.synchronisation import DETECTABLE, chosen_candidate, is_synchronised

__all__ = ["synchronisation_figure"]

_RIGHT, _WRONG, _BAND = "#1b7a3d", "#c23b22", "#dcefe1"


def synchronisation_figure(
    utterances: Sequence[tuple[str, np.ndarray, np.ndarray]], max_panels: int = 11, columns: int = 4
) -> Figure:
    """Draw the similarity over the candidates' errors.

    Args:
        utterances: (name, similarity ``[n]``, error in seconds ``[n]``) of each; errors increase.
        max_panels: utterances that get a panel of their own, spread evenly over all; one more shows the mean.
        columns: panels side by side.

    Returns:
        The figure. The green band holds the errors that go unnoticed; the point is the candidate that was chosen, green
        when it lies in the band. The last panel has the mean over all utterances of the similarity in standard
        deviations of each, with its standard error, on top of how often each error was chosen.
    """
    shown = np.unique(np.linspace(0, len(utterances) - 1, min(max_panels, len(utterances))).round().astype(int))
    rows = -(-(len(shown) + 1) // columns)
    figure = new_figure(3.1 * columns, 2.3 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(shown) + 1 :]:
        axes.set_axis_off()
    for axes, index in zip(grid.flat, shown):
        _utterance(axes, *utterances[index])
    _mean(grid.flat[len(shown)], utterances)
    for axes in grid[:, 0]:
        axes.set_ylabel("mean similarity", fontsize=8)
    for column in range(columns):
        drawn = [axes for axes in grid[:, column] if axes.axison]
        if drawn:
            drawn[-1].set_xlabel("error of the offset, ms (sound leads: > 0)", fontsize=8)
    return figure


def _utterance(axes: Axes, name: str, similarity: np.ndarray, error: np.ndarray) -> None:
    _band(axes)
    chosen = chosen_candidate(similarity, error)
    right = bool(is_synchronised(error[chosen]))
    axes.plot(1000 * error, similarity, color="#444444", linewidth=1.1, marker=".", markersize=3)
    axes.plot(1000 * error[chosen], similarity[chosen], "o", color=_RIGHT if right else _WRONG, markersize=6)
    axes.set_title(f"{name}: {1000 * error[chosen]:+.0f} ms", fontsize=8, color=_RIGHT if right else _WRONG)


def _mean(axes: Axes, utterances: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Utterances have their candidates at different errors: they are put on one grid by linear interpolation."""
    _band(axes)
    errors = np.concatenate([error for _, _, error in utterances])
    step = float(np.median(np.diff(utterances[0][2])))
    grid = np.arange(np.floor(errors.min() / step), np.ceil(errors.max() / step) + 1) * step
    curves = np.stack([
        np.interp(grid, error, (similarity - np.nanmean(similarity)) / (np.nanstd(similarity) or 1.0), np.nan, np.nan)
        for _, similarity, error in utterances
    ])  # fmt: skip
    count = np.isfinite(curves).sum(0)
    kept = count > 0
    mean = np.nanmean(curves[:, kept], axis=0)
    spread = np.nanstd(curves[:, kept], axis=0) / np.sqrt(count[kept])
    axes.fill_between(1000 * grid[kept], mean - spread, mean + spread, color="#9db7dd", linewidth=0)
    axes.plot(1000 * grid[kept], mean, color="#1f4e9c", linewidth=1.3)
    chosen = [error[chosen_candidate(similarity, error)] for _, similarity, error in utterances]
    other = axes.twinx()
    edges = 1000 * (np.append(grid, grid[-1] + step) - step / 2)
    other.hist(1000 * np.asarray(chosen), bins=edges.tolist(), color="#555555", alpha=0.35)
    other.yaxis.set_major_locator(MaxNLocator(integer=True))
    other.tick_params(labelsize=7)
    other.set_ylabel("times chosen", fontsize=7)
    axes.set_title(f"all {len(utterances)} utterances, standardised", fontsize=8)


def _band(axes: Axes) -> None:
    axes.axvspan(1000 * DETECTABLE[0], 1000 * DETECTABLE[1], color=_BAND, linewidth=0, zorder=0)
    axes.axvline(0, color="#8a8a8a", linewidth=0.7, linestyle=":")
    axes.tick_params(labelsize=7)
