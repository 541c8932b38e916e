# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The end of the report: what is needed to make the same numbers again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from monai_usspeech.data.files import InputError, read_json
from monai_usspeech.studies.collect import CollectedCell, CollectedStudy
from monai_usspeech.studies.progress import duration
from monai_usspeech.studies.report_page import html_details, html_pre, html_table
from monai_usspeech.studies.table_format import ReportCell, ReportTable

__all__ = ["data_of", "record_section", "synthetic_words"]

_COUNTED = ("scans", "subjects", "hours", "images", "groups")


def data_of(study: CollectedStudy) -> str:
    """What the study was made with, in a few words: names or folder, and counts; empty if not told.

    Data that are for pretraining alone come behind.
    """
    data = study.plan.get("data") or {}
    return "; ".join(part for part in (_told(data), _told(data.get("pretraining") or {}, "pretraining on ")) if part)


def _told(data: Mapping[str, Any], before: str = "") -> str:
    words = ", ".join(map(str, data.get("names") or [data.get("store") or ""]))
    numbers = {key: data[key] for key in _COUNTED if data.get(key)}
    counts = ", ".join(f"{n:,} {key}" if isinstance(n, int) else f"{n:.4g} {key}" for key, n in numbers.items())
    told = "; ".join(part for part in (words, counts) if part)
    return before + told if told else ""


def synthetic_words(study: CollectedStudy) -> str:
    """The words by which the data call themselves synthetic; empty when they do not.

    Looked at are the names and the folders of the data, and the name and the description of the study.
    """
    data = study.plan.get("data") or {}
    words: list[object] = [study.plan.get("name"), study.plan.get("description")]
    for part in (data.get("pretraining") or {}, data):
        words = [*(part.get("names") or ()), part.get("store"), *words]
    found = (str(word) for word in words if word and re.search(r"synthetic|phantom", str(word), re.IGNORECASE))
    return next(found, "")


def record_section(study: CollectedStudy) -> str:
    """Methods, subjects of each fold, times, versions, commands and configurations as HTML."""
    parts = [html_table(_methods(study))]
    split = _subjects(study)
    if split is not None:
        parts.append(html_details(split.title, html_table(split)))
    times = _times(study)
    if times is not None:
        parts.append(html_details(times.title, html_table(times)))
    parts += [html_details(title, html_pre(text)) for title, text in _texts(study) if text]
    parts += _configurations(study)
    return "\n".join(parts)


def _table(key: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> ReportTable:
    cells = tuple(tuple(ReportCell(text) for text in row) for row in rows)
    return ReportTable(key, title, tuple(columns), cells, words=True)


def _methods(study: CollectedStudy) -> ReportTable:
    rows = []
    for method, entry in study.methods.items():
        start = entry.get("initialisation")
        pretrain = entry.get("pretrain")
        files = "–" if pretrain is None else ", ".join(pretrain) or "the study's own"
        files += "".join(f"; {name} {value}" for name, value in (entry.get("pretrain_values") or {}).items())
        files += f"; on {entry['pretrain_dir']}" if entry.get("pretrain_dir") else ""
        if entry.get("pretrain_of"):
            files = f"that of {entry['pretrain_of']}"
        files += f", {entry['weights']}" if entry.get("weights") else ""
        files += "".join(f"; downstream {name}" for name in entry.get("downstream") or ())
        begins = str(start or "random") + (", then pretraining" if pretrain is not None else "")
        rows.append((study.title(method), method, begins, files, str(entry.get("note") or "")))
    return _table("methods", "Methods", ("Method", "Key", "Starts from", "Pretraining", "Note"), rows)


def _subjects(study: CollectedStudy) -> ReportTable | None:
    """Who was tested in each fold, as the runs report it."""
    rows = []
    for task in study.tasks:
        for fold in study.folds:
            cell = next((c for c in study.of_task(task) if c.fold == fold and c.results.get("subjects")), None)
            if cell is not None:
                parts = [cell.results["subjects"].get(name) or [] for name in ("test", "validation", "train")]
                rows.append((f"{task}, fold {fold}", *(f"{len(part)}: {', '.join(map(str, part))}" for part in parts)))
    columns = ("Task", "Tested", "Validated", "Trained")
    return _table("subjects", "Subjects of each fold", columns, rows) if rows else None


def _times(study: CollectedStudy) -> ReportTable | None:
    """Computing time of every stage and method."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for cell in (*study.pretraining.values(), *study.cells.values()):
        if cell.record.get("seconds"):
            seconds.setdefault((cell.task, cell.method), []).append(float(cell.record["seconds"]))
    rows = [
        (f"{task}, {method}", str(len(values)), duration(sum(values) / len(values)), duration(sum(values)))
        for (task, method), values in seconds.items()
    ]
    return _table("times", "Computing time", ("Runs", "Number", "Mean", "Together"), rows) if rows else None


def _texts(study: CollectedStudy) -> list[tuple[str, str]]:
    """Versions, the study's plan, and commands, as they stand."""
    versions = study.plan.get("versions") or {}
    cells = [*study.pretraining.values(), *study.cells.values()]
    commands = [shlex.join(cell.record.get("command") or ()) for cell in cells]
    return [
        ("The command of every run", "\n\n".join(command for command in commands if command)),
        ("Versions", "\n".join(f"{name} {version}" for name, version in versions.items())),
        ("The study's plan (study.json)", json.dumps(study.plan, indent=2, ensure_ascii=False)),
    ]


def _configurations(study: CollectedStudy) -> list[str]:
    """The merged configuration of the first run of each stage and method."""
    first: dict[tuple[str, str], CollectedCell] = {}
    for cell in (*study.pretraining.values(), *study.cells.values()):
        if cell.file("config.json") is not None:
            first.setdefault((cell.task, cell.method), cell)
    parts = []
    for cell in first.values():
        try:
            text = json.dumps(read_json(cell.folder / "config.json"), indent=2, ensure_ascii=False)
        except InputError as error:
            text = str(error)
        parts.append(html_details(f"Configuration of {cell.name}", html_pre(text)))
    return parts
