# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The pictures of the report: methods side by side, on the same frames and the same subjects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.handlers.confusion_picture import confusion_figure
from monai_usspeech.handlers.embedding_picture import embedding_figure
from monai_usspeech.handlers.figures import figure_bytes, new_figure
from monai_usspeech.handlers.saliency_picture import saliency_figure
from monai_usspeech.studies.analysis import TaskAnalysis
from monai_usspeech.studies.collect import CollectedCell, CollectedStudy
from monai_usspeech.studies.position_picture import position_section
from monai_usspeech.studies.report_page import html_figure, html_list

__all__ = ["run_pictures", "task_classes", "task_pictures"]

_PRIMARY = {
    "standard_plane": ("f1", "recall", "precision"),
    "image_set": ("accuracy", "f1", "recall", "precision"),
    "gaze_saliency": ("kl", "nss", "auc_judd", "cc"),
    "retrieval": ("video_to_speech_r1", "video_to_speech_r5", "speech_to_video_r1", "speech_to_video_r5"),
}
_DPI = 110
_SIDE_BY_SIDE = 3  # confusion matrices in one row: more would be too small to read
logger = logging.getLogger(__name__)


def task_classes(cells: Sequence[CollectedCell]) -> list[str]:
    """The class names that the runs of a task wrote, else the package's planes."""
    told = (cell.results.get("details", {}).get("classes") for cell in cells if cell.finished)
    return [str(name) for name in next((names for names in told if names), PLANES)]


def task_pictures(study: CollectedStudy, task: TaskAnalysis) -> str:
    """The pictures of one task as HTML. A picture whose file is broken is left out, with a line in its place."""
    kinds: dict[str, tuple[Callable[[CollectedStudy, TaskAnalysis], str], ...]] = {
        "standard_plane": (_confusions, _grad_cams),
        "image_set": (_confusions, _grad_cams),
        "gaze_saliency": (_overlays,),
        "retrieval": (_embeddings,),
    }
    drawn = (_positions, _run_dots, *kinds.get(task.kind, ()))
    return "\n".join(_or_note(partial(draw, study, task)) for draw in drawn)


def run_pictures(cells: Sequence[CollectedCell], study: CollectedStudy, name: str, what: str) -> str:
    """A picture that each run drew itself, one run of every method.

    Args:
        cells: candidates; the first one of a method that has the file is shown.
        study: for the methods' titles.
        name: the file.
        what: what it shows, as the beginning of the caption.
    """
    figures, shown = [], set()
    for cell in cells:
        path = cell.file(name)
        if path is None or cell.method in shown:
            continue
        shown.add(cell.method)
        caption = f"{what}, {study.title(cell.method)} (fold {cell.fold}, seed {cell.seed})."
        figures.append(_or_note(partial(_png_figure, path, caption)))
    return f'<div class="gallery">{"".join(figures)}</div>' if figures else ""


def _png_figure(path: Path, caption: str) -> str:
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG"):
        raise ValueError(f"{path.name} is not a PNG")
    return html_figure(content, caption, caption)


def _or_note(draw: Callable[[], str]) -> str:
    """What ``draw`` returns; when a run's file cannot be used, a line that says so, because the tables still count."""
    try:
        return draw()
    except (ValueError, KeyError, OSError, EOFError) as error:
        logger.warning("A picture of the report is left out: %s", error)
        return html_list([f"A picture is left out: {error}"], "notes")


def _positions(study: CollectedStudy, task: TaskAnalysis) -> str:
    """The first metrics over the position of the methods, for studies whose methods differ in a number."""
    metrics = [metric for metric in task.metrics if metric.key in _PRIMARY.get(task.kind, ())[:2]] or task.metrics[:2]
    return position_section(study, task, metrics, _DPI) if task.scored else ""


def _run_dots(study: CollectedStudy, task: TaskAnalysis) -> str:
    """Every run as a dot, the mean as a line: what the numbers of the table rest on."""
    metrics = [m for m in task.metrics if m.key in _PRIMARY.get(task.kind, [m.key for m in task.metrics[:4]])]
    methods = list(task.values)
    if not methods or not metrics or not task.scored:
        return ""
    figure = new_figure(11, 0.9 + 0.34 * len(methods))
    axes_row = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(axes_row, metrics):
        scale = 100 if metric.percent else 1
        for row, method in enumerate(methods):
            values = scale * task.values[method][metric.key]
            apart = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
            rows = np.broadcast_to(row + apart[:, None], values.shape)
            axes.scatter(values, rows, s=16, color="#1f5a8a", alpha=0.55, lw=0)
            mean = scale * task.summaries[method][metric.key].mean
            axes.plot([mean, mean], [row - 0.32, row + 0.32], color="#c8501e", lw=2, solid_capstyle="round")
        axes.set_title(metric.heading, fontsize=9)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.tick_params(labelsize=8, length=0)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.margins(x=0.12)
    axes_row[0].set_yticks(range(len(methods)), [study.title(method) for method in methods], fontsize=9)
    caption = "Every finished run is a dot, folds a little apart from top to bottom; the line is the mean of the table."
    names = ", ".join(metric.label for metric in metrics)
    alt = f"{names} of every run, by method; the numbers are in the tables."
    return html_figure(figure_bytes(figure, _DPI), alt, caption)


