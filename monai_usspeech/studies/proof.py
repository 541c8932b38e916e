# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The folds of a study, and the proof that no cell is tested on whom it, or its pretraining, learned from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from monai.bundle import ConfigParser

from monai_usspeech.data.files import InputError
from monai_usspeech.data.folds import check_disjoint
from monai_usspeech.engines.weights import check_unseen
from monai_usspeech.studies.cells import cell_parser
from monai_usspeech.studies.plan import StudyCell
from monai_usspeech.studies.settings import PRETRAIN_STAGE, StudySettings
from monai_usspeech.studies.study_data import StudyData

__all__ = ["prove_disjoint", "prove_splits", "prove_training_sets", "study_folds"]


def study_folds(study: StudySettings, data: StudyData) -> dict[int, tuple[str, ...]]:
    """The test subjects of each fold of the study, sorted.

    Raises:
        InputError: for folds that the data have too few subjects for.
    """
    return {fold: data.test_subjects(study.n_folds, fold, study.split_seed) for fold in study.folds}


def prove_disjoint(
    cells: Sequence[StudyCell],
    subjects: Iterable[str],
    held_out: Mapping[int, Sequence[str]],
    of_methods: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Prove that no cell trains on whom it is tested on, from the values that the cells will really be given.

    Args:
        cells: the planned cells.
        subjects: everyone in the data that pretraining learns from.
        held_out: the test subjects of each fold.
        of_methods: the same of methods that have data of their own, by the method that the pretraining is of.

    Raises:
        InputError: naming the subject, when a subject is in two test folds, a pretraining does not leave out its fold's
            test subjects, or weights given as a file say of themselves that they have seen one.
    """
    check_disjoint(**{f"test subjects of fold {fold}": test for fold, test in held_out.items()})
    everyone, own = set(subjects), {name: set(names) for name, names in (of_methods or {}).items()}
    for cell in cells:
        test = held_out[cell.fold]
        if cell.stage == PRETRAIN_STAGE:
            trained = _pretrained_on(cell, own.get(cell.method, everyone))
            check_disjoint(**{f"training of {cell.name}": trained, f"test subjects of fold {cell.fold}": test})
        elif cell.needs is not None:
            trained = _pretrained_on(cell.needs, own.get(cell.needs.method, everyone))
            if cell.needs.stage != PRETRAIN_STAGE or trained & set(test):
                raise InputError(f"{cell.name}: starts from {cell.needs.name}, which leaves out other subjects.")
        if cell.needs is None and cell.values.get("initialisation") is not None:
            check_unseen(str(cell.values["initialisation"]), test)


def _pretrained_on(cell: StudyCell, everyone: set[str]) -> set[str]:
    """Whom a pretraining learns from, by the values it will be given."""
    trained = everyone - set(cell.values.get("exclude_subjects") or ())
    chosen = cell.values.get("subjects")
    return trained if chosen is None else trained & set(chosen)


def prove_splits(cells: Sequence[StudyCell], held_out: Mapping[int, Sequence[str]]) -> None:
    """Make the division of subjects that each task's configuration asks for, before any pretraining is paid for.

    Args:
        cells: the planned cells.
        held_out: the test subjects of each fold.

    Raises:
        InputError: naming the cell, when the scans do not have the annotations that the task needs, or too few subjects
            have them, or the configuration tests on others than the fold's subjects.
    """
    tested = (cell for cell in cells if cell.stage != PRETRAIN_STAGE)
    for cell, split in _made_once(tested, "split"):
        test = set(held_out[cell.fold])
        strange = sorted(set(split.test) - test)
        if strange:
            raise InputError(f"{cell.name}: its configuration tests on {strange[0]}, who is not in fold {cell.fold}.")
        learned = {*split.train, *split.validation}
        check_disjoint(**{f"training of {cell.name}": learned, f"test subjects of fold {cell.fold}": test})


# Whom a cell learns from and is tested on does not depend on these.
_OF_THE_ROW = ("method", "seed", "initialisation", "output_dir")


def prove_training_sets(cells: Sequence[StudyCell]) -> None:
    """Make the training set and the batches of every pretraining, so that none fails for want of data hours later.

    Args:
        cells: the planned cells.

    Raises:
        InputError: naming the cell, when the data that are left without the test subjects give no batch, or lack what
            the method needs, such as labels.
    """
    pretrained = (cell for cell in cells if cell.stage == PRETRAIN_STAGE)
    for _ in _made_once(pretrained, "train#batch_sampler"):
        continue  # to be made is the proof


def _made_once(cells: Iterable[StudyCell], name: str) -> Iterator[tuple[StudyCell, Any]]:
    """A component of the cells that have it, of cells that differ by their row alone once, with the first of them."""
    seen = set()
    for cell in cells:
        given = {key: value for key, value in cell.values.items() if key not in _OF_THE_ROW}
        kind = (cell.files, json.dumps(given, sort_keys=True, default=str))
        parser = cell_parser(cell)
        if kind not in seen and name in parser:
            seen.add(kind)
            yield cell, _component(cell, parser, name)


def _component(cell: StudyCell, parser: ConfigParser, name: str) -> Any:
    """A component of the cell's configuration; MONAI wraps what goes wrong in errors of its own."""
    try:
        return parser.get_parsed_content(name)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise InputError(f"{cell.name}: {cause}") from error
