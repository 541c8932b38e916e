# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From the per-frame files of a run to statistics per test subject, which intervals are made of."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.data.files import InputError
from monai_usspeech.handlers.saliency_results import SALIENCY_SCORES
from monai_usspeech.metrics import compute_retrieval_ranks, confusion_matrix_of, scores_from_confusion
from monai_usspeech.metrics.retrieval import DIRECTIONS, RECALLS
from monai_usspeech.studies.collect import CollectedCell
from monai_usspeech.studies.reported_metrics import CLASSIFICATION_KINDS
from monai_usspeech.studies.statistics import ScoreFunction, SubjectStatistics

__all__ = [
    "CLASS_SCORES",
    "cell_statistics",
    "class_scores",
    "mean_scores",
    "mean_statistics",
    "confusion_scores",
    "confusion_statistics",
    "score_function",
]

CLASS_SCORES = ("precision", "recall", "accuracy", "f1")
"""What :func:`class_scores` gives of every class, in the order of its columns."""
RETRIEVAL_NAMES = tuple(f"{way}_r{k}" for way in DIRECTIONS for k in RECALLS)


def confusion_statistics(
    subject: Sequence[str], label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> SubjectStatistics:
    """Confusion matrices of the subjects, flattened.

    Args:
        subject: ``[N]`` whose frame it is.
        label: int ``[N]`` true classes.
        predicted: int ``[N]``.
        num_classes: C.

    Returns:
        Statistics with K = C * C, rows true.
    """
    names, owner = np.unique(np.asarray(subject, dtype=str), return_inverse=True)
    matrices = [
        confusion_matrix_of(predicted[owner == row], label[owner == row], num_classes) for row in range(len(names))
    ]
    values = np.asarray(matrices, dtype=np.float64).reshape(len(names), num_classes**2)
    return SubjectStatistics(tuple(names.tolist()), values)


def confusion_scores(values: np.ndarray) -> dict[str, np.ndarray]:
    """Macro precision, recall and F1, and accuracy, of summed flattened confusion matrices ``[..., C * C]``."""
    num_classes = round(values.shape[-1] ** 0.5)
    scores = scores_from_confusion(values.reshape(*values.shape[:-1], num_classes, num_classes))
    names = ("precision", "recall", "f1", "accuracy")
    return {name: np.asarray(getattr(scores, name), dtype=np.float64) for name in names}


def class_scores(cells: Mapping[tuple[int, int], SubjectStatistics], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The scores of every class, folds summed and seeds averaged.

    Args:
        cells: (fold, seed) to :func:`confusion_statistics`.
        num_classes: C.

    Returns:
        Float ``[C, 4]`` in the order of :data:`CLASS_SCORES`, NaN where a class is absent from truth and predictions of
        every seed, and labelled frames ``[C]``.
    """
    totals = {seed: np.zeros(num_classes**2) for _, seed in cells}
    for (_, seed), statistics in cells.items():
        totals[seed] += statistics.values.sum(axis=0)
    matrices = np.stack(list(totals.values())).reshape(-1, num_classes, num_classes)
    scores = scores_from_confusion(matrices)
    columns = [getattr(scores, f"per_class_{name}") for name in CLASS_SCORES]
    values = np.stack(columns, axis=-1).astype(np.float64)  # [seeds, C, 4]
    known = np.isfinite(values)
    empty = np.full(values.shape[1:], np.nan)
    mean = np.divide(np.where(known, values, 0).sum(axis=0), known.sum(axis=0), out=empty, where=known.any(axis=0))
    return mean, np.asarray(scores.support, np.float64).max(axis=0)


def mean_statistics(subject: Sequence[str], values: Mapping[str, np.ndarray]) -> SubjectStatistics:
    """Sums and counts of per-frame numbers.

    Args:
        subject: ``[N]`` whose frame it is.
        values: name to float ``[N]``; NaN where the number is undefined, which counts for nothing.

    Returns:
        Statistics with K = 2 * len(values): all sums, then all counts.
    """
    names, owner = np.unique(np.asarray(subject, dtype=str), return_inverse=True)
    columns = [np.asarray(column, dtype=np.float64) for column in values.values()]
    sums = [np.bincount(owner, np.where(np.isfinite(c), c, 0.0), len(names)) for c in columns]
    counts = [np.bincount(owner, np.isfinite(c), len(names)) for c in columns]
    return SubjectStatistics(tuple(names.tolist()), np.stack([*sums, *counts], axis=1).astype(np.float64))


def mean_scores(names: Sequence[str]) -> ScoreFunction:
    """The function that turns summed :func:`mean_statistics` into means; NaN where nothing was counted."""

    def score(values: np.ndarray) -> dict[str, np.ndarray]:
        sums, counts = values[..., : len(names)], values[..., len(names) :]
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return {name: means[..., column] for column, name in enumerate(names)}

    return score


def score_function(kind: str) -> ScoreFunction | None:
    """What scores summed statistics of a kind of task; None for a kind without per-subject statistics."""
    functions: dict[str, ScoreFunction] = {
        **dict.fromkeys(CLASSIFICATION_KINDS, confusion_scores),
        "gaze_saliency": mean_scores(SALIENCY_SCORES),
        "retrieval": mean_scores(RETRIEVAL_NAMES),
    }
    return functions.get(kind)


def cell_statistics(cell: CollectedCell, kind: str) -> SubjectStatistics | None:
    """The per-subject statistics of a finished cell.

    Args:
        cell: the cell.
        kind: ``"standard_plane"`` and ``"image_set"`` read ``predictions.csv`` (the subject of an image is its group,
            the video or patient), ``"gaze_saliency"`` reads ``frames.csv``, ``"retrieval"`` ranks ``embeddings.npz``:
            each query among all embeddings of the cell, of which only queries are resampled.

    Returns:
        None when the file is not there or the kind has none.

    Raises:
        InputError: when the file lacks a column or holds a class that is not known.
    """
    classified = dict.fromkeys(CLASSIFICATION_KINDS, "predictions.csv")
    name = {**classified, "gaze_saliency": "frames.csv", "retrieval": "embeddings.npz"}.get(kind)
    path = cell.file(name) if name else None
    if path is None:
        return None
    if kind == "retrieval":
        return _retrieval_statistics(path, str(cell.results.get("details", {}).get("similarity") or "cosine"))
    needed = ("label", "predicted") if kind in CLASSIFICATION_KINDS else SALIENCY_SCORES
    columns = _read_columns(path, ("subject", *needed))
    if kind == "gaze_saliency":
        numbers = {n: np.array([float(v) if v else np.nan for v in columns[n]]) for n in SALIENCY_SCORES}
        return mean_statistics(columns["subject"], numbers)
    classes = [str(name) for name in cell.results.get("details", {}).get("classes") or PLANES]
    label, predicted = (_class_numbers(columns[column], classes, path) for column in ("label", "predicted"))
    return confusion_statistics(columns["subject"], label, predicted, len(classes))


def _retrieval_statistics(path: Path, similarity: str) -> SubjectStatistics | None:
    with np.load(path, allow_pickle=False) as content:
        if "speech" not in content:  # a network without a speech stream: nothing to find
            return None
        video, speech = (torch.from_numpy(np.asarray(content[key], np.float32)) for key in ("video", "speech"))
        subject = content["subject"].astype(str)
    ranks = zip(DIRECTIONS, compute_retrieval_ranks(video, speech, similarity=similarity))
    hits = {f"{way}_r{k}": np.asarray(rank <= k, np.float64) for way, rank in ranks for k in RECALLS}
    return mean_statistics(subject.tolist(), hits)


def _read_columns(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in names if rows and name not in rows[0]]
    if missing:
        raise InputError(f"{path}: the column {missing[0]} is missing.")
    return {name: [row[name] for row in rows] for name in names}


def _class_numbers(column: Sequence[str], classes: Sequence[str], path: Path) -> np.ndarray:
    """Class names as class numbers."""
    place = {name: number for number, name in enumerate(classes)}
    unknown = next((value for value in column if value not in place), None)
    if unknown is not None:
        raise InputError(f'{path}: "{unknown}" is none of the classes {", ".join(classes)}.')
    return np.array([place[value] for value in column], dtype=np.int64)
