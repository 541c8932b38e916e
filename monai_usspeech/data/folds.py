# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Cross-validation folds that never split a subject, and the proof that sets of subjects do not meet."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from monai_usspeech.data.files import InputError

__all__ = ["check_disjoint", "subject_folds"]


def subject_folds(
    subjects: Sequence[Hashable], n_folds: int, seed: int, labels: Sequence[Hashable] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split items into folds so that all items of one subject fall on the same side.

    Without labels the subjects are drawn at random into folds of equally many subjects (scikit-learn's ``GroupKFold``);
    with labels, so that each fold has about the same share of each label (``StratifiedGroupKFold``). The folds depend
    on the items and the seed, not on the order of the items.

    Args:
        subjects: the subject of each item (scan, clip or image), length N.
        n_folds: how many folds, at least 2 and at most the number of subjects.
        seed: two calls with one seed give the same folds.
        labels: one class label per item, length N; None to leave labels aside.

    Returns:
        ``n_folds`` pairs (train, test) of increasing int64 index arrays into ``subjects``. The test arrays are disjoint
        and together hold every item.

    Raises:
        InputError: for fewer than two folds, fewer subjects than folds, labels of another length, or labels that all
            are rarer than the folds.
    """
    names = [str(subject) for subject in subjects]
    n_subjects = len(set(names))
    if n_folds < 2:
        raise InputError(f"n_folds is {n_folds}; give at least 2.")
    if n_subjects < n_folds:
        raise InputError(
            f"{n_folds} folds need at least {n_folds} subjects, there are {n_subjects}; lower n_folds or add subjects."
        )
    if labels is not None and len(labels) != len(names):
        raise InputError(f"{len(labels)} labels for {len(names)} subjects; give one label for each item.")
    kinds = [""] * len(names) if labels is None else [str(label) for label in labels]
    splitter = GroupKFold if labels is None else StratifiedGroupKFold
    folds = splitter(n_splits=n_folds, shuffle=True, random_state=seed).split(np.zeros(len(names)), kinds, names)
    try:
        return [(np.sort(train), np.sort(test)) for train, test in folds]
    except ValueError as error:  # every label is rarer than the folds
        raise InputError(f"{n_folds} folds do not fit the labels ({error}); lower n_folds or pass none.") from error


def check_disjoint(**subject_sets: Iterable[str]) -> None:
    """Prove that no subject is in two sets, for example that pretraining never sees a subject of the test fold.

    Args:
        subject_sets: subjects by the name of their set: ``check_disjoint(pretraining=store.subjects, test=held_out)``.

    Raises:
        InputError: when two sets share a subject; names the sets, the first shared subject and how many there are.
        TypeError: when a set is a single string, whose letters would be taken for subjects.
    """
    for name, subjects in subject_sets.items():
        if isinstance(subjects, str):
            raise TypeError(f'{name} is the string "{subjects}"; give a list of subjects.')
    named = [(name, set(map(str, subjects))) for name, subjects in subject_sets.items()]
    for position, (name, subjects) in enumerate(named):
        for other, others in named[position + 1 :]:
            shared = sorted(subjects & others)
            if shared:
                more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
                raise InputError(
                    f'subject "{shared[0]}"{more} is in both "{name}" and "{other}"; take it out of one of them.'
                )
