# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.handlers.saliency_results import SALIENCY_SCORES
from monai_usspeech.metrics import compute_retrieval_scores, confusion_matrix_of
from monai_usspeech.studies.analysis import analyse_task
from monai_usspeech.studies.collect import CollectedCell, collect_study
from monai_usspeech.studies.subject_scores import (
    CLASS_SCORES,
    cell_statistics,
    class_scores,
    confusion_scores,
    confusion_statistics,
    score_function,
)
from tests.studies.study_factory import make_study, write_gaze_cell, write_plane_cell


def cell_of(folder: Path, results: dict | None = None) -> CollectedCell:
    return CollectedCell("task", "method", 0, 0, folder, "finished", results=results or {})


def test_subjects_add_up_to_the_confusion_matrix():
    random = np.random.RandomState(0)
    label, guess = random.randint(0, 5, (2, 200))
    rows = confusion_statistics([f"s{i % 7}" for i in range(200)], label, guess, 5)
    assert rows.subjects == tuple(f"s{i}" for i in range(7))
    assert (rows.values.sum(0).reshape(5, 5) == confusion_matrix_of(guess, label, 5)).all()


def test_macro_f1_is_the_mean_over_the_classes_that_occur():
    # Class 3 is in neither: left out. Class 2 is never predicted: F1 is 0 and counts.
    label, guess = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    scores = confusion_scores(confusion_statistics(["s"] * 6, label, guess, 4).values.sum(0))
    f1 = [2 * 2 / (3 + 3), 2 * 2 / (2 + 3), 0.0]
    assert scores["f1"] == pytest.approx(sum(f1) / 3)
    by_class, support = class_scores({(0, 0): confusion_statistics(["s"] * 6, label, guess, 4)}, 4)
    by_class = by_class[:, CLASS_SCORES.index("f1")]
    assert by_class[:3] == pytest.approx(f1) and np.isnan(by_class[3]) and support.tolist() == [3, 2, 1, 0]


def test_the_scores_of_a_class_by_counting_folds_summed_seeds_averaged():
    random = np.random.RandomState(3)
    truth = random.randint(0, 3, (2, 50))  # of two folds
    cells, expected = {}, np.zeros((3, 4))
    for seed in range(2):
        guess = np.where(random.uniform(size=truth.shape) < 0.6, truth, random.randint(0, 3, truth.shape))
        for fold in range(2):
            cells[fold, seed] = confusion_statistics(["s"] * 50, truth[fold], guess[fold], 3)
        for number in range(3):
            pairs = [(t == number, g == number) for t, g in zip(truth.ravel(), guess.ravel())]
            tp, fp, fn = (sum(pair == kind for pair in pairs) for kind in ((1, 1), (0, 1), (1, 0)))
            scores = (tp / (tp + fp), tp / (tp + fn), (100 - fp - fn) / 100, 2 * tp / (2 * tp + fp + fn))
            expected[number] += np.array(scores) / 2
    found, support = class_scores(cells, 3)
    assert CLASS_SCORES == ("precision", "recall", "accuracy", "f1")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert support.tolist() == [(truth == number).sum() for number in range(3)]


def test_predictions_are_read_by_the_names_of_the_run(tmp_path: Path):
    classes, label, guess = ["a", "b", "c"], np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1])
    write_plane_cell(tmp_path / "fold0-seed0", ["x", "x", "y", "y"], label, guess, classes)
    rows = cell_statistics(cell_of(tmp_path / "fold0-seed0", {"details": {"classes": classes}}), "standard_plane")
    assert rows is not None and rows.subjects == ("x", "y")
    assert (rows.values.reshape(2, 3, 3) == [[[1, 0, 0], [0, 0, 1], [0, 0, 0]], [[0] * 3, [0] * 3, [0, 1, 1]]]).all()


