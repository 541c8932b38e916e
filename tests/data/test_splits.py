# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from monai_usspeech.data import splits
from monai_usspeech.data.files import InputError
from monai_usspeech.data.splits import SubjectSplit, subject_split
from monai_usspeech.data.store import ScanStore
from tests.data.store_factory import make_store


class _Subjects(ScanStore):
    """A store of which only its subjects and what is annotated are known: many of them cost nothing."""

    def __init__(self, n: int, planes: set[int] = frozenset(), gaze: set[int] = frozenset()) -> None:
        self.root = Path("store")
        self.scans = tuple(
            SimpleNamespace(subject=f"p{i:03d}", has={"planes": i in planes, "gaze": i in gaze}) for i in range(n)
        )


@pytest.fixture(autouse=True)
def annotations_of_the_fake(monkeypatch: pytest.MonkeyPatch):
    real = splits.scan_annotated
    monkeypatch.setattr(splits, "scan_annotated", lambda s, kind: s.has[kind] if hasattr(s, "has") else real(s, kind))


@pytest.mark.parametrize(("n", "n_folds", "seed"), list(product((5, 7, 12, 33), (2, 3, 5), range(6))))
def test_each_subject_is_tested_once_and_never_where_it_is_trained_on(n, n_folds, seed):
    store = _Subjects(n)
    tested = []
    for fold in range(n_folds):
        split = subject_split(store, n_folds, fold, seed)
        parts = [set(split.train), set(split.validation), set(split.test)]
        assert sum(map(len, parts)) == n and set.union(*parts) == set(store.subjects)  # disjoint and complete
        assert all(parts) and len(split.validation) == max(1, int(0.2 * (n - len(split.test)) + 0.5))
        assert n // n_folds <= len(split.test) <= -(-n // n_folds)
        tested += split.test
    assert sorted(tested) == sorted(store.subjects)


@pytest.mark.parametrize("seed", range(20))
def test_every_task_agrees_about_who_is_tested(seed):
    rng = np.random.RandomState(seed)
    planes, gaze = (set(np.flatnonzero(rng.uniform(size=30) < 0.7)) for _ in range(2))
    store = _Subjects(30, planes, gaze)
    for fold in range(3):
        everyone = subject_split(store, 3, fold, seed)
        for kind, annotated in (("planes", planes), ("gaze", gaze)):
            split = subject_split(store, 3, fold, seed, require=kind)
            names = {f"p{i:03d}" for i in annotated}
            assert set(split.test) == set(everyone.test) & names
            assert {*split.train, *split.validation} == {*everyone.train, *everyone.validation} & names
        few = subject_split(store, 3, fold, seed, n_label_subjects=4, validation_share=0.5, require="gaze")
        assert few.test == split.test


@pytest.mark.parametrize(("seed", "share"), list(product(range(8), (0.05, 0.2, 0.34, 0.5))))
def test_fewer_label_subjects_are_a_part_of_more_in_the_same_role(seed, share):
    store, before = _Subjects(30), SubjectSplit((), (), ())
    for number in range(2, 21):
        split = subject_split(store, 3, 1, seed, share, n_label_subjects=number)
        assert len(split.train) + len(split.validation) == number and split.train and split.validation
        assert set(before.train) <= set(split.train) and set(before.validation) <= set(split.validation)
        assert abs(len(split.validation) - share * number) <= max(0.5, 1 - share * number) + 1e-9
        before = split
    assert split == subject_split(store, 3, 1, seed, share)  # all 20 are the whole training side


def test_the_seed_and_the_fold_move_the_split_and_nothing_else_does():
    store = _Subjects(12)
    assert subject_split(store, seed=3) == subject_split(store, seed=3)
    assert len({subject_split(store, seed=seed).test for seed in range(8)}) > 4
    assert len({subject_split(store, seed=seed).validation for seed in range(8)}) > 2
    reordered = _Subjects(12)
    reordered.scans = reordered.scans[::-1]
    assert subject_split(reordered, seed=3) == subject_split(store, seed=3)


def test_annotations_are_looked_up_in_the_store(tmp_path: Path):
    time = np.arange(0, 2, 0.1)
    lost, seen = np.full(20, np.nan), np.full(20, 40.0)
    root = make_store(
        tmp_path / "store", n_scans=8, seconds=2.0, size=16, speech=False,
        planes=lambda i: [[0.0, 1.0, "lips"]] if i % 2 == 0 else [],
        gaze=lambda i: None if i < 2 else (time, *(lost, lost)) if i < 4 else (time, *(seen, seen)),
    )  # fmt: skip
    for kind, expected in ((None, range(8)), ("planes", range(0, 8, 2)), ("gaze", range(4, 8))):
        split = None
        for seed in range(50):  # until no part is without such a subject
            try:
                split = subject_split(root, 2, 0, seed, require=kind)
                break
            except InputError:
                continue
        assert split is not None
        assert {*split.train, *split.validation, *split.test} == {f"p{i:03d}" for i in expected}
    assert "gaze" not in ScanStore(root).scans[5].__dict__


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_label_subjects": 1}, "n_label_subjects is 1; give at least 2"),
        ({"n_label_subjects": 9}, "8 subjects are left to train on, of 9 needed; ask for at most 8"),
        ({"fold": 3}, "fold is 3; with n_folds 3 give 0 to 2"),
        ({"fold": -1}, "fold is -1"),
        ({"n_folds": 1}, "n_folds is 1; give at least 2"),
        ({"n_folds": 13}, "lower n_folds"),
        ({"validation_share": 0.0}, "validation_share is 0.0"),
        ({"validation_share": 0.6}, "up to 0.5"),
        ({"require": "plane"}, 'Did you mean "planes"?'),
        ({"require": "planes"}, "has 0 such subjects in all"),
        ({"require": "gaze"}, "no subject with gaze with a fix is in the test fold; choose another seed"),
    ],
)
def test_a_division_that_cannot_be_made_says_what_to_change(arguments, said):
    test = {int(name[1:]) for name in subject_split(_Subjects(12)).test}
    with pytest.raises(InputError) as error:
        subject_split(_Subjects(12, gaze=set(range(12)) - test), **arguments)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_training_side_without_annotations_is_an_error():
    test = {int(name[1:]) for name in subject_split(_Subjects(12)).test}
    with pytest.raises(InputError, match="0 subjects with plane labels are left to train on, of 2 needed"):
        subject_split(_Subjects(12, planes=test), require="planes")


def test_a_split_with_a_shared_subject_is_refused_by_name():
    with pytest.raises(InputError, match='subject "p1" is in both "train" and "test"'):
        SubjectSplit(("p0", "p1"), ("p2",), ("p1",))
