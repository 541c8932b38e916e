# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The report of a study: one HTML page that needs nothing else, and its tables as Markdown and CSV."""

from __future__ import annotations

import logging
import os
import re
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

import monai_usspeech
from monai_usspeech.data.files import atomic_file
from monai_usspeech.studies.analysis import TaskAnalysis, analyse_task
from monai_usspeech.studies.class_tables import class_table
from monai_usspeech.studies.collect import CollectedStudy, collect_study
from monai_usspeech.studies.hypothesis_table import hypothesis_csv, hypothesis_lines, hypothesis_table
from monai_usspeech.studies.pretext_table import pretext_table
from monai_usspeech.studies.progress import duration
from monai_usspeech.studies.report_page import html_box, html_details, html_facts, html_list, html_page, html_table
from monai_usspeech.studies.report_pictures import run_pictures, task_classes, task_pictures
from monai_usspeech.studies.report_record import data_of, record_section, synthetic_words
from monai_usspeech.studies.table_format import ReportTable, table_csv, table_markdown
from monai_usspeech.studies.table_notes import task_title
from monai_usspeech.studies.tables import difference_table, interval_table, numbers_csv, score_table
from monai_usspeech.studies.verdicts import judge_hypotheses

__all__ = ["write_report"]

logger = logging.getLogger(__name__)


def write_report(
    output_dir: str | os.PathLike,
    open_in_browser: bool = False,
    n_resamples: int = 2000,
    seed: int = 0,
    tell: Callable[[str], object] | None = None,
) -> Path:
    """Write ``report.html`` and ``tables/`` into a study's folder, from the cells that are there.

    A study that is not complete gives a report too; the page says which runs are missing. The same cells give the same
    numbers: the only randomness is the bootstrap's, from ``seed``.

    Args:
        output_dir: the study's folder.
        open_in_browser: show the page when it is written, where there is a display to show it on.
        n_resamples: bootstrap draws behind each interval.
        seed: of these draws.
        tell: called with the verdicts on the hypotheses as text, where the study has any; None: they stand in the
            report alone.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError: when ``study.json`` is missing or broken.
    """
    study = collect_study(output_dir)
    analyses = [analyse_task(study, task, n_resamples, seed) for task in study.tasks]
    folder = study.folder / "tables"
    folder.mkdir(exist_ok=True)
    sections = [("Hypotheses", _hypotheses(study, analyses, folder, tell))]
    for task in analyses:
        tables = _tables(study, task)
        for table in tables.values():
            _write_table(folder, table)
        if task.scored:
            _write(folder / f"{task.key}_numbers.csv", numbers_csv(study, task))
        sections.append((task_title(study, task.key), _task_section(study, task, tables)))
    sections += [("Pretraining", _pretraining(study, folder)), ("How it was made", record_section(study))]
    page = html_page(_title(study), _head(study, analyses), sections, _foot(n_resamples, seed))
    path = study.folder / "report.html"
    _write(path, page)
    logger.info("Report: %s; its tables: %s", path, folder)
    if open_in_browser and _has_display():
        webbrowser.open(path.resolve().as_uri())
    return path


def _hypotheses(
    study: CollectedStudy, analyses: Sequence[TaskAnalysis], folder: Path, tell: Callable[[str], object] | None
) -> str:
    """The verdicts as HTML, written and told too; empty for a study without hypotheses."""
    verdicts = judge_hypotheses(study, {task.key: task for task in analyses})
    table = hypothesis_table(study, verdicts)
    if table is None:
        return ""
    _write_table(folder, table)
    _write(folder / "hypotheses_numbers.csv", hypothesis_csv(verdicts))
    if tell is not None:
        tell(hypothesis_lines(table))
    return html_table(table)


