# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A task of a study, analysed: every metric of every method, with its spread, interval and difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monai_usspeech.data.files import InputError
from monai_usspeech.studies.collect import CollectedCell, CollectedStudy
from monai_usspeech.studies.reported_metrics import REPORTED, ReportedMetric
from monai_usspeech.studies.seed_interval import SeedDifference, seed_difference
from monai_usspeech.studies.statistics import (
    FoldSummary,
    PairedDifference,
    SubjectBootstrap,
    SubjectStatistics,
    paired_difference,
    percentile_interval,
    summarise_folds,
)
from monai_usspeech.studies.subject_scores import cell_statistics, score_function

__all__ = ["TaskAnalysis", "analyse_task"]


@dataclass(frozen=True)
class TaskAnalysis:
    """Everything the tables of one task show.

    The mappings go from a method's key to a metric's key. A method without a finished cell is in ``done`` alone.

    Attributes:
        key: the task.
        kind: what it measures.
        metrics: in the order of the table.
        reference: the method that differences are taken from: the study's, or the task's first where that has no part.
        done: method to (finished, planned) cells.
        values: ``[folds, seeds]`` as the runs report them, NaN where a cell has none.
        summaries: mean and spread.
        pooled: the score over the test subjects of all folds together, seeds averaged.
        intervals: 95 % interval of ``pooled`` over test subjects.
        differences: paired differences from the reference.
        seed_differences: the same, seed by seed, with 95 % intervals over seeds.
        difference_intervals: 95 % interval of the difference of the pooled scores.
        statistics: method to (fold, seed) to per-subject statistics.
        bootstrap: the draws of test subjects behind each interval.
        problems: files that could not be used.
    """

    key: str
    kind: str
    metrics: tuple[ReportedMetric, ...]
    reference: str
    done: Mapping[str, tuple[int, int]]
    values: Mapping[str, Mapping[str, np.ndarray]]
    summaries: Mapping[str, Mapping[str, FoldSummary]]
    pooled: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Mapping[str, tuple[float, float] | None]]
    differences: Mapping[str, Mapping[str, PairedDifference]]
    seed_differences: Mapping[str, Mapping[str, SeedDifference]]
    difference_intervals: Mapping[str, Mapping[str, tuple[float, float] | None]]
    statistics: Mapping[str, Mapping[tuple[int, int], SubjectStatistics]]
    bootstrap: SubjectBootstrap
    problems: tuple[str, ...]

    @property
    def n_subjects(self) -> int:
        """Test subjects over all folds that intervals were drawn from."""
        return self.bootstrap.n_subjects

    @property
    def n_resamples(self) -> int:
        """Draws behind each interval."""
        return self.bootstrap.n_resamples

    @property
    def complete(self) -> bool:
        """Whether every planned cell of the task has finished."""
        return all(finished == planned for finished, planned in self.done.values())

    @property
    def scored(self) -> bool:
        """False for a task whose finished runs have pictures alone: no score of theirs is defined."""
        grids = [grid for of_metric in self.values.values() for grid in of_metric.values()]
        return not grids or any(bool(np.isfinite(grid).any()) for grid in grids)

    def best(self, metric: ReportedMetric) -> set[str]:
        """The methods with the best mean as shown; empty while cells are missing, and unless two can be compared."""
        means = {method: summary[metric.key].mean for method, summary in self.summaries.items()}
        means = {method: mean for method, mean in means.items() if np.isfinite(mean)}
        if len(means) < 2 or not self.complete:
            return set()
        best = max(means.values()) if metric.better == "up" else min(means.values())
        return {method for method, mean in means.items() if metric.show(mean) == metric.show(best)}

    def subject_difference(self, method: str, other: str) -> dict[str, tuple[float, float] | None]:
        """95 % intervals over test subjects of the pooled scores of one method minus those of another, by metric."""
        return _Intervals(self.bootstrap, self.statistics, self.kind).between(method, other)


