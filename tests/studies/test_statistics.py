# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics as python_statistics

import numpy as np
import pytest
from sklearn.metrics import f1_score

from monai_usspeech.studies.statistics import (
    SubjectBootstrap,
    SubjectStatistics,
    paired_difference,
    percentile_interval,
    summarise_folds,
)
from monai_usspeech.studies.subject_scores import confusion_scores, confusion_statistics, mean_scores, mean_statistics

NAN = float("nan")


def test_seeds_are_averaged_before_folds_are_compared():
    summary = summarise_folds(np.array([[1.0, 3.0], [4.0, 8.0], [9.0, 9.0]]))
    assert summary.mean == pytest.approx((2 + 6 + 9) / 3)
    assert summary.sd_folds == pytest.approx(python_statistics.stdev([2, 6, 9]))  # n - 1
    # By hand: squares within folds 2, 8 and 0, one degree of freedom each.
    assert summary.sd_seeds == pytest.approx(math.sqrt((2 + 8 + 0) / 3))
    assert (summary.n_folds, summary.n_cells) == (3, 6)


def test_missing_cells_do_not_count():
    summary = summarise_folds(np.array([[1.0, NAN], [4.0, 8.0], [NAN, NAN]]))
    assert summary.mean == pytest.approx((1 + 6) / 2)
    assert summary.sd_folds == pytest.approx(python_statistics.stdev([1, 6]))
    assert summary.sd_seeds == pytest.approx(math.sqrt(8))
    assert (summary.n_folds, summary.n_cells) == (2, 3)


def test_one_value_has_no_spread():
    for values in ([[0.5]], [[0.5, NAN], [NAN, NAN]]):
        summary = summarise_folds(np.array(values))
        assert (summary.mean, summary.sd_folds, summary.sd_seeds) == (0.5, None, None)
    assert paired_difference(np.array([[0.5]]), np.array([[0.2]])).sd is None
    nothing = summarise_folds(np.full((2, 2), NAN))
    assert math.isnan(nothing.mean) and nothing.sd_folds is nothing.sd_seeds is None
    with pytest.raises(ValueError, match="folds, seeds"):
        summarise_folds(np.zeros(3))


def test_differences_are_taken_cell_by_cell():
    values = np.array([[5.0, 7.0], [9.0, NAN], [4.0, 3.0]])
    reference = np.array([[4.0, 3.0], [NAN, 1.0], [2.0, 2.0]])
    difference = paired_difference(values, reference)
    assert difference.n_pairs == 4
    assert difference.mean == pytest.approx((1 + 4 + 2 + 1) / 4)
    assert difference.sd == pytest.approx(python_statistics.stdev([1, 4, 2, 1]))
    with pytest.raises(ValueError, match="shape"):
        paired_difference(values, reference.T)


def made_up_planes(random: np.random.RandomState) -> dict:
    """(fold, seed) to the (subject, label, predicted) of its frames."""
    frames = {}
    for fold in range(2):
        names = [f"f{fold}s{i}" for i in range(3 + fold)]
        subject = random.choice(names, 60)
        label = random.randint(0, 4, 60)
        for seed in range(2):
            guess = np.where(random.uniform(size=60) < 0.6, label, random.randint(0, 4, 60))
            frames[fold, seed] = (subject, label, guess)
    return frames


def test_resampled_plane_scores_are_those_of_the_drawn_frames():
    """Oracle: put the frames of the drawn subjects in a list, as often as drawn, and ask scikit-learn."""
    frames = made_up_planes(np.random.RandomState(0))
    cells = {key: confusion_statistics(s.tolist(), y, p, 4) for key, (s, y, p) in frames.items()}
    subjects = {0: ["f0s0", "f0s1", "f0s2"], 1: [f"f1s{i}" for i in range(4)]}
    bootstrap = SubjectBootstrap(subjects, n_resamples=25, seed=3)
    f1 = bootstrap.resample(cells, confusion_scores)["f1"]
    for draw in range(25):
        by_seed = []
        for seed in range(2):
            labels, guesses = [], []
            for fold, names in bootstrap.subjects.items():
                subject, label, guess = frames[fold, seed]
                for name, times in zip(names, bootstrap.weights[fold][draw]):
                    labels += times * label[subject == name].tolist()
                    guesses += times * guess[subject == name].tolist()
            by_seed.append(f1_score(labels, guesses, average="macro"))  # classes in neither are left out
        assert f1[draw] == pytest.approx(np.mean(by_seed), abs=1e-12)
    once = [f1_score(*(np.concatenate([frames[fold, seed][i] for fold in range(2)]) for i in (1, 2)), average="macro")
            for seed in range(2)]  # fmt: skip
    assert bootstrap.pooled(cells, confusion_scores)["f1"] == pytest.approx(np.mean(once), abs=1e-12)


