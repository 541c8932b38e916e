# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a study folder holds: its plan, the cells that finished, and those that are missing and why."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import InputError, read_json
from monai_usspeech.studies.settings import PRETRAIN_STAGE, cell_name

__all__ = ["CellPosition", "CollectedCell", "CollectedStudy", "collect_study"]

_KINDS = ("standard_plane", "image_set", "gaze_saliency", "retrieval")
_CELL = re.compile(r"fold(\d+)-seed(\d+)")
CellPosition = tuple[str, str, int, int]
"""Task (or ``"pretrain"``), method, fold, seed."""


@dataclass(frozen=True)
class CollectedCell:
    """One run of a study: a task (or pretraining) with one method, fold and seed.

    Attributes:
        task: the task's key, or ``"pretrain"``.
        method: the method's key.
        fold: the fold that is tested.
        seed: the run's seed.
        folder: where its files lie, whether or not they are there.
        state: ``"finished"`` (``cell.json`` says done and the results can be read), ``"missing"`` (never started),
            ``"unreadable"``, ``"unfinished"`` (no record), or what ``cell.json`` says: ``"failed"``, ``"interrupted"``.
        note: why the cell is not finished, for a person; empty when it is.
        results: ``results.json`` of a finished downstream cell, else empty.
        record: ``cell.json``, or empty.
    """

    task: str
    method: str
    fold: int
    seed: int
    folder: Path
    state: str
    note: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the cell's results can be used."""
        return self.state == "finished"

    @property
    def name(self) -> str:
        """``task/method/fold0-seed0``, as the folder is called."""
        return cell_name(self.task, self.method, self.fold, self.seed)

    def metric(self, name: str) -> float:
        """One number of ``results.json``; NaN when it is undefined or not there."""
        value = self.results.get("metrics", {}).get(name)
        return float("nan") if value is None else float(value)

    def file(self, name: str) -> Path | None:
        """The path of one of the cell's files; None when it is not there."""
        path = self.folder / name
        return path if path.is_file() else None


@dataclass(frozen=True)
class CollectedStudy:
    """A study folder that has been read.

    Attributes:
        folder: the study's folder.
        plan: ``study.json``.
        tasks: key to description, in the plan's order.
        methods: key to description, in the plan's order.
        folds: the planned folds.
        seeds: the planned seeds.
        cells: the downstream cells, planned ones first; every planned cell is here, finished or not.
        pretraining: the pretraining cells that left a folder.
    """

    folder: Path
    plan: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]
    methods: Mapping[str, Mapping[str, Any]]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    cells: Mapping[CellPosition, CollectedCell]
    pretraining: Mapping[CellPosition, CollectedCell]

    @property
    def reference(self) -> str:
        """The method that the others are compared with: the plan's ``reference``, else its first method."""
        return str(self.plan.get("reference") or next(iter(self.methods)))

    def of_task(self, task: str, method: str | None = None) -> list[CollectedCell]:
        """The cells of a task, of one method when given, in the order of the plan."""
        return [cell for cell in self.cells.values() if cell.task == task and method in (None, cell.method)]

    def unfinished(self) -> list[CollectedCell]:
        """The planned cells without results."""
        return [cell for cell in self.cells.values() if not cell.finished]

    def task_kind(self, task: str) -> str:
        """What a task measures: ``"standard_plane"``, ``"image_set"``, ``"gaze_saliency"``, ``"retrieval"`` or
        another word.

        It is what the finished runs say of themselves; before there are any, what the task's key begins with.
        """
        for cell in self.of_task(task):
            if cell.results.get("task"):
                return str(cell.results["task"])
        return next((kind for kind in _KINDS if task.startswith(kind)), task)

    def title(self, method: str) -> str:
        """The name of a method for tables; its key when it has none, or takes part through its pretraining alone."""
        return str((self.methods.get(method) or {}).get("title") or method)


