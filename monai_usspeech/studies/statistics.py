# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How sure a study is of its numbers: spread over folds and seeds, paired differences, intervals over subjects.

Three questions are kept apart, because they have different answers:

* How much does a number change with the fold? The standard deviation over folds of the mean over seeds, as the
  published tables print it. Folds share their training subjects, so it is no standard error.
* How much does it change when nothing but the seed does? The standard deviation over seeds within a fold.
* How much would it change with other test subjects? Frames of a subject resemble one another, so subjects, not frames,
  are drawn with replacement (cluster bootstrap: Davison & Hinkley, Bootstrap Methods and their Application, 1997, 3.8;
  percentile intervals: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, 13.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "FoldSummary",
    "PairedDifference",
    "ScoreFunction",
    "SubjectBootstrap",
    "SubjectStatistics",
    "paired_difference",
    "percentile_interval",
    "summarise_folds",
]

ScoreFunction = Callable[[np.ndarray], dict[str, np.ndarray]]
"""From summed statistics ``[..., K]`` to named scores ``[...]``."""


@dataclass(frozen=True)
class FoldSummary:
    """One number of one method over the cells of a task.

    Attributes:
        mean: mean over folds of the mean over seeds; NaN without any value.
        sd_folds: standard deviation (n - 1) of the folds' means over seeds; None with fewer than two folds.
        sd_seeds: standard deviation of the seeds of one fold, pooled over folds; None where no fold has two seeds.
        n_folds: folds with at least one value.
        n_cells: cells with a value.
    """

    mean: float
    sd_folds: float | None
    sd_seeds: float | None
    n_folds: int
    n_cells: int


def summarise_folds(values: np.ndarray) -> FoldSummary:
    """Mean and spread of one number.

    The spread over seeds is ``sqrt(sum_f sum_s (x_fs - mean_f)^2 / sum_f (n_f - 1))``.

    Args:
        values: ``[folds, seeds]``; NaN where a cell has no value.

    Raises:
        ValueError: when ``values`` is not two-dimensional.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"values must be [folds, seeds], got shape {values.shape}.")
    folds = [row[np.isfinite(row)] for row in values]
    folds = [row for row in folds if len(row)]
    means = np.array([row.mean() for row in folds])
    freedom = sum(len(row) - 1 for row in folds)
    squares = sum(float(((row - row.mean()) ** 2).sum()) for row in folds)
    return FoldSummary(
        mean=float(means.mean()) if len(means) else float("nan"),
        sd_folds=float(means.std(ddof=1)) if len(means) > 1 else None,
        sd_seeds=float(np.sqrt(squares / freedom)) if freedom else None,
        n_folds=len(folds),
        n_cells=sum(len(row) for row in folds),
    )


@dataclass(frozen=True)
class PairedDifference:
    """Differences between two methods over the cells that both have.

    Attributes:
        mean: mean difference over (fold, seed) pairs; NaN without a pair.
        sd: standard deviation (n - 1) over the pairs; None with fewer than two.
        n_pairs: pairs of cells.
    """

    mean: float
    sd: float | None
    n_pairs: int


def paired_difference(values: np.ndarray, reference: np.ndarray) -> PairedDifference:
    """``values - reference`` over the (fold, seed) cells in which both are defined.

    Args:
        values: ``[folds, seeds]`` of a method; NaN where a cell has no value.
        reference: the same of the method compared with.

    Raises:
        ValueError: when the two have different shapes.
    """
    values, reference = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if values.shape != reference.shape:
        raise ValueError(f"values and reference must have one shape, got {values.shape} and {reference.shape}.")
    difference = values - reference
    difference = difference[np.isfinite(difference)]
    return PairedDifference(
        mean=float(difference.mean()) if len(difference) else float("nan"),
        sd=float(difference.std(ddof=1)) if len(difference) > 1 else None,
        n_pairs=len(difference),
    )


@dataclass(frozen=True, eq=False)
class SubjectStatistics:
    """What a cell's scores are made of, one row a test subject, such that rows can be added up.

    Attributes:
        subjects: the subjects' names.
        values: float64 ``[S, K]``: for planes the flattened confusion matrix, for means sums and counts.
    """

    subjects: tuple[str, ...]
    values: np.ndarray


class SubjectBootstrap:
    """Resample test subjects, the same draws for every method of a task.

    In each resample every fold draws as many of its test subjects, with replacement, as it has. The statistics of the
    drawn subjects are summed over all folds, scored, and the scores of the seeds averaged.

    Args:
        subjects: fold to the names of its test subjects.
        n_resamples: R.
        seed: of the draws.
    """

    def __init__(self, subjects: Mapping[int, Sequence[str]], n_resamples: int = 2000, seed: int = 0) -> None:
        random = np.random.RandomState(seed)
        self.subjects = {fold: tuple(names) for fold, names in sorted(subjects.items()) if len(names)}
        self.n_resamples = n_resamples
        self.weights = {
            fold: random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)
            for fold, names in self.subjects.items()
        }
        """How often each subject is drawn: fold to int ``[R, S]``."""

    @property
    def n_subjects(self) -> int:
        """Test subjects over all folds."""
        return sum(map(len, self.subjects.values()))

    def resample(
        self, cells: Mapping[tuple[int, int], SubjectStatistics], score: ScoreFunction
    ) -> dict[str, np.ndarray]:
        """Scores of every resample: name to float64 ``[R]``.

        Args:
            cells: (fold, seed) to statistics; a subject that a cell lacks counts as zeros.
            score: what turns sums into scores.
        """
        return self._scores(cells, score, self.weights)

    def pooled(self, cells: Mapping[tuple[int, int], SubjectStatistics], score: ScoreFunction) -> dict[str, float]:
        """Scores of the subjects as they are, every one once: what :meth:`resample` scatters around."""
        once = {fold: np.ones((1, len(names))) for fold, names in self.subjects.items()}
        return {name: float(values[0]) for name, values in self._scores(cells, score, once).items()}

    def _scores(
        self,
        cells: Mapping[tuple[int, int], SubjectStatistics],
        score: ScoreFunction,
        weights: Mapping[int, np.ndarray],
    ) -> dict[str, np.ndarray]:
        by_seed = []
        for seed in sorted({seed for _, seed in cells}):
            folds = {fold: statistics for (fold, s), statistics in cells.items() if s == seed}
            total = sum(weights[fold] @ self._aligned(fold, statistics) for fold, statistics in folds.items())
            by_seed.append(score(np.asarray(total)))
        return {name: np.mean([scores[name] for scores in by_seed], axis=0) for name in by_seed[0]} if by_seed else {}

    def _aligned(self, fold: int, statistics: SubjectStatistics) -> np.ndarray:
        """The rows of a cell in the order of the fold's subjects, zeros for those it lacks."""
        place = {name: row for row, name in enumerate(self.subjects[fold])}
        values = np.zeros((len(place), statistics.values.shape[1]))
        values[[place[name] for name in statistics.subjects]] = statistics.values
        return values


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """The middle ``level`` of resampled scores.

    Args:
        values: ``[R]``; NaN where a resample has no score.
        level: share of the resamples inside.

    Returns:
        Lower and upper end; None when more than one resample in twenty has no score.
    """
    if len(values) == 0 or np.isfinite(values).mean() < 0.95:
        return None
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
