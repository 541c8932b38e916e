# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Who is trained on, who chooses the weights, and who is tested: one division of a store's subjects for every task.

::

    all subjects    [ test: one fold |              training side, in a drawn order             ]
    require=...     [ those with it  |  those with it                                           ]
    n_label_subjects                 [  the first n of them  ]
    by their place                   [ t v t t t t v t t ... ]   t: train, v: validation

The folds are drawn over **all** subjects, before any look at annotations, so that plane detection, gaze saliency and
pretraining agree on who is tested. The best weights are chosen on the validation subjects, which come out of the
training side.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.folds import check_disjoint, subject_folds
from monai_usspeech.data.store import ScanStore, StoredScan

__all__ = ["SubjectSplit", "scan_annotated", "subject_split"]

ANNOTATIONS = {"planes": "plane labels", "gaze": "gaze with a fix"}


@dataclass(frozen=True)
class SubjectSplit:
    """Subjects by what they serve for, each sorted; no subject is in two of them.

    Attributes:
        train: the weights are fitted to these.
        validation: the best weights are chosen on these.
        test: the result is measured on these.

    Raises:
        InputError: when a subject is in two of them.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        check_disjoint(train=self.train, validation=self.validation, test=self.test)


def scan_annotated(scan: StoredScan, kind: str) -> bool:
    """Whether a scan has plane intervals (``kind="planes"``) or gaze with at least one fix (``"gaze"``)."""
    if kind == "planes":
        return bool(scan.planes)
    if not scan.meta["gaze"]:
        return False
    gaze = StoredScan(scan.path).gaze  # of an object of its own: the scan itself would keep the samples for ever
    return gaze is not None and bool(gaze.has_fix.any())


def subject_split(
    store: ScanStore | str | os.PathLike,
    n_folds: int = 3,
    fold: int = 0,
    seed: int = 0,
    validation_share: float = 0.2,
    n_label_subjects: int | None = None,
    require: str | None = None,
) -> SubjectSplit:
    """Divide the subjects of a store.

    The test folds depend on the subjects, ``n_folds`` and ``seed`` alone, and each subject is tested in one fold. Train
    and validation subjects keep their part when ``n_label_subjects`` grows: a smaller experiment is part of a larger.

    Args:
        store: a :class:`~monai_usspeech.data.ScanStore` or its folder.
        n_folds: folds of the cross-validation, at least 2.
        fold: which of them is tested, from 0.
        seed: of the folds and of the order on the training side.
        validation_share: share of the subjects on the training side that choose the weights, in (0, 0.5]; at least one.
        n_label_subjects: use so many subjects of the training side, train and validation together; None: all.
        require: keep only subjects with such annotations, ``"planes"`` or ``"gaze"``; None: all.

    Returns:
        The split.

    Raises:
        InputError: on a number out of its range, an unknown ``require``, no annotated subject in the test fold, or
            fewer than two (or than ``n_label_subjects``) on the training side.
    """
    store = store if isinstance(store, ScanStore) else ScanStore(store)
    _check(n_folds, fold, validation_share, n_label_subjects, require)
    subjects = store.subjects
    train, test = subject_folds(subjects, n_folds, seed)[fold]
    order = np.random.RandomState(np.random.Philox(np.random.SeedSequence((seed, n_folds, fold)))).permutation(train)
    annotated = {scan.subject for scan in store if require is None or scan_annotated(scan, require)}
    tested = [subjects[i] for i in test if subjects[i] in annotated]
    trained = [subjects[i] for i in order if subjects[i] in annotated]
    where = f"{store.root}, fold {fold} of {n_folds} with seed {seed}"
    what = "" if require is None else f" with {ANNOTATIONS[require]}"
    if not tested:
        raise InputError(f"{where}: no subject{what} is in the test fold; {_other_folds(len(annotated))}.")
    wanted = 2 if n_label_subjects is None else n_label_subjects
    if len(trained) < wanted:
        mend = _other_folds(len(annotated)) if n_label_subjects is None else f"ask for at most {len(trained)}"
        raise InputError(f"{where}: {len(trained)} subjects{what} are left to train on, of {wanted} needed; {mend}.")
    return _divided(trained[:n_label_subjects], tested, validation_share)


def _divided(trained: Sequence[str], tested: Sequence[str], share: float) -> SubjectSplit:
    """Every subject's part is a matter of its place alone, so a longer list changes nobody's part."""
    parts: tuple[list[str], list[str]] = ([], [])
    for place, subject in enumerate(trained):
        parts[_n_validation(place + 1, share) > _n_validation(place, share)].append(subject)
    return SubjectSplit(tuple(sorted(parts[0])), tuple(sorted(parts[1])), tuple(sorted(tested)))


def _n_validation(n_subjects: int, share: float) -> int:
    """Validation subjects among the first so many: at least one of two; grows by at most one."""
    return 0 if n_subjects < 2 else max(1, math.floor(share * n_subjects + 0.5))


def _other_folds(n_annotated: int) -> str:
    if n_annotated < 3:
        return f"the store has {n_annotated} such subjects in all and needs 3 or more: annotate and prepare more"
    return "choose another seed or another n_folds, or annotate more subjects"


def _check(n_folds: int, fold: int, validation_share: float, n_label_subjects: int | None, require: str | None) -> None:
    if not 0 <= fold < max(n_folds, 1):
        raise InputError(f"fold is {fold}; with n_folds {n_folds} give 0 to {n_folds - 1}.")
    if not 0 < validation_share <= 0.5:
        raise InputError(f"validation_share is {validation_share}; give a share above 0 and up to 0.5.")
    if n_label_subjects is not None and n_label_subjects < 2:
        raise InputError(
            f"n_label_subjects is {n_label_subjects}; give at least 2: one subject to learn from and one to choose the"
            " weights on."
        )
    if require is not None and require not in ANNOTATIONS:
        raise InputError(f'require is "{require}"; give "planes" or "gaze".{nearest_name(require, ANNOTATIONS)}')
