# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The file in which an evaluation says what it found; studies read it."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_usspeech.data.files import atomic_file, write_json
from monai_usspeech.data.splits import SubjectSplit
from monai_usspeech.engines.configuration import software_versions

__all__ = ["RESULTS_FORMAT", "frame_counts", "write_results", "write_table"]

RESULTS_FORMAT = 1


def write_results(
    folder: str | Path,
    task: str,
    metrics: Mapping[str, float | None],
    counts: Mapping[str, int],
    split: SubjectSplit | None = None,
    settings: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``results.json``, whole or not at all.

    Args:
        folder: the run's folder; made when missing.
        task: ``"standard_plane"``, ``"image_set"``, ``"gaze_saliency"``, ``"retrieval"`` or
            ``"synchronisation"``.
        metrics: one number each; what is not finite is written as null.
        counts: how much the numbers rest on; see :func:`frame_counts`.
        split: who was trained, validated and tested on.
        settings: numbers and words that decide what the run computes.
        details: whatever else belongs to the task, in plain values.

    Returns:
        The file.
    """
    path = Path(folder) / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    subjects = {} if split is None else {name: list(getattr(split, name)) for name in ("train", "validation", "test")}
    content = {
        "format": RESULTS_FORMAT,
        "task": task,
        "metrics": metrics,
        "counts": counts,
        "subjects": subjects,
        "settings": settings or {},
        "versions": software_versions(),
        "details": details or {},
    }
    write_json(path, _plain(content))
    return path


def frame_counts(frames: Collection[tuple[str, str, float]]) -> dict[str, int]:
    """How many ``frames``, ``scans`` and ``subjects`` a result rests on.

    Args:
        frames: (subject, scan, time) of every frame, or clip, that was evaluated; of an image set (group, file, time).
            Two groups may have files of one name.
    """
    return {
        "frames": len(frames),
        "scans": len({(subject, scan) for subject, scan, _ in frames}),
        "subjects": len({subject for subject, _, _ in frames}),
    }


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header line, whole or not at all; numbers that are not finite become empty cells."""
    with atomic_file(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return value


def _plain(value: Any) -> Any:
    """The same in types that JSON has; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value if value is None else str(value)