def collect_study(study_dir: str | os.PathLike) -> CollectedStudy:
    """Read a study folder as it stands.

    Args:
        study_dir: the folder with ``study.json`` and the cells ``<task>/<method>/fold<f>-seed<s>``. Cells that have not
            run, have failed or cannot be read are kept with a note; none of them stops the reading.

    Raises:
        InputError: when ``study.json`` is missing, is not JSON, or does not name methods, tasks, folds and seeds.
    """
    folder = Path(study_dir)
    path = folder / "study.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the study first, or give its folder.")
    plan = read_json(path)
    if not isinstance(plan, dict):
        raise InputError(f"{path}: a study is a JSON object, this is a {type(plan).__name__}.")
    methods, tasks = (_described(plan, key, path) for key in ("methods", "tasks"))
    if plan.get("reference") and plan["reference"] not in methods:
        raise InputError(f'{path}: reference: "{plan["reference"]}" is none of the methods {", ".join(methods)}.')
    folds, seeds = (_numbers(plan, key, path) for key in ("folds", "seeds"))
    planned = [(t, m, f, s) for t in tasks for m in _methods_of(tasks[t], methods) for f in folds for s in seeds]
    cells = {position: _read_cell(folder, position) for position in planned}
    pretraining = {position: _read_pretraining(folder, position) for position in sorted(_pretrained(folder))}
    return CollectedStudy(folder, plan, tasks, methods, folds, seeds, cells, pretraining)


def _described(plan: dict[str, Any], key: str, path: Path) -> dict[str, dict[str, Any]]:
    """``methods`` or ``tasks`` of the plan: key to description."""
    content = plan.get(key)
    if not isinstance(content, dict) or not content or not all(isinstance(value, dict) for value in content.values()):
        raise InputError(f"{path}: {key}: at least one is needed, as an object of key and description.")
    return content


def _methods_of(task: Mapping[str, Any], methods: Mapping[str, Any]) -> list[str]:
    """The methods that a task is planned for: its own list, or all."""
    chosen = task.get("methods")
    return [method for method in methods if chosen is None or method in chosen]


def _numbers(plan: dict[str, Any], key: str, path: Path) -> tuple[int, ...]:
    """``folds`` or ``seeds`` of the plan."""
    numbers = plan.get(key)
    if not isinstance(numbers, list) or not numbers or not all(isinstance(number, int) for number in numbers):
        raise InputError(f"{path}: {key}: at least one is needed, as a list of numbers.")
    return tuple(numbers)


def _pretrained(folder: Path) -> set[CellPosition]:
    """The pretraining cells that left a folder."""
    folders = (path for path in (folder / PRETRAIN_STAGE).glob("*/fold*-seed*") if path.is_dir())
    matches = ((path.parent.name, _CELL.fullmatch(path.name)) for path in folders)
    return {(PRETRAIN_STAGE, method, int(match[1]), int(match[2])) for method, match in matches if match}


def _record(folder: Path) -> dict[str, Any]:
    """``cell.json``; empty when it is not there or broken (it says how a cell went, not what came out)."""
    try:
        content = read_json(folder / "cell.json")
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def _read_cell(study: Path, position: CellPosition) -> CollectedCell:
    folder = study / cell_name(*position)
    if not folder.is_dir():
        return CollectedCell(*position, folder, "missing", "not started")
    record = _record(folder)
    if record.get("state") != "done":  # results that lie there may be of an earlier attempt
        state = str(record.get("state") or "unfinished")
        note = str(record.get("error") or "running, or ended without a record")
        return CollectedCell(*position, folder, state, note, record=record)
    try:
        results = read_json(folder / "results.json")
    except InputError as error:
        return CollectedCell(*position, folder, "unreadable", str(error), record=record)
    if not isinstance(results, dict) or not isinstance(results.get("metrics"), dict):
        return CollectedCell(*position, folder, "unreadable", "results.json has no metrics", record=record)
    return CollectedCell(*position, folder, "finished", "", results, record)


def _read_pretraining(study: Path, position: CellPosition) -> CollectedCell:
    folder = study / cell_name(*position)
    record = _record(folder)
    state = "finished" if record.get("state") == "done" else str(record.get("state") or "unfinished")
    return CollectedCell(*position, folder, state, str(record.get("error") or ""), record=record)
