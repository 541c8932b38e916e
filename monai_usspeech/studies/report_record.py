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


def data_of(study: CollectedStudy) -> str:
    """What the study was made with, in a few words: names or folder, scans, subjects and hours; empty if not told."""
    data = _data(study)
    names = data.get("names") or data.get("name") or _folders(study)
    words = ", ".join(map(str, names)) if isinstance(names, (list, tuple)) else str(names)
    counts = []
    for key in ("scans", "subjects", "hours"):
        value = data.get(key)
        number = len(value) if isinstance(value, (list, tuple, dict)) else value
        counts += [f"{number:.4g} {key}" if isinstance(number, float) else f"{number} {key}"] if number else []
    return "; ".join(part for part in (words, str(data.get("description") or ""), ", ".join(counts)) if part)


def synthetic_words(study: CollectedStudy) -> str:
    """The words by which the data call themselves synthetic; empty when they do not.

    Looked at are ``"synthetic": true``, the names, the description and the folder of the data, and the name and the
    description of the study.
    """
    data = _data(study)
    names = data.get("names") or data.get("name") or []
    words = [*([names] if isinstance(names, str) else names), data.get("description"), *_folders(study)]
    words += [study.plan.get("name"), study.plan.get("description")]
    found = [str(word) for word in words if word and re.search(r"synthetic|phantom", str(word), re.IGNORECASE)]
    return found[0] if found else "the study says so" if data.get("synthetic") is True else ""


def _folders(study: CollectedStudy) -> list[str]:
    """The scan store, by whatever name it is given."""
    data = _data(study)
    return [str(f) for f in (data.get("store"), data.get("dataset_dir"), study.plan.get("dataset_dir")) if f][:1]


def _data(study: CollectedStudy) -> Mapping[str, Any]:
    data = study.plan.get("data")
    return data if isinstance(data, dict) else {"name": data} if isinstance(data, str) else {}


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
        files = ", ".join(map(str, pretrain)) if isinstance(pretrain, (list, tuple)) else str(pretrain or "–")
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
    versions = dict(study.plan.get("versions") or {})
    for cell in study.cells.values():
        versions = versions or dict(cell.results.get("versions") or {})
    cells = [*study.pretraining.values(), *study.cells.values()]
    commands = [_command(cell.record.get("command")) for cell in cells]
    whole = _command(study.plan.get("command"))
    return [
        ("The command that makes the study", whole),
        ("The command of every run", "\n\n".join(command for command in commands if command)),
        ("Versions", "\n".join(f"{name} {version}" for name, version in versions.items())),
        ("The study's plan (study.json)", json.dumps(study.plan, indent=2, ensure_ascii=False)),
    ]


def _command(command: Any) -> str:
    if isinstance(command, (list, tuple)):
        return shlex.join(map(str, command))
    return str(command or "")


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