def _confusions(study: CollectedStudy, task: TaskAnalysis) -> str:
    """Confusion matrices of the first seed, folds summed."""
    classes, seed = task_classes(study.of_task(task.key)), study.seeds[0]
    matrices = []
    for method, cells in task.statistics.items():
        folds = [statistics.values.sum(axis=0) for (_, s), statistics in cells.items() if s == seed]
        if folds:
            matrix = np.sum(folds, axis=0).reshape(len(classes), len(classes)).astype(np.int64)
            part = "" if len(folds) == len(study.folds) else f" ({len(folds)} of {len(study.folds)} folds)"
            matrices.append((study.title(method) + part, matrix))
    figures = []
    for start in range(0, len(matrices), _SIDE_BY_SIDE):
        shown = matrices[start : start + _SIDE_BY_SIDE]
        names = ", ".join(title for title, _ in shown)
        what = "frames of each plane" if task.kind == "standard_plane" else "images of each class"
        caption = f"Share of the {what} (row) that were called so (column); seed {seed}, folds summed."
        png = figure_bytes(confusion_figure(shown, classes), _DPI)
        figures.append(html_figure(png, f"Confusion matrices: {names}.", caption))
    return "\n".join(figures)


def _grad_cams(study: CollectedStudy, task: TaskAnalysis) -> str:
    return run_pictures(study.of_task(task.key), study, "grad_cam.png", "What the decision rests on (Grad-CAM)")


def _first_files(study: CollectedStudy, task: TaskAnalysis, name: str) -> tuple[CollectedCell, dict[str, Path]] | None:
    """The first (fold, seed) for which methods left a file, and the file of each such method."""
    for fold in study.folds:
        for seed in study.seeds:
            cells = [c for c in study.of_task(task.key) if (c.fold, c.seed) == (fold, seed) and c.finished]
            files = {cell.method: path for cell in cells if (path := cell.file(name)) is not None}
            if files:
                return cells[0], files
    return None


def _overlays(study: CollectedStudy, task: TaskAnalysis) -> str:
    """Saliency of all methods on the same frames."""
    found = _first_files(study, task, "examples.npz")
    if found is None:
        return ""
    cell, files = found
    examples = {}
    for method, path in files.items():
        with np.load(path, allow_pickle=False) as content:
            examples[method] = {key: content[key] for key in content.files}
    first = next(iter(examples.values()))
    names = [str(name) for name in first["names"]]
    shared = [n for n in names if all(n in e["names"].astype(str) for e in examples.values())]
    if not shared:
        return html_list(["The methods were drawn on different frames: no overlays side by side."], "notes")
    rows = [names.index(name) for name in shared]
    predictions = [
        (study.title(method), e["prediction"][[e["names"].astype(str).tolist().index(name) for name in shared]])
        for method, e in examples.items()
    ]
    images, fixations, target = (first[key][rows] for key in ("images", "fixations", "target"))
    figure = saliency_figure(images, fixations, target, predictions, shared)
    caption = (
        f"Gaze and predicted saliency on frames of test subjects; fold {cell.fold}, seed {cell.seed}. The frames are"
        " the same for all methods."
    )
    alt = f"Saliency overlays: {', '.join(title for title, _ in predictions)}."
    return html_figure(figure_bytes(figure, _DPI), alt, caption)


def _embeddings(study: CollectedStudy, task: TaskAnalysis) -> str:
    """Embeddings of all methods, coloured by plane, when they are of the same clips; else each run's own picture."""
    found = _first_files(study, task, "embeddings.npz")
    if found is None:
        return run_pictures(study.of_task(task.key), study, "embedding.png", "Embeddings")
    cell, files = found
    panels, labels = [], []
    for method, path in files.items():
        with np.load(path, allow_pickle=False) as content:
            vectors = np.asarray(content["video"], np.float64)
            labels.append(content["plane"])
        if cell.results.get("details", {}).get("similarity", "cosine") == "cosine":  # as they are ranked
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        panels.append((study.title(method), vectors))
    if any(not np.array_equal(labels[0], other) for other in labels):
        return run_pictures(study.of_task(task.key), study, "embedding.png", "Embeddings")
    figure = embedding_figure(panels, labels[0], PLANES)
    caption = (
        f"Video embeddings of held-out clips in two dimensions (t-SNE), coloured by plane; fold {cell.fold}, seed"
        f" {cell.seed}. Distances between groups mean little."
    )
    return html_figure(figure_bytes(figure, _DPI), f"Embedding maps: {', '.join(t for t, _ in panels)}.", caption)
