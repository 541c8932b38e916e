# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.folds import check_disjoint, subject_folds

SUBJECTS = [f"p{number:03d}" for number in np.random.RandomState(0).randint(0, 40, 150)]
LABELS = np.random.RandomState(1).randint(0, 4, 150)


@pytest.mark.parametrize("labels", [None, LABELS, [f"class {label}" for label in LABELS]])
@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_no_subject_is_on_both_sides_and_every_item_is_tested_once(n_folds: int, labels):
    names = np.array(SUBJECTS)
    folds = subject_folds(SUBJECTS, n_folds, seed=3, labels=labels)
    assert len(folds) == n_folds
    for train, test in folds:
        assert not set(names[train]) & set(names[test])
        assert len(test) > 0
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(names)))
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(len(names)))


def test_without_labels_folds_have_equally_many_subjects():
    folds = subject_folds([f"s{number}" for number in range(135)], 3, seed=0)
    assert [len(test) for _, test in folds] == [45, 45, 45]


def test_with_labels_each_fold_has_about_the_share_of_each_label():
    # 30 subjects of 3 items; the last 6 subjects carry a rare label, which a plain draw often misses
    subjects = [f"s{item // 3:02d}" for item in range(90)]
    labels = [int(item // 3 >= 24) for item in range(90)]
    for seed in range(10):
        counts = [Counter(labels[item] for item in test) for _, test in subject_folds(subjects, 3, seed, labels)]
        assert [count[1] for count in counts] == [6, 6, 6]
        assert [count[0] for count in counts] == [24, 24, 24]


@pytest.mark.parametrize("labels", [None, LABELS])
def test_folds_come_from_the_seed_and_not_from_the_order_of_items(labels):
    def tested(subjects, labels, seed):
        return [{subjects[item] for item in test} for _, test in subject_folds(subjects, 3, seed, labels)]

    order = np.random.RandomState(2).permutation(len(SUBJECTS))
    shuffled = [SUBJECTS[item] for item in order]
    first = tested(SUBJECTS, labels, seed=5)
    assert tested(SUBJECTS, labels, seed=5) == first
    assert tested(shuffled, None if labels is None else labels[order], seed=5) == first
    assert tested(SUBJECTS, labels, seed=6) != first


def test_subjects_may_be_numbers():
    folds = subject_folds(np.array([7, 7, 8, 9]), 3, seed=0)
    assert sorted(test.tolist() for _, test in folds) == [[0, 1], [2], [3]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_subjects", [3, 4, 7])
def test_no_fold_is_empty_however_few_the_subjects(n_subjects: int, seed: int):
    subjects = [f"s{number}" for number in range(n_subjects) for _ in range(number + 1)]
    labels = np.random.RandomState(seed).randint(0, 2, len(subjects))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn: a label rarer than the folds
        assert all(len(test) for _, test in subject_folds(subjects, 3, seed, labels))


@pytest.mark.parametrize(
    "subjects, n_folds, labels, message",
    [
        (["a", "a", "b"], 3, None, "3 folds need at least 3 subjects, there are 2; lower n_folds or add subjects"),
        ([], 2, None, "there are 0"),
        (["a", "b"], 1, None, "n_folds is 1; give at least 2"),
        (["a", "b", "c"], 2, [0, 1], "2 labels for 3 subjects"),
        (["a", "b", "c"], 2, ["x", "y", "z"], "2 folds do not fit the labels"),
    ],
)
def test_folds_that_cannot_be_made_are_explained(subjects, n_folds, labels, message):
    with pytest.raises(InputError, match=message):
        subject_folds(subjects, n_folds, seed=0, labels=labels)


def test_check_disjoint_names_the_subject_and_the_two_sets():
    check_disjoint(pretraining=["a", "b"], validation=("c",), test={"d", "e"})
    check_disjoint(pretraining=["a", "a"], test=[])
    with pytest.raises(InputError, match='subject "b" is in both "pretraining" and "test"'):
        check_disjoint(pretraining=["a", "b"], validation=["c"], test=["d", "b"])
    with pytest.raises(InputError, match='subject "b" and 2 more is in both "train" and "test"'):
        check_disjoint(train=["d", "c", "b"], test=["b", "c", "d", "e"])


def test_check_disjoint_refuses_a_string_for_a_list():
    with pytest.raises(TypeError, match='test is the string "p001"'):
        check_disjoint(train=["p002"], test="p001")


def test_every_fold_passes_the_disjointness_check():
    for train, test in subject_folds(SUBJECTS, 5, seed=1):
        check_disjoint(train=[SUBJECTS[item] for item in train], test=[SUBJECTS[item] for item in test])