def _has_display() -> bool:
    """Without one, ``webbrowser`` may start a browser in the terminal, and the run would wait for it."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _write(path: Path, text: str) -> None:
    with atomic_file(path, "w") as file:
        file.write(text)


def _write_table(folder: Path, table: ReportTable) -> None:
    _write(folder / f"{table.key}.md", table_markdown(table))
    _write(folder / f"{table.key}.csv", table_csv(table))


def _title(study: CollectedStudy) -> str:
    return str(study.plan.get("name") or study.folder.resolve().name)


def _foot(n_resamples: int, seed: int) -> str:
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    version = monai_usspeech.__version__
    return f"Written by monai_usspeech {version} on {made}; {n_resamples:,} bootstrap resamples, seed {seed}."


def _tables(study: CollectedStudy, task: TaskAnalysis) -> dict[str, ReportTable]:
    if not task.scored:
        return {}
    tables = {
        "scores": score_table(study, task),
        "differences": difference_table(study, task),
        "intervals": interval_table(study, task),
        "classes": class_table(study, task, task_classes(study.of_task(task.key))),
    }
    return {name: table for name, table in tables.items() if table is not None}


def _task_section(study: CollectedStudy, task: TaskAnalysis, tables: dict[str, ReportTable]) -> str:
    folded = "" if task.kind == "image_set" else "classes"  # of planes: long, and for a second look
    shown = [html_table(table) for name, table in tables.items() if name != folded]
    if folded in tables:
        shown.append(html_details(tables[folded].title, html_table(tables[folded])))
    return "\n".join([*shown, task_pictures(study, task)])


def _head(study: CollectedStudy, analyses: list[TaskAnalysis]) -> str:
    """What data, how much of it is done, and what is missing: before any number."""
    data = data_of(study)
    lines = []
    words = synthetic_words(study)
    if words:
        lines.append(html_box([
            "Synthetic data.",
            f"The recordings are made up ({words}); no number on this page says anything about patients.",
        ], warn=True))  # fmt: skip
    description = str(study.plan.get("description") or "")
    told = f"Data: {data}." if data else "The study does not say what its data are."
    lead = [part for part in (description, told) if part]
    lines.extend(f'<p class="lead">{line}</p>' for line in map(escape, lead))
    done = sum(cell.finished for cell in study.cells.values())
    subjects = max((task.n_subjects for task in analyses), default=0)
    n_folds = study.plan.get("n_folds") or len(study.folds)
    seconds = sum(float(cell.record.get("seconds") or 0) for cell in _all_cells(study))
    facts = {
        "Runs finished": f"{done} of {len(study.cells)}",
        "Methods": str(len(study.methods)),
        "Tasks": str(len(study.tasks)),
        "Folds": f"{len(study.folds)} of {n_folds}" if n_folds != len(study.folds) else str(n_folds),
        "Seeds": f"{len(study.seeds)} ({', '.join(map(str, study.seeds))})",
        "Test subjects": str(subjects) if subjects else "",
        "Compared with": study.title(study.reference),
        "Computing time": duration(seconds) if seconds else "",
    }
    lines.append(html_facts({name: value for name, value in facts.items() if value}))
    lines.append(_missing(study))
    return "\n".join(line for line in lines if line)


def _all_cells(study: CollectedStudy) -> Iterator:
    yield from study.cells.values()
    yield from study.pretraining.values()


def _missing(study: CollectedStudy) -> str:
    missing = study.unfinished()
    if not missing:
        return ""
    lines = [f"{cell.name}: {cell.state}{f' ({_one_line(cell.note)})' if cell.note else ''}" for cell in missing]
    n, total = len(missing), len(study.cells)
    head = f"{n} of {total} runs {'is' if n == 1 else 'are'} not finished."
    box = html_box([head, "The tables are of the runs that are, so methods may stand on different runs."], warn=True)
    return box + html_details("Which runs are missing", html_list(lines))


def _one_line(text: str, limit: int = 200) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _pretraining(study: CollectedStudy, folder: Path) -> str:
    """How the pretext tasks ended (written as a table too), curves, and sampled pairs or views of every pretrained
    method."""
    # a pretraining that other rows start from has its place where the first of them has
    order = list(dict.fromkeys(entry.get("pretrain_of") or name for name, entry in study.methods.items()))
    cells = [cell for cell in study.pretraining.values() if cell.method in order]
    cells.sort(key=lambda cell: (order.index(cell.method), cell.fold, cell.seed))
    table = pretext_table(study, cells)
    if table is not None:
        _write_table(folder, table)
    curves = html_table(table) if table is not None else ""
    curves += run_pictures(cells, study, "curves.png", "Training curves")
    pairs = run_pictures(cells, study, "pairs.png", "One batch as the network sees it")
    views = run_pictures(cells, study, "views.png", "Frames as they are read, and the views that the network sees")
    curves += html_details("Sampled pairs", pairs) if pairs else ""
    return curves + (html_details("Views", views) if views else "")
