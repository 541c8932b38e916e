# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Embeddings as a picture: t-SNE, coloured by plane."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from monai_usspeech.handlers.figures import bare_axes, new_figure

__all__ = ["embed_in_plane", "embedding_figure"]

_MARKERS = "os^D"
_PALE = "#c9c9c9"
_PALE_CLASSES = ("background",)
_Style = tuple[str, str]


def embed_in_plane(features: np.ndarray, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Two coordinates for each vector: PCA to at most 50 dimensions, then t-SNE (van der Maaten and Hinton, 2008).

    Args:
        features: ``[N, D]``.
        seed: of t-SNE.
        perplexity: lowered to ``(N - 1) / 3`` for few vectors.

    Returns:
        float64 ``[N, 2]``. Fewer than 5 vectors are projected by PCA alone, and vectors that are all the same lie
        at 0.
    """
    vectors = np.asarray(features, dtype=np.float64)
    vectors = vectors - vectors.mean(axis=0) if len(vectors) else vectors
    spread = float(np.abs(vectors).max(initial=0.0))
    if spread <= 1e-6 * float(np.abs(features).max(initial=0.0)) or len(vectors) < 2:
        return np.zeros((len(vectors), 2))
    reduced = PCA(min(50, *vectors.shape), svd_solver="full").fit_transform(vectors / spread)
    reduced = np.pad(reduced, ((0, 0), (0, max(0, 2 - reduced.shape[1]))))
    if len(vectors) < 5:
        return np.asarray(reduced[:, :2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        flat = TSNE(perplexity=min(perplexity, (len(vectors) - 1) / 3), init="pca", random_state=seed, n_jobs=1)
        return np.asarray(flat.fit_transform(reduced), dtype=np.float64)


def embedding_figure(
    panels: Sequence[tuple[str, np.ndarray]],
    labels: np.ndarray,
    classes: Sequence[str],
    seed: int = 0,
    max_points: int = 2000,
) -> Figure:
    """Draw embeddings of the same items by several methods or streams.

    Args:
        panels: (title, vectors ``[N, D]``); D may differ.
        labels: int ``[N]``: index into ``classes``, -1 where the class is not known.
        classes: the names.
        seed: of t-SNE.
        max_points: more items than this are thinned out evenly, for t-SNE's time grows with their number.

    Returns:
        The figure, with one panel for each entry and one legend of the classes that occur.

    Raises:
        ValueError: without a panel, or when numbers of items differ.
    """
    labels = np.asarray(labels)
    lengths = {name: len(vectors) for name, vectors in panels}
    if not panels or set(lengths.values()) != {len(labels)}:
        raise ValueError(f"Need at least one panel, each with {len(labels)} items like the labels, got {lengths}.")
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), max_points)).round().astype(int))
    labels, style = labels[chosen], _styles(classes)
    present = [index for index in range(-1, len(classes)) if (labels == index).any()]
    figure = new_figure(3.6 * len(panels) + 1.35, 4.1)
    for axes, (title, vectors) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        _draw(axes, embed_in_plane(np.asarray(vectors)[chosen], seed), labels, present, style)
        axes.set_title(title, fontsize=10, weight="bold")
    handles = [
        Line2D([], [], linestyle="", marker=style[i][1], color=style[i][0], markersize=5,
               label=f"{'no label' if i < 0 else classes[i]} ({int((labels == i).sum())})")
        for i in [*[i for i in present if i >= 0], *[i for i in present if i < 0]]
    ]  # fmt: skip
    figure.supxlabel("t-SNE: which items lie together matters, far distances and sizes of groups do not", fontsize=7.5)
    figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False, handletextpad=0.2)
    return figure


def _styles(classes: Sequence[str]) -> dict[int, _Style]:
    """Colour and marker of each class, the same in every picture with these classes, whichever of them occur."""
    colours = colormaps["tab10"]
    styles: dict[int, _Style] = {-1: (_PALE, "x")}
    number = 0
    for index, name in enumerate(classes):
        if name in _PALE_CLASSES:
            styles[index] = (_PALE, "o")
            continue
        # Grey, the eighth colour, is that of background; markers change with every round of the nine others.
        colour = [c for c in range(10) if c != 7][number % 9]
        styles[index] = (to_hex(colours(colour)), _MARKERS[number // 9 % len(_MARKERS)])
        number += 1
    return styles


def _draw(
    axes: Axes,
    points: np.ndarray,
    labels: np.ndarray,
    present: Sequence[int],
    style: dict[int, _Style],
) -> None:
    pale = [index for index in present if style[index][0] == _PALE]
    size = float(np.clip(6000 / max(len(points), 1), 9, 40))
    for index in [*pale, *[index for index in present if index not in pale]]:  # the planes lie on top of the rest
        here = labels == index
        colour, marker = style[index]
        # A cross has no edge to be drawn white: only the line it consists of.
        edge = {"linewidths": 0.8} if marker == "x" else {"linewidths": 0.3, "edgecolors": "white"}
        axes.scatter(points[here, 0], points[here, 1], s=size, color=colour, marker=marker, alpha=0.85, **edge)
    if len(points) and not np.ptp(points, axis=0).any():
        axes.text(0.5, 0.6, "all embeddings are the same", transform=axes.transAxes, ha="center", fontsize=8)
    axes.margins(0.05)
    axes.set_box_aspect(1)
    bare_axes(axes)