def test_means_over_all_subjects_are_the_metrics_of_the_run(tmp_path: Path):
    random = np.random.RandomState(0)
    scores = {name: random.standard_normal(30) for name in SALIENCY_SCORES}
    scores["kl"][:4] = np.nan
    scores["shuffled_auc"][:] = np.nan
    write_gaze_cell(tmp_path / "fold0-seed0", [f"s{i % 4}" for i in range(30)], scores)
    rows = cell_statistics(cell_of(tmp_path / "fold0-seed0"), "gaze_saliency")
    score = score_function("gaze_saliency")
    assert rows is not None and score is not None
    pooled = score(rows.values.sum(0))
    for name in SALIENCY_SCORES:
        expected = np.nanmean(scores[name]) if name != "shuffled_auc" else np.nan
        assert pooled[name] == pytest.approx(expected, nan_ok=True)


def test_retrieval_hits_are_those_of_the_metric(tmp_path: Path):
    random = np.random.RandomState(0)
    video = random.standard_normal((24, 6)).astype(np.float32)
    speech = video + random.standard_normal((24, 6)).astype(np.float32)
    np.savez(tmp_path / "embeddings.npz", video=video, speech=speech, subject=np.repeat(["a", "b"], 12))
    rows = cell_statistics(cell_of(tmp_path), "retrieval")
    score = score_function("retrieval")
    assert rows is not None and score is not None
    expected = compute_retrieval_scores(torch.from_numpy(video), torch.from_numpy(speech))
    for name, value in score(rows.values.sum(0)).items():
        assert float(value) == pytest.approx(expected[name])
    np.savez(tmp_path / "embeddings.npz", video=video, subject=np.repeat(["a", "b"], 12))
    assert cell_statistics(cell_of(tmp_path), "retrieval") is None


def test_what_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "predictions.csv").write_text("subject,label\ns,femur\n")
    with pytest.raises(InputError, match="predicted"):
        cell_statistics(cell_of(tmp_path), "standard_plane")
    (tmp_path / "predictions.csv").write_text("subject,label,predicted\ns,femur,nose\n")
    with pytest.raises(InputError, match='"nose"'):
        cell_statistics(cell_of(tmp_path), "standard_plane")
    assert cell_statistics(cell_of(tmp_path), "gaze_saliency") is None
    assert cell_statistics(cell_of(tmp_path), "another") is None


def test_differences_use_the_cells_that_both_methods_have(tmp_path: Path):
    study = make_study(tmp_path, subjects_per_fold=3, pictures=False, reference="video")
    (study / "standard_plane" / "ours" / "fold1-seed1" / "cell.json").unlink()
    (study / "standard_plane" / "video" / "fold0-seed0" / "cell.json").unlink()
    task = analyse_task(collect_study(study), "standard_plane", n_resamples=50)
    assert task.reference == "video" and set(task.differences) == {"random", "ours"}
    assert task.differences["ours"]["f1"].n_pairs == 4 and task.differences["random"]["f1"].n_pairs == 5
    values = {m: task.values[m]["f1"] for m in ("ours", "video")}
    by_hand = [values["ours"][f, s] - values["video"][f, s] for f, s in ((0, 1), (1, 0), (2, 0), (2, 1))]
    assert task.differences["ours"]["f1"].mean == pytest.approx(np.mean(by_hand))
    low, high = task.difference_intervals["ours"]["f1"]
    assert low < np.mean(by_hand) < high
    assert task.best(task.metrics[0]) == set() and not task.complete


def test_a_broken_file_costs_the_interval_of_its_cell_alone(tmp_path: Path):
    study = make_study(tmp_path, subjects_per_fold=2, pictures=False)
    (study / "standard_plane" / "ours" / "fold1-seed1" / "predictions.csv").write_text("subject\na\n")
    task = analyse_task(collect_study(study), "standard_plane", n_resamples=20)
    assert task.summaries["ours"]["f1"].n_cells == 6 and len(task.statistics["ours"]) == 5
    assert len(task.problems) == 1 and "standard_plane/ours/fold1-seed1" in task.problems[0]


def test_a_task_without_the_reference_is_compared_with_its_first_method(tmp_path: Path):
    task = analyse_task(collect_study(make_study(tmp_path, 2, pictures=False)), "retrieval", n_resamples=20)
    assert task.reference == "video" and set(task.differences) == {"ours"}
