# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a study needs to know of its data: a store of scans or a list of images, which it then treats alike.

A *subject* is whatever no fold divides: the person of a scan, or the group (video or patient) of an image.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Protocol

from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_set_splits import image_set_split
from monai_usspeech.data.image_sets import ImageSetDatalist
from monai_usspeech.data.splits import subject_split
from monai_usspeech.data.store import ScanStore

__all__ = ["ImageSetStudyData", "StoreStudyData", "StudyData", "open_study_data"]


class StudyData(Protocol):
    """The data of a study."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Everyone in the data, sorted."""

    def facts(self) -> dict[str, Any]:
        """For ``study.json``: ``names``, ``store`` (the place), counts, and ``sha256``, which changes with the data."""

    def test_subjects(self, n_folds: int, fold: int, seed: int) -> tuple[str, ...]:
        """Who is tested in a fold, sorted.

        Raises:
            InputError: when the data have too few subjects, or no such fold.
        """


class StoreStudyData:
    """A store of scans.

    Args:
        path: the store's folder.

    Raises:
        InputError: when it is no store.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.store = ScanStore(path)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the scans, sorted."""
        return tuple(self.store.subjects)

    def facts(self) -> dict[str, Any]:
        """``names`` of the datalists, ``store``, ``scans``, ``subjects``, ``hours``, and a ``sha256`` over all scans'
        ``meta.json``, which changes with any scan, subject, label or setting of ``prepare``."""
        digest = hashlib.sha256()
        for scan in self.store:
            digest.update((scan.path / "meta.json").read_bytes())
        return {
            "names": list(self.store.names),
            "store": str(self.store.root.resolve()),
            "scans": len(self.store),
            "subjects": len(self.store.subjects),
            "hours": round(sum(scan.duration for scan in self.store) / 3600, 4),
            "sha256": digest.hexdigest(),
        }

    def test_subjects(self, n_folds: int, fold: int, seed: int) -> tuple[str, ...]:
        """As :func:`~monai_usspeech.data.subject_split` draws them over all subjects."""
        return tuple(sorted(subject_split(self.store, n_folds=n_folds, fold=fold, seed=seed).test))


class ImageSetStudyData:
    """A list of images, pictures or videos.

    Args:
        path: the datalist's JSON file.

    Raises:
        InputError: when the list cannot be used.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path).resolve()
        self.datalist = ImageSetDatalist.load(self.path)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The groups of the list, sorted."""
        return self.datalist.groups

    def facts(self) -> dict[str, Any]:
        """``names`` of the list, ``store`` (its file), ``images``, ``groups``, ``classes``, and a ``sha256`` over its
        entries and the sizes of the files: it changes with a label, group, time, fold or picture, not when the whole
        set is moved."""
        digest = hashlib.sha256(json.dumps([self.datalist.name, list(self.datalist.classes)]).encode())
        for entry in self.datalist:
            place = Path(os.path.relpath(entry.image, self.path.parent)).as_posix()
            words = [place, entry.image.stat().st_size, entry.label, entry.group, entry.time, entry.fold]
            digest.update(json.dumps(words).encode())
        return {
            "names": [self.datalist.name],
            "store": str(self.path),
            "images": len(self.datalist),
            "groups": len(self.datalist.groups),
            "classes": list(self.datalist.classes),
            "sha256": digest.hexdigest(),
        }

    def test_subjects(self, n_folds: int, fold: int, seed: int) -> tuple[str, ...]:
        """As :func:`~monai_usspeech.data.image_set_split` gives them: the list's own folds, or drawn ones."""
        return tuple(sorted(image_set_split(self.datalist, n_folds=n_folds, fold=fold, seed=seed).test))


def open_study_data(path: str | os.PathLike) -> StudyData:
    """The data at a path: a folder is a store of scans, a file is a list of images.

    Args:
        path: the ``dataset_dir`` of a configuration.

    Raises:
        InputError: when it is neither.
    """
    if Path(path).is_file():
        return ImageSetStudyData(path)
    if Path(path).suffix == ".json":
        raise InputError(f"{path}: no such file; give the image set's datalist, or the folder of a scan store.")
    return StoreStudyData(path)