def analyse_task(study: CollectedStudy, task: str, n_resamples: int = 2000, seed: int = 0) -> TaskAnalysis:
    """Analyse one task of a study.

    Args:
        study: the study.
        task: the task's key.
        n_resamples: bootstrap draws.
        seed: of the draws.
    """
    kind = study.task_kind(task)
    metrics = REPORTED.get(kind) or _metrics_found(study.of_task(task))
    cells = {method: study.of_task(task, method) for method in study.methods}
    cells = {method: found for method, found in cells.items() if found}
    done = {method: (sum(cell.finished for cell in found), len(found)) for method, found in cells.items()}
    values = {
        method: {metric.key: _grid(study, found, metric.key) for metric in metrics}
        for method, found in cells.items()
        if done[method][0]
    }
    statistics, problems = _statistics(cells, kind)
    bootstrap = SubjectBootstrap(_subjects(statistics), n_resamples, seed)
    reference = study.reference if study.reference in cells else next(iter(cells), study.reference)
    compared = [method for method in values if reference in values and method != reference]
    intervals = _Intervals(bootstrap, statistics, kind)
    return TaskAnalysis(
        key=task,
        kind=kind,
        metrics=metrics,
        reference=reference,
        done=done,
        values=values,
        summaries={m: {key: summarise_folds(grid) for key, grid in grids.items()} for m, grids in values.items()},
        pooled={method: intervals.pooled(method) for method in statistics},
        intervals={method: intervals.of(method) for method in statistics},
        differences={
            m: {key: paired_difference(grid, values[reference][key]) for key, grid in values[m].items()}
            for m in compared
        },
        seed_differences={
            m: {key: seed_difference(grid, values[reference][key]) for key, grid in values[m].items()} for m in compared
        },
        difference_intervals={method: intervals.between(method, reference) for method in compared},
        statistics=statistics,
        bootstrap=bootstrap,
        problems=tuple(problems),
    )


class _Intervals:
    """Bootstrap intervals of the methods of one task, from the same draws."""

    def __init__(
        self,
        bootstrap: SubjectBootstrap,
        statistics: Mapping[str, Mapping[tuple[int, int], SubjectStatistics]],
        kind: str,
    ) -> None:
        self.bootstrap, self.statistics, self.score = bootstrap, statistics, score_function(kind)

    def pooled(self, method: str) -> dict[str, float]:
        return self.bootstrap.pooled(self.statistics[method], self.score) if self.score else {}

    def of(self, method: str) -> dict[str, tuple[float, float] | None]:
        if self.score is None:
            return {}
        resampled = self.bootstrap.resample(self.statistics[method], self.score)
        return {name: percentile_interval(values) for name, values in resampled.items()}

    def between(self, method: str, reference: str) -> dict[str, tuple[float, float] | None]:
        """Of the difference, from the cells that both have."""
        common = self.statistics.get(method, {}).keys() & self.statistics.get(reference, {}).keys()
        if self.score is None or not common:
            return {}
        left, right = (
            self.bootstrap.resample({position: self.statistics[m][position] for position in common}, self.score)
            for m in (method, reference)
        )
        return {name: percentile_interval(left[name] - right[name]) for name in left}


def _grid(study: CollectedStudy, cells: list[CollectedCell], metric: str) -> np.ndarray:
    """``[folds, seeds]`` of one metric."""
    grid = np.full((len(study.folds), len(study.seeds)), np.nan)
    for cell in cells:
        grid[study.folds.index(cell.fold), study.seeds.index(cell.seed)] = cell.metric(metric)
    return grid


def _metrics_found(cells: list[CollectedCell]) -> tuple[ReportedMetric, ...]:
    """For a kind that is not known: whatever the runs measured, in their order; larger is taken to be better."""
    names = {name: None for cell in cells for name in cell.results.get("metrics", {})}
    return tuple(ReportedMetric(name, name.replace("_", " ")) for name in names)


def _statistics(
    cells: Mapping[str, list[CollectedCell]], kind: str
) -> tuple[dict[str, dict[tuple[int, int], SubjectStatistics]], list[str]]:
    """Per-subject statistics of the finished cells, and what could not be read."""
    statistics: dict[str, dict[tuple[int, int], SubjectStatistics]] = {}
    problems = []
    for method, found in cells.items():
        for cell in found:
            try:
                rows = cell_statistics(cell, kind) if cell.finished else None
            except (InputError, ValueError, KeyError, OSError) as error:
                problems.append(f"{cell.name}: no interval ({error})")
                continue
            if rows is not None and len(rows.subjects):
                statistics.setdefault(method, {})[cell.fold, cell.seed] = rows
    return statistics, problems


def _subjects(statistics: Mapping[str, Mapping[tuple[int, int], SubjectStatistics]]) -> dict[int, list[str]]:
    """The test subjects of each fold over all methods and seeds."""
    subjects: dict[int, set[str]] = {}
    for cells in statistics.values():
        for (fold, _), rows in cells.items():
            subjects.setdefault(fold, set()).update(rows.subjects)
    return {fold: sorted(names) for fold, names in subjects.items()}
