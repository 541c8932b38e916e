# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How well the pretext tasks themselves were solved: a row that solves one too well may have found a short cut."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_usspeech.handlers.curves import CHANCE_LEVELS, number_title
from monai_usspeech.handlers.history import read_history
from monai_usspeech.studies.collect import CollectedCell, CollectedStudy
from monai_usspeech.studies.table_format import ReportCell, ReportTable

__all__ = ["pretext_table"]

_PREFIX = "accuracy_"
logger = logging.getLogger(__name__)


def pretext_table(study: CollectedStudy, cells: Sequence[CollectedCell]) -> ReportTable | None:
    """
    Accuracy on the pretext tasks in the last epoch of pretraining, mean over runs.

    Args:
        study: for the methods' titles.
        cells: the pretraining cells, in the order of the table.

    Returns:
        One row for each method with a finished run that has such numbers; None when there is none.
    """
    epochs: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        row = _last_epoch(cell)
        if any(name.startswith(_PREFIX) for name in row):
            epochs.setdefault(cell.method, []).append(row)
    names = list(dict.fromkeys(n for rows in epochs.values() for row in rows for n in row if n.startswith(_PREFIX)))
    if not names:
        return None
    rows = []
    for method, found in epochs.items():
        numbers = [_summary([row[name] for row in found if name in row]) for name in names]
        rows.append((ReportCell(study.title(method)), *numbers, ReportCell(str(len(found)))))
    notes = [
        "Share of right answers on the clips that are trained on, mean over the last epoch, then over runs; ± is the"
        " standard deviation (n − 1) over runs. Methods with other batches have other chance levels.",
        "A high number says that the task was solved, not that anatomy was learnt: compare the tables above.",
    ]
    return ReportTable("pretrain", "Pretext tasks at the end of pretraining", ("Method", *map(_heading, names), "Runs"),
                       tuple(rows), tuple(notes))  # fmt: skip


def _last_epoch(cell: CollectedCell) -> dict[str, Any]:
    """The last epoch's row of a finished pretraining's history; empty when there is none to read."""
    try:
        rows = read_history(cell.folder) if cell.finished else []
    except ValueError as error:
        logger.warning("%s: its history cannot be read, and the report leaves it out: %s", cell.name, error)
        return {}
    return next((row for row in reversed(rows) if row["kind"] == "epoch"), {})


def _summary(values: Sequence[float]) -> ReportCell:
    if not values:
        return ReportCell("–")
    spread = f"± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return ReportCell(f"{100 * np.mean(values):.1f}", spread)


def _heading(name: str) -> str:
    chance = CHANCE_LEVELS.get(name)
    return f"{number_title(name)}, %".capitalize() + (f" (chance {100 * chance:.3g})" if chance else "")