def test_resampled_means_are_per_frame_and_leave_out_what_is_undefined():
    random = np.random.RandomState(1)
    subject = np.array(["a", "a", "b", "c", "c", "c", "d"])
    values = random.standard_normal(7)
    values[[1, 6]] = np.nan  # the only frame of d is undefined
    bootstrap = SubjectBootstrap({0: ["a", "b", "c", "d"]}, n_resamples=50, seed=0)
    cell = mean_statistics(subject.tolist(), {"kl": values})
    resampled = bootstrap.resample({(0, 0): cell}, mean_scores(["kl"]))["kl"]
    for draw in range(50):
        times = zip("abcd", bootstrap.weights[0][draw])
        drawn = np.concatenate([values[subject == name] for name, n in times for _ in range(n)])
        expected = np.nanmean(drawn) if np.isfinite(drawn).any() else np.nan
        assert resampled[draw] == pytest.approx(expected, nan_ok=True)


def test_every_fold_draws_its_own_number_of_subjects():
    bootstrap = SubjectBootstrap({0: ["a", "b"], 1: list("cdefg"), 2: []}, n_resamples=300, seed=0)
    assert {fold: weights.shape for fold, weights in bootstrap.weights.items()} == {0: (300, 2), 1: (300, 5)}
    assert all((weights.sum(axis=1) == weights.shape[1]).all() for weights in bootstrap.weights.values())
    assert bootstrap.n_subjects == 7
    again = SubjectBootstrap({0: ["a", "b"], 1: list("cdefg")}, n_resamples=300, seed=0)
    assert all((bootstrap.weights[fold] == again.weights[fold]).all() for fold in (0, 1))


def test_a_subject_that_a_cell_lacks_counts_for_nothing():
    bootstrap = SubjectBootstrap({0: ["a", "b", "c"]}, n_resamples=10)
    rows = SubjectStatistics(("c", "a"), np.array([[3.0, 1.0], [1.0, 1.0]]))
    assert bootstrap.pooled({(0, 0): rows}, mean_scores(["x"])) == {"x": 2.0}


def test_equal_methods_differ_by_nothing_in_every_resample():
    frames = made_up_planes(np.random.RandomState(5))
    cells = {key: confusion_statistics(s.tolist(), y, p, 4) for key, (s, y, p) in frames.items()}
    bootstrap = SubjectBootstrap({f: sorted(set(frames[f, 0][0])) for f in range(2)}, n_resamples=40)
    one, other = (bootstrap.resample(dict(cells), confusion_scores)["f1"] for _ in range(2))
    assert percentile_interval(one - other) == (0.0, 0.0)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Frames of a subject are alike: subjects as clusters cover the true mean, frames drawn one by one do not."""
    random, covered, too_narrow = np.random.RandomState(0), 0, 0
    for study in range(300):
        subject = np.repeat([f"s{i:02d}" for i in range(30)], 20)
        values = np.repeat(random.standard_normal(30), 20) + random.standard_normal(600)  # true mean 0
        bootstrap = SubjectBootstrap({0: sorted(set(subject))}, n_resamples=400, seed=study)
        cell = mean_statistics(subject.tolist(), {"x": values})
        low, high = percentile_interval(bootstrap.resample({(0, 0): cell}, mean_scores(["x"]))["x"])
        covered += low <= 0 <= high
        too_narrow += abs(values.mean()) <= 1.96 * values.std() / math.sqrt(600)
    assert 0.90 <= covered / 300 <= 0.98  # percentile intervals of 30 clusters: a little under 95 %
    assert too_narrow / 300 < 0.6


def test_percentiles():
    assert percentile_interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    assert percentile_interval(np.r_[np.arange(90.0), np.full(10, np.nan)]) is None
    assert percentile_interval(np.zeros(0)) is None
