# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The tables of a study; those of single classes are in ``class_tables``."""

from __future__ import annotations

import numpy as np

from monai_usspeech.studies.analysis import TaskAnalysis
from monai_usspeech.studies.collect import CollectedStudy
from monai_usspeech.studies.reported_metrics import ReportedMetric
from monai_usspeech.studies.seed_interval import contains
from monai_usspeech.studies.table_format import ReportCell, ReportTable, rows_csv
from monai_usspeech.studies.table_notes import (
    difference_sentences,
    few_subjects,
    kind_sentences,
    pooled_sentence,
    resampling_sentence,
    spread_sentence,
    support_sentence,
    task_title,
)

__all__ = ["difference_table", "interval_table", "numbers_csv", "score_table"]


def score_table(study: CollectedStudy, task: TaskAnalysis) -> ReportTable:
    """Mean and spread of every metric, one method a row, in the shape of the published tables."""
    rows = []
    for method, (finished, planned) in task.done.items():
        cells = [_mean_cell(task, method, metric) for metric in task.metrics]
        rows.append((ReportCell(study.title(method)), *cells, ReportCell(f"{finished} of {planned}")))
    notes = [spread_sentence(task), support_sentence(study, task), *kind_sentences(study, task)]
    if any(task.best(metric) for metric in task.metrics):
        notes.append("Bold: best mean of the column, as rounded.")
    elif not task.complete:
        notes.append("No best is marked while runs are missing.")
    if task.summaries and task.reference not in task.summaries:
        notes.append(f"No differences are shown: {study.title(task.reference)} has no finished run.")
    return ReportTable(
        task.key,
        f"{task_title(study, task.key)}: scores on test subjects",
        ("Method", *(metric.heading for metric in task.metrics), "Runs"),
        tuple(rows),
        tuple(note for note in notes if note),
    )


def interval_table(study: CollectedStudy, task: TaskAnalysis) -> ReportTable | None:
    """The pooled score of every method with its interval over test subjects; None without per-frame files."""
    metrics = [m for m in task.metrics if any(m.key in values for values in task.intervals.values())]
    if not metrics:
        return None
    rows = tuple(
        (ReportCell(study.title(method)), *(_interval_cell(task, method, metric) for metric in metrics))
        for method in task.intervals
    )
    notes = [pooled_sentence(task), resampling_sentence(task), *few_subjects(task), *task.problems]
    return ReportTable(
        f"{task.key}_intervals",
        f"{task_title(study, task.key)}: 95 % intervals over test subjects",
        ("Method", *(metric.heading for metric in metrics)),
        rows,
        tuple(note for note in notes if note),
    )


def difference_table(study: CollectedStudy, task: TaskAnalysis) -> ReportTable | None:
    """Each method against the reference; None when there is nothing to compare."""
    if not task.differences:
        return None
    rows = []
    for method, differences in task.differences.items():
        cells = [_difference_cell(task, method, metric) for metric in task.metrics]
        pairs = sorted({difference.n_pairs for difference in differences.values()})
        shown = str(pairs[0]) if len(pairs) == 1 else f"{pairs[0]}–{pairs[-1]}"
        rows.append((ReportCell(study.title(method)), *cells, ReportCell(shown)))
    reference = study.title(task.reference)
    notes = [*difference_sentences(task, reference), *few_subjects(task)]
    return ReportTable(
        f"{task.key}_differences",
        f"{task_title(study, task.key)}: difference from {reference}",
        ("Method", *(metric.heading for metric in task.metrics), "Pairs"),
        tuple(rows),
        tuple(note for note in notes if note),
    )


def numbers_csv(study: CollectedStudy, task: TaskAnalysis) -> str:
    """Every number of a task in full precision, one method and metric a row; for further work. Empty: undefined."""
    head = ("method,title,metric,better,mean,sd_folds,sd_seeds,folds,runs,pooled,pooled_low,pooled_high,difference,"
            "difference_sd,pairs,difference_low,difference_high,seed_difference,seed_low,seed_high,seeds,"
            "resolved")  # fmt: skip
    rows = []
    for method, summaries in task.summaries.items():
        for metric in task.metrics:
            key, summary = metric.key, summaries[metric.key]
            difference = task.differences.get(method, {}).get(key)
            paired = (difference.mean, difference.sd, difference.n_pairs) if difference else (None, None, None)
            seeds = task.seed_differences.get(method, {}).get(key)
            by_seed = (seeds.mean, *(seeds.interval or (None, None)), seeds.n_seeds) if seeds else (None,) * 4
            rows.append([
                method, study.title(method), key, metric.better, summary.mean, summary.sd_folds, summary.sd_seeds,
                summary.n_folds, summary.n_cells, task.pooled.get(method, {}).get(key),
                *(task.intervals.get(method, {}).get(key) or (None, None)), *paired,
                *(task.difference_intervals.get(method, {}).get(key) or (None, None)), *by_seed,
                _resolved(task, method, key),
            ])  # fmt: skip
    shown = [["" if v is None or (isinstance(v, float) and not np.isfinite(v)) else v for v in row] for row in rows]
    return rows_csv([head.split(","), *shown])


def _mean_cell(task: TaskAnalysis, method: str, metric: ReportedMetric) -> ReportCell:
    summary = task.summaries.get(method, {}).get(metric.key)
    if summary is None or not np.isfinite(summary.mean):
        return ReportCell("–")
    spread = "" if summary.sd_folds is None else f" ± {metric.show(summary.sd_folds)}"
    seeds = "" if summary.sd_seeds is None else f"seeds ± {metric.show(summary.sd_seeds)}"
    return ReportCell(metric.show(summary.mean) + spread, seeds, method in task.best(metric))


def _range(metric: ReportedMetric, interval: tuple[float, float] | None, sign: bool = False) -> str:
    return "" if interval is None else f"[{metric.show(interval[0], sign)}, {metric.show(interval[1], sign)}]"


def _interval_cell(task: TaskAnalysis, method: str, metric: ReportedMetric) -> ReportCell:
    if metric.key not in task.pooled[method]:
        return ReportCell("–")
    return ReportCell(metric.show(task.pooled[method][metric.key]), _range(metric, task.intervals[method][metric.key]))


def _difference_cell(task: TaskAnalysis, method: str, metric: ReportedMetric) -> ReportCell:
    difference = task.differences[method][metric.key]
    spread = "" if difference.sd is None else f" ± {metric.show(difference.sd)}"
    detail = [f"{what} {_range(metric, interval, sign=True)}"
              for what, interval in _difference_intervals(task, method, metric.key).items()]  # fmt: skip
    if _resolved(task, method, metric.key) == "no":
        detail.append("not resolved")
    return ReportCell(metric.show(difference.mean, sign=True) + spread, "\n".join(detail))


def _difference_intervals(task: TaskAnalysis, method: str, metric: str) -> dict[str, tuple[float, float]]:
    """The intervals of a difference from the reference that there are."""
    seeds = task.seed_differences.get(method, {}).get(metric)
    subjects = task.difference_intervals.get(method, {}).get(metric)
    both = {"seeds": seeds.interval if seeds else None, "subjects": subjects}
    return {name: interval for name, interval in both.items() if interval is not None}


def _resolved(task: TaskAnalysis, method: str, metric: str) -> str:
    """``"no"`` where an interval of the difference contains 0, ``"yes"`` where both are there and neither does; else
    empty: what one interval leaves open the other cannot decide."""
    found = _difference_intervals(task, method, metric).values()
    return "no" if any(map(contains, found)) else "yes" if len(found) == 2 else ""
