# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Training curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from monai_usspeech.handlers.figures import new_figure, save_figure

__all__ = ["CHANCE_LEVELS", "draw_curves", "number_title"]

CHANCE_LEVELS = {"accuracy_cls": 1 / 2, "accuracy_cont": 1 / 2, "accuracy_ord": 1 / 12}
"""Chance levels of the pretext tasks whose level does not depend on the batch: who stays there has learnt nothing."""
_SHARES = ("clipped", "skipped", "high_affinity", "rank_collapse")  # between 0 and 1, to be read against that range
_LABELS = {
    "loss": "loss",
    "loss_cls": "correspondence loss",
    "loss_cont": "cross-modal contrastive loss",
    "loss_ord": "frame-order loss",
    "loss_view": "loss among frames",
    "accuracy_cls": "correspondence accuracy",
    "accuracy_ord": "frame-order accuracy",
    "accuracy_cont": "own speech nearer than negative",
    "accuracy_view": "clip's other frame is nearest",
    "pairs_used": "valid pairs in a batch",
    "order_used": "clips with an order in a batch",
    "gradient_norm": "gradient norm",
    "clipped": "share of clipped steps",
    "skipped": "share of skipped steps (mixed precision)",
    "high_affinity": "share of clips with high affinity",
    "learning_rate": "learning rate",
}


def number_title(name: str) -> str:
    """What a named number of the training history is, in words."""
    return _LABELS.get(name, name.replace("_", " "))


def draw_curves(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw one small panel for each number that the epochs have in common.

    Args:
        rows: epoch rows of :class:`~monai_usspeech.handlers.HistoryHandler`.
        path: the PNG to write, whole or not at all.
    """
    names = [name for name in rows[-1] if name not in ("kind", "epoch", "iteration")] if rows else []
    if len({row.get("temperature") for row in rows}) == 1:
        names = [name for name in names if name != "temperature"]  # not learnt: nothing to see
    if not names:
        return
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = new_figure(3.2 * columns, 2.4 * lines)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(lines, columns, place)
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points), marker="o" if len(points) < 30 else "", markersize=3, linewidth=1.5, color="#1f5a8a")
        if name.endswith(_SHARES):
            axes.set_ylim(-0.03, 1.03)
        if name in CHANCE_LEVELS:
            axes.axhline(CHANCE_LEVELS[name], linestyle=":", color="#8a8a8a", linewidth=1)
            axes.annotate(
                "chance",
                (1.0, CHANCE_LEVELS[name]),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=7,
                color="#6a6a6a",
            )
        axes.set_title(number_title(name), fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
