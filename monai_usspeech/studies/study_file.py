# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""``study.json``: what a study folder was made with, so that it can be reported, and gone on with, but not mixed up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import InputError, changed_values, read_json, write_json
from monai_usspeech.engines.configuration import software_versions
from monai_usspeech.studies.hypotheses import changed_hypotheses
from monai_usspeech.studies.lock import folder_lock
from monai_usspeech.studies.settings import PRETRAIN_STAGE, StudySettings

__all__ = ["STUDY_FORMAT", "check_study_folder", "write_study"]

STUDY_FORMAT = 1
_GROWING = ("folds", "seeds")
_UNCHANGING = ("n_folds", "split_seed")
_OF_THE_CALL = ("cells", "workers", "devices", "folders", "output_dir")  # they change nothing in a result


def check_study_folder(study: StudySettings, data: Mapping[str, Any]) -> dict[str, Any]:
    """Check that a study may go on in its folder.

    Args:
        study: the settings.
        data: what the :class:`~monai_usspeech.studies.study_data.StudyData` of the study says of itself; of data that
            are for pretraining alone, the same under ``pretraining``, and of those of one method under
            ``pretraining_of``, by its name.

    Returns:
        The folder's ``study.json`` as it is, or an empty dictionary.

    Raises:
        InputError: when the folder holds a study of other data or of other folds, or has results and other hypotheses:
            those are written down before anything is known, or they are none.
    """
    path = Path(study.output_dir) / "study.json"
    if not path.is_file():
        return {}
    old = read_json(path)
    if not isinstance(old, dict) or old.get("format") != STUDY_FORMAT:
        raise InputError(f"{path}: not the record of a study that this version reads; choose another output_dir.")
    changed = changed_values(old, vars(study), _UNCHANGING)
    before = old.get("data", {})
    own, own_now = (part.get("pretraining_of") or {} for part in (before, data))
    for what, was, now in (
        ("images" if "images" in data else "scans", before, data),
        ("data of the pretraining", before.get("pretraining") or {}, data.get("pretraining") or {}),
        *((f"data of the pretraining of {name}", own[name], own_now[name]) for name in own if name in own_now),
    ):
        if was.get("sha256") != now.get("sha256"):
            changed.append(f"the {what} were others ({was.get('store')}, now {now.get('store')})")
    if changed:
        raise InputError(f"{path}: a study of other folds or data: {'; '.join(changed)}. Choose another output_dir.")
    changed = changed_hypotheses(old.get("hypotheses") or {}, _plain_hypotheses(study))
    if changed and _has_results(path.parent):
        raise InputError(
            f"{path}: the hypotheses were written down before the first result, and are others now:"
            f" {'; '.join(changed)}. Choose another output_dir for others, or go back."
        )
    return old


def _own_data(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The data of methods that have their own, those of earlier calls among them."""
    own = {**(old.get("pretraining_of") or {}), **(new.get("pretraining_of") or {})}
    return {"pretraining_of": own} if own else {}


def _plain_hypotheses(study: StudySettings) -> dict[str, Any]:
    return {name: dataclasses.asdict(hypothesis) for name, hypothesis in study.hypotheses.items()}


def _has_results(folder: Path) -> bool:
    """Whether a cell of any task has finished, or come far enough to have left results."""
    found = (path.relative_to(folder).parts[0] for path in folder.glob("*/*/fold*-seed*/results.json"))
    return any(stage != PRETRAIN_STAGE for stage in found)


def write_study(
    study: StudySettings, data: Mapping[str, Any], held_out: Mapping[int, Sequence[str]], subjects: Sequence[str]
) -> Path:
    """Write ``study.json``; methods, tasks, folds and seeds of earlier calls stay in it.

    Args:
        study: the settings.
        data: see :func:`check_study_folder`.
        held_out: the test subjects of each fold.
        subjects: everyone in the data that pretraining learns from.

    Returns:
        The file.

    Raises:
        InputError: as :func:`check_study_folder`.
    """
    folder = Path(study.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with folder_lock(folder / "study.lock"):  # the parts of a job array start at the same moment
        old = check_study_folder(study, data)
        new = {name: value for name, value in dataclasses.asdict(study).items() if name not in _OF_THE_CALL}
        for name in _GROWING:
            new[name] = sorted({*old.get(name, ()), *new[name]})
        for name in ("methods", "tasks"):  # names that are not new keep their place
            new[name] = {**old.get(name, {}), **new[name]}
        if new["hypotheses"]:
            same = old.get("hypotheses") == new["hypotheses"]
            new["registered"] = old.get("registered", now) if same else now
        if new["reference"] not in new["methods"]:
            new["reference"] = None
        splits = {
            str(fold): {"pretraining": sorted(set(subjects) - set(test)), "test": list(test)}
            for fold, test in held_out.items()
        }
        new |= {
            "format": STUDY_FORMAT,
            "data": {**data, **_own_data(old.get("data") or {}, data)},
            "splits": dict(sorted({**old.get("splits", {}), **splits}.items())),
            "versions": software_versions(),
            "created": old.get("created", now),
            "changed": now,
        }
        path = folder / "study.json"
        write_json(path, {"format": STUDY_FORMAT, **new})
    return path
