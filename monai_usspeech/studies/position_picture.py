# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Scores over the number that the methods of a study differ in: the label rate, the batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from monai_usspeech.handlers.figures import figure_bytes, new_figure
from monai_usspeech.studies.analysis import TaskAnalysis
from monai_usspeech.studies.collect import CollectedStudy
from monai_usspeech.studies.report_page import html_figure
from monai_usspeech.studies.reported_metrics import ReportedMetric
from monai_usspeech.studies.statistics import FoldSummary

__all__ = ["PositionCurves", "position_curves", "position_figure", "position_section"]

Summaries = Mapping[str, FoldSummary]
PositionCurves = dict[str, list[tuple[float, Summaries]]]
"""Name of a curve to its points: position, and the summary of every metric."""

_COLOURS = ("#1f5a8a", "#c8501e", "#3a7d44", "#7a4fa3", "#a8842c", "#4a4a4a")
_MARKERS = "osD^vP"
_RATIO = 1.4  # neighbouring positions at least this factor apart throughout are read as steps of a factor


def position_curves(study: CollectedStudy, task: TaskAnalysis) -> PositionCurves:
    """The methods that have a position and a finished run, by curve, from left to right.

    Args:
        study: whose methods say their ``position`` and ``series``.
        task: its analysis.

    Returns:
        Empty when fewer than two positions have been reached: a point is no curve.
    """
    curves: PositionCurves = {}
    for method, summaries in task.summaries.items():
        entry = study.methods[method]
        if entry.get("position") is not None:
            curves.setdefault(str(entry.get("series") or ""), []).append((float(entry["position"]), summaries))
    reached = {position for points in curves.values() for position, _ in points}
    if len(reached) < 2:
        return {}
    return {name: sorted(points, key=lambda point: point[0]) for name, points in curves.items()}


def position_figure(
    curves: PositionCurves,
    metrics: Sequence[ReportedMetric],
    title: str,
    level: Sequence[tuple[str, Summaries]] = (),
) -> Figure:
    """Draw one panel for each metric.

    Args:
        curves: see :func:`position_curves`.
        metrics: what is drawn.
        title: of the horizontal axis.
        level: methods without a position, drawn as dashed lines to compare with.

    Returns:
        The figure. Positions that grow by a factor (8, 16, 32) lie at equal distances, others to scale.
    """
    figure = new_figure(5.2 * len(metrics), 3.6)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    positions = sorted({position for points in curves.values() for position, _ in points})
    for axes, metric in zip(panels, metrics):
        for place, (name, points) in enumerate(curves.items()):
            _draw_curve(axes, metric, name, points, place)
        for place, (name, summaries) in enumerate(level):
            mean = summaries[metric.key].mean * (100 if metric.percent else 1)
            if np.isfinite(mean):
                colour = _COLOURS[(len(curves) + place) % len(_COLOURS)]
                axes.axhline(mean, linestyle="--", linewidth=1.2, color=colour, label=name, zorder=1)
        _dress(axes, metric, positions, title)
    handles, names = panels[0].get_legend_handles_labels()
    if len(names) > 1 or any(names):
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=8, frameon=False)
    return figure


def position_section(study: CollectedStudy, task: TaskAnalysis, metrics: Sequence[ReportedMetric], dpi: int) -> str:
    """The picture of a task as HTML; empty where its methods do not differ in a number.

    Args:
        study: see :func:`position_curves`.
        task: its analysis.
        metrics: what is drawn, a panel each.
        dpi: pixels per inch.
    """
    curves = position_curves(study, task)
    if not curves or not metrics:
        return ""
    title = str(study.plan.get("position_title") or "Position")
    level = [(study.title(m), task.summaries[m]) for m in task.summaries if study.methods[m].get("position") is None]
    names = ", ".join(metric.label for metric in metrics)
    caption = (
        f"{names} over {title.lower()}: mean of the table; bars: one standard deviation over folds to either side"
        " (over seeds where there is one fold), where there are several."
        f"{' Dashed: methods without such a number.' if level else ''}"
    )
    png = figure_bytes(position_figure(curves, metrics, title, level), dpi)
    return html_figure(png, f"{names} over {title.lower()}; the numbers are in the tables.", caption)


def _draw_curve(
    axes: Axes, metric: ReportedMetric, name: str, points: Sequence[tuple[float, Summaries]], place: int
) -> None:
    """One curve with its spread over folds, of one fold over seeds; points of which runs are missing have no bar they
    cannot have."""
    scale = 100 if metric.percent else 1
    found = [(position, summaries[metric.key]) for position, summaries in points]
    found = [(position, summary) for position, summary in found if np.isfinite(summary.mean)]
    if not found:
        return
    colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
    one_fold = all(summary.n_folds == 1 for _, summary in found)
    x = [position for position, _ in found]
    mean = [scale * summary.mean for _, summary in found]
    spread = [scale * (summary.sd_folds or (one_fold and summary.sd_seeds) or 0.0) for _, summary in found]
    axes.errorbar(x, mean, yerr=spread if any(spread) else None, color=colour, marker=marker, markersize=5,
                  linewidth=1.6, elinewidth=1, capsize=3, label=name or "_nolegend_", zorder=3)  # fmt: skip


def _dress(axes: Axes, metric: ReportedMetric, positions: Sequence[float], title: str) -> None:
    """Scale, ticks at the positions themselves, and what is what."""
    if positions[0] > 0 and all(b / a >= _RATIO for a, b in zip(positions, positions[1:])):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(positions, [f"{position:g}" for position in positions])
    axes.set_title(metric.heading, fontsize=10)
    axes.set_xlabel(title, fontsize=9)
    axes.tick_params(labelsize=8, length=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.06, y=0.12)
