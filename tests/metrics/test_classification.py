# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from torch.nn.functional import one_hot

from monai_usspeech.metrics import MacroClassificationMetric, confusion_matrix_of, scores_from_confusion

LABEL = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3]
PRED = [0, 0, 1, 0, 3, 1, 1, 0, 2, 3, 3, 3, 3, 1, 3, 2]
MATRIX = [[3, 1, 0, 1], [1, 2, 0, 0], [0, 0, 1, 1], [0, 1, 1, 4]]


def drawn(n, classes, seed):
    random = np.random.RandomState(seed)
    label = random.choice(classes, n)
    return np.where(random.rand(n) < 0.6, label, random.choice(classes, n)), label


def test_golden_matrix_and_scores():
    confusion = confusion_matrix_of(PRED, LABEL, 4)
    assert confusion.tolist() == MATRIX and confusion.dtype == np.int64
    scores = scores_from_confusion(confusion)
    assert float(scores.precision) == pytest.approx(0.604167, abs=5e-7)
    assert float(scores.recall) == pytest.approx(0.608333, abs=5e-7)
    assert float(scores.f1) == pytest.approx(0.601190, abs=5e-7)
    assert float(scores.accuracy) == 0.625
    weights = scores.support / scores.support.sum()
    for values, expected in (
        (scores.per_class_precision, 0.640625),
        (scores.per_class_recall, 0.625),
        (scores.per_class_f1, 0.627976),
    ):
        assert float(values @ weights) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [range(14), [0, 3, 4, 9, 13], [5, 6]])
def test_equals_scikit_learn_over_the_classes_that_occur(seed, classes):
    pred, label = drawn(40, list(classes), seed)
    confusion = confusion_matrix_of(pred, label, 14)
    assert np.array_equal(confusion, confusion_matrix(label, pred, labels=range(14)))
    scores = scores_from_confusion(confusion)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a class that is never true or never predicted is no reason to warn
        scores_from_confusion(confusion)
    macro = precision_recall_fscore_support(label, pred, average="macro", zero_division=0)[:3]
    assert [float(x) for x in (scores.precision, scores.recall, scores.f1)] == pytest.approx(macro, abs=1e-14)
    assert float(scores.accuracy) == pytest.approx(accuracy_score(label, pred), abs=1e-14)
    occur = np.union1d(pred, label)
    assert np.flatnonzero(scores.present).tolist() == occur.tolist()
    rows = precision_recall_fscore_support(label, pred, labels=occur, zero_division=0)
    per_class = (scores.per_class_precision, scores.per_class_recall, scores.per_class_f1)
    for ours, theirs in zip(per_class, rows):
        np.testing.assert_allclose(ours[occur], theirs, rtol=0, atol=1e-14)
        assert np.isnan(np.delete(ours, occur)).all()
    assert scores.support.tolist() == np.bincount(label, minlength=14).tolist()
    one_against_rest = [accuracy_score(label == number, pred == number) for number in occur]
    np.testing.assert_allclose(scores.per_class_accuracy[occur], one_against_rest, rtol=0, atol=1e-14)
    assert np.isnan(np.delete(scores.per_class_accuracy, occur)).all()


def test_never_true_and_never_predicted_count_as_zero_and_absent_not_at_all():
    # class 0 right, class 1 never predicted, class 2 never true, class 3 absent
    scores = scores_from_confusion(confusion_matrix_of([0, 0, 2], [0, 0, 1], 4))
    np.testing.assert_array_equal(scores.per_class_precision, [1, 0, 0, np.nan])
    np.testing.assert_array_equal(scores.per_class_recall, [1, 0, 0, np.nan])
    np.testing.assert_allclose(scores.per_class_accuracy, [1, 2 / 3, 2 / 3, np.nan])
    np.testing.assert_array_equal(scores.present, [True, True, True, False])
    assert float(scores.f1) == pytest.approx(1 / 3)


def test_many_matrices_at_once():
    matrices = np.stack([confusion_matrix_of(*drawn(30, range(5), seed), 6) for seed in range(6)])
    matrices[4] = 0
    together = scores_from_confusion(matrices.reshape(2, 3, 6, 6))
    assert together.f1.shape == (2, 3) and together.per_class_f1.shape == together.support.shape == (2, 3, 6)
    for i, matrix in enumerate(matrices):
        alone = scores_from_confusion(matrix)
        for name in ("precision", "recall", "f1", "accuracy"):
            np.testing.assert_array_equal(getattr(together, name)[i // 3, i % 3], getattr(alone, name))
        np.testing.assert_array_equal(together.per_class_accuracy[i // 3, i % 3], alone.per_class_accuracy)
    assert np.isnan(together.f1[1, 1]) and np.isnan(together.accuracy[1, 1])


def test_the_mean_f1_is_not_the_f1_of_the_means():
    scores = scores_from_confusion(MATRIX)
    harmonic = 2 * scores.precision * scores.recall / (scores.precision + scores.recall)
    assert float(scores.f1) < float(harmonic) - 0.004


@pytest.mark.parametrize(
    ("pred", "label", "words"),
    [
        ([0, 1], [0], r"pred \(2,\) and label \(1,\)"),
        ([0, 4], [0, 1], "pred must be within 0 and 3, got 0 to 4"),
        ([0, 1], [-1, 1], "label must be within 0 and 3, got -1 to 1"),
        ([0.0, 1.0], [0, 1], "pred must hold integers, got float64"),
    ],
)
def test_confusion_refuses_what_is_no_class(pred, label, words):
    with pytest.raises(ValueError, match=words):
        confusion_matrix_of(pred, label, 4)


@pytest.mark.parametrize("bad", [np.ones((3, 4)), np.ones(3), np.array([[1, -1], [0, 2]]), np.full((2, 2), np.nan)])
def test_scores_refuse_what_is_no_confusion_matrix(bad):
    with pytest.raises(ValueError, match="confusion"):
        scores_from_confusion(bad)


@pytest.mark.parametrize("name", ["precision", "recall", "f1", "accuracy"])
def test_metric_is_that_of_all_items_not_of_batches(name):
    logits, label = one_hot(torch.tensor(PRED), 5).float() * 3 - 1, torch.tensor(LABEL)
    expected = float(getattr(scores_from_confusion(MATRIX), name))
    metric = MacroClassificationMetric(name, num_classes=5)
    metric(logits[:6].softmax(1), label[:6])
    metric(logits[6:9], label[6:9, None])
    metric(list(logits[9:]), LABEL[9:])  # decollated: tensors and plain numbers
    assert metric.aggregate().item() == pytest.approx(expected, abs=1e-15)
    assert metric.confusion()[:4, :4].tolist() == MATRIX
    metric.reset()
    with pytest.raises(ValueError, match="no items"):
        metric.aggregate()


def test_metric_refuses_what_it_cannot_read():
    metric = MacroClassificationMetric(num_classes=4)
    with pytest.raises(ValueError, match=r"scores \(2, 3\) and label \(2,\)"):
        metric(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="label must be within 0 and 3"):
        metric(torch.zeros(2, 4), torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="NaN"):
        metric(torch.full((2, 4), torch.nan), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="'F1'"):
        MacroClassificationMetric("F1")
