# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The tables of single classes: F1 of every plane, and all scores of every class of an image set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_usspeech.studies.analysis import TaskAnalysis
from monai_usspeech.studies.collect import CollectedStudy
from monai_usspeech.studies.reported_metrics import CLASSIFICATION_KINDS, ReportedMetric
from monai_usspeech.studies.subject_scores import CLASS_SCORES, class_scores
from monai_usspeech.studies.table_format import ReportCell, ReportTable
from monai_usspeech.studies.table_notes import task_title

__all__ = ["class_table"]

_SUMMED = (
    "From the confusion matrices summed over folds, averaged over seeds; a dash where the {} was neither shown nor"
)
_F1 = CLASS_SCORES.index("f1")


def class_table(study: CollectedStudy, task: TaskAnalysis, classes: Sequence[str]) -> ReportTable | None:
    """The scores of every class by method; None for a task without classes, or without its per-frame files.

    Planes, of which there are many, are rows with their F1, and methods are columns. Of an image set, which has few
    classes, every class has its precision, recall, accuracy and F1, and methods are rows, as in published tables.
    """
    if task.kind not in CLASSIFICATION_KINDS or not task.statistics:
        return None
    scores = {method: class_scores(cells, len(classes)) for method, cells in task.statistics.items()}
    support = np.max([counts for _, counts in scores.values()], axis=0)
    values = {method: of_method for method, (of_method, _) in scores.items()}
    return (_plane_rows if task.kind == "standard_plane" else _method_rows)(study, task, classes, values, support)


def _plane_rows(
    study: CollectedStudy,
    task: TaskAnalysis,
    classes: Sequence[str],
    values: dict[str, np.ndarray],
    support: np.ndarray,
) -> ReportTable:
    rows = []
    for number, name in enumerate(classes):
        f1 = [of_method[number, _F1] for of_method in values.values()]
        rows.append((ReportCell(name), *_cells(f1, task.complete), ReportCell(f"{support[number]:,.0f}")))
    return ReportTable(
        f"{task.key}_classes",
        f"{task_title(study, task.key)}: F1 of each plane",
        ("Plane", *(f"{study.title(method)} %" for method in values), "Frames"),
        tuple(rows),
        (_SUMMED.format("plane") + " predicted. Frames: labelled frames of the test folds, once. Bold: best of the"
         " row.",),
    )  # fmt: skip


def _method_rows(
    study: CollectedStudy,
    task: TaskAnalysis,
    classes: Sequence[str],
    values: dict[str, np.ndarray],
    support: np.ndarray,
) -> ReportTable:
    grid = np.stack(list(values.values())).reshape(len(values), -1)  # [methods, C * 4]
    columns = [_cells(column.tolist(), task.complete) for column in grid.T]
    rows = [(ReportCell(study.title(method)), *cells) for method, cells in zip(values, zip(*columns))]
    heads = [f"{name}: {'F1' if score == 'f1' else score} %" for name in classes for score in CLASS_SCORES]
    counted = ", ".join(f"{name} {number:,.0f}" for name, number in zip(classes, support))
    return ReportTable(
        f"{task.key}_classes",
        f"{task_title(study, task.key)}: scores of each class",
        ("Method", *heads),
        tuple(rows),
        (
            _SUMMED.format("class") + " predicted. Bold: best of the column.",
            'Accuracy of a class: share of all images for which the question "this class or another" was answered'
            " rightly. It is high for a rare class that is never predicted; precision and recall are not.",
            f"Labelled images of the test folds, once: {counted}.",
        ),
    )


def _cells(values: Sequence[float], complete: bool) -> list[ReportCell]:
    """Percentages of several methods; the best ones marked where there are two to compare and no run is missing."""
    shown = ReportedMetric("share", "share", percent=True)
    known = [value for value in values if np.isfinite(value)]
    best = shown.show(max(known)) if complete and len(known) > 1 and max(known) > 0 else None
    return [ReportCell(text, best=text == best) for text in map(shown.show, values)]
