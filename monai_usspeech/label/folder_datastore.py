# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How MONAI Label's store of clips is kept in line with the files of the studies folder."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from monai_usspeech.data.files import InputError, atomic_file
from monai_usspeech.label.clip_folder import CLIP_SUFFIXES, clip_files
from monai_usspeech.label.clip_labels import read_label
from monai_usspeech.label.label_files import LABEL_TAGS, LabelFiles
from monai_usspeech.label.server_folder import ServerFolder

__all__ = ["FolderDatastore", "tag_word"]

_logger = logging.getLogger(__name__)

_SETTLED_SECONDS = 2.0


def tag_word(tag: Any) -> str:
    """The word of a label's tag, which MONAI Label also gives as a member of an enumeration."""
    return str(getattr(tag, "value", tag))


class FolderDatastore(LocalDatastore):
    """What there is in a studies folder, looked at again whenever something is asked and the folder has changed.

    Files may be put there and taken away while the server runs. What is found and what is known of it is in
    ``datastore_v2.json``; without that file everything is found again.

    Args:
        studies: the folder of the clips.
        folder: of the server.

    Raises:
        InputError: when ``datastore_v2.json`` is damaged, or ``labels`` lies somewhere else.
    """

    def __init__(self, studies: str, folder: ServerFolder) -> None:
        self.root, self.folder = Path(os.path.realpath(studies)), folder
        self.label_files = LabelFiles(self.root, folder.history)
        self._seen: list[int] | None = None
        self._warned: set[str] = set()
        self._turn = threading.RLock()
        try:
            super().__init__(str(self.root), extensions=[f"*{suffix}" for suffix in CLIP_SUFFIXES], auto_reload=False)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self._datastore_config_path}: is damaged; rename it, and clips and labels are found again."
            ) from error

    def clip(self, clip: str) -> ImageLabelModel:
        """What is known of a clip.

        Raises:
            ImageNotFoundException: when there is no such clip.
        """
        found = self._datastore.objects.get(clip)
        if found is None:
            self.refresh_if_changed()
            found = self._datastore.objects.get(clip)
        if found is None:
            raise ImageNotFoundException("there is no such clip; GET /datastore/?output=all lists them.")
        return found

    def label(self, clip: str, tag: str) -> DataModel:
        """What is known of a clip's label.

        Raises:
            LabelNotFoundException: when it has none.
        """
        found: DataModel | None = self.clip(clip).labels.get(tag_word(tag))
        if found is None:
            self.refresh_if_changed()
            found = self.clip(clip).labels.get(tag_word(tag))
        if found is None:
            raise LabelNotFoundException(f"there is no {tag_word(tag)} label of {clip}.")
        return found

    def refresh(self) -> None:
        """Look at the folder; one thread at a time (batch inference saves its drafts from several)."""
        with self._turn:
            super().refresh()

    def refresh_if_changed(self) -> None:
        """Look at the folder when it may have changed."""
        if self._seen is None or self._stamps() != self._seen:
            self.refresh()

    def _stamps(self) -> list[int]:
        stamps = [self.root.stat().st_mtime_ns]
        for tag in LABEL_TAGS:
            folder = self.label_files.folder / tag
            folder.mkdir(parents=True, exist_ok=True)  # somebody may take it away while the server runs
            stamps.append(folder.stat().st_mtime_ns)
        return stamps

    def _reconcile_datastore(self) -> None:
        """Bring what is known in line with the files that are there."""
        stamps = self._stamps()
        self._init_from_datastore_file()
        before = {clip: f"{clip}{one.image.ext}" for clip, one in self._datastore.objects.items()}
        files, problems = clip_files(self.root, before)
        objects = {clip: self._known_clip(clip, name) for clip, name in files.items()}
        for tag in LABEL_TAGS:
            problems += self._find_labels(tag, objects)
        if objects != self._datastore.objects:
            self._datastore.objects = objects
            self._update_datastore_file()
        for problem in sorted(set(problems) - self._warned):
            _logger.warning("%s: %s", self.root, problem)
        self._warned = set(problems)
        # a file that came within the clock's step of the last one does not change the stamp: look again later
        settled = time.time_ns() - max(stamps) > _SETTLED_SECONDS * 1e9
        self._seen = stamps if settled else None

    def _known_clip(self, clip: str, name: str) -> ImageLabelModel:
        known, ending = self._datastore.objects.get(clip), name[len(clip) :]
        if known is not None and known.image.ext == ending:
            return ImageLabelModel(image=known.image, labels=dict(known.labels))
        return ImageLabelModel(image=DataModel(info={"ts": int(time.time()), "name": name}, ext=ending))

    def _find_labels(self, tag: str, objects: dict[str, ImageLabelModel]) -> list[str]:
        """Note the label files that are there, and forget those that are not; what is wrong with them, in sentences."""
        there, problems = self.label_files.clips(tag), []
        for clip, one in objects.items():
            for other in [name for name, label in one.labels.items() if name not in LABEL_TAGS or label.ext != ".json"]:
                del one.labels[other]  # of another program
            if clip not in there:
                one.labels.pop(tag, None)
            elif tag not in one.labels:
                try:
                    label = read_label(self.label_files.path(clip, tag))
                except InputError as error:
                    problems.append(f"a label is left out: {error}")
                else:
                    info = {"ts": int(time.time()), "name": f"{clip}.json", "revision": label.revision}
                    one.labels[tag] = DataModel(info=info, ext=".json")
        return problems

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        super()._init_from_datastore_file(throw_exception)
        self._datastore.images_dir, self._datastore.labels_dir = ".", "labels"  # whatever the file says

    def _update_datastore_file(self, lock: bool = True) -> None:
        held: AbstractContextManager = FileLock(self._lock_file) if lock else nullcontext()
        with held:
            with atomic_file(self._datastore_config_path, "w") as file:
                json.dump(self._datastore.model_dump(exclude={"base_path"}), file, indent=2, default=str)
            self._config_ts = os.stat(self._datastore_config_path).st_mtime
