# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The studies folder as MONAI Label sees it: clips of ultrasound, JSON labels, and no path out of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, ImageLabelModel
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)

from monai_usspeech.data.files import InputError, atomic_file
from monai_usspeech.label.clip_folder import CLIP_SUFFIXES, ID_RULE, is_clip_id, is_inside, split_clip_name
from monai_usspeech.label.clip_labels import read_label
from monai_usspeech.label.folder_datastore import FolderDatastore, tag_word
from monai_usspeech.label.label_files import LABEL_TAGS
from monai_usspeech.label.uploads import check_upload

__all__ = ["UltrasoundDatastore"]

_INFO_LIMIT, _NAME_LENGTH = 64 << 10, 200
# MONAI Label lays the facts about a clip over the answer of a strategy: these are the answer's own
_ANSWER_KEYS = (
    *("id", "path", "name", "ts", "frame", "strategy", "chosen_by"),
    *("uncertainty", "affinity", "distance", "rank", "why"),
)


class UltrasoundDatastore(FolderDatastore):
    """Clips and labels of a folder; see :class:`~monai_usspeech.label.folder_datastore.FolderDatastore`.

    ``get_image_info`` leaves out ``strategy``, in which MONAI Label notes when a clip was served: it would overwrite
    what a strategy answers under this name.

    Args:
        studies: the folder of the clips.
        folder: of the server.
    """

    # What there is

    def list_images(self) -> list[str]:
        """Ids of the clips."""
        self.refresh_if_changed()
        return list(super().list_images())

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """``{"image", "label"}`` paths of the clips that have a final label."""
        self.refresh_if_changed()
        return list(super().datalist(full_path))

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the clips with a final label."""
        self.refresh_if_changed()
        return list(super().get_labeled_images(label_tag, labels))

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the clips without a final label."""
        self.refresh_if_changed()
        return list(super().get_unlabeled_images(label_tag, labels))

    def json(self) -> dict[str, Any]:
        """All that is known."""
        self.refresh_if_changed()
        return dict(super().json())

    def get_image_uri(self, image_id: str) -> str:
        """Path of a clip's file.

        Raises:
            ImageNotFoundException: when there is no such clip.
        """
        clip = self.clip(image_id)
        path = os.path.realpath(self.root / f"{image_id}{clip.image.ext}")
        if not is_inside(path, self.root) or not os.path.isfile(path):
            raise ImageNotFoundException(f"there is no clip {image_id}.")
        return path

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of a clip, with its path."""
        self.clip(image_id)
        return {key: value for key, value in super().get_image_info(image_id).items() if key != "strategy"}

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a clip's label.

        Raises:
            LabelNotFoundException: when it has none.
        """
        self.label(label_id, label_tag)
        path = os.path.realpath(self.label_files.path(label_id, tag_word(label_tag)))
        if not is_inside(path, self.root) or not os.path.isfile(path):
            raise LabelNotFoundException(f"there is no {tag_word(label_tag)} label of {label_id}.")
        return path

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of a label."""
        return dict(self.label(label_id, label_tag).info)

    # What is put there and taken away

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take a file into the folder, under an id that no clip has.

        A label of that id which is left from a clip whose file somebody took away is none of this clip: it goes where
        labels of removed clips go.

        Args:
            image_id: the id; empty: the file's name.
            image_filename: the file. One in the server's folder of uploads is moved, or removed when it is refused.
            image_info: plain values to keep beside it.

        Raises:
            MONAILabelException: for an id that can be none, or is taken.
            InputError: for a file that is no clip, or values under names that answers have.
        """
        source = Path(image_filename)
        try:
            info = _plain(image_info, "params")
            _check_names(info, "params")
            clip = image_id or (split_clip_name(source.name) or ("", ""))[0]
            if not is_clip_id(clip):
                raise MONAILabelException(MONAILabelError.INVALID_INPUT, f"image: the id may hold {ID_RULE}.")
            ending = check_upload(source, clip, self.folder.settings["fps"])
            self.refresh()
            with FileLock(self._lock_file):
                if clip in self._datastore.objects or any((self.root / f"{clip}{s}").exists() for s in CLIP_SUFFIXES):
                    raise MONAILabelException(
                        MONAILabelError.INVALID_INPUT, f"image: there is a clip {clip} already; give another id."
                    )
                for tag in LABEL_TAGS:
                    self.label_files.remove(clip, tag)
                target = self.root / f"{clip}{ending}"
                self._move(source, target)
                info.update(ts=int(time.time()), name=target.name)
                self._datastore.objects[clip] = ImageLabelModel(image=DataModel(info=info, ext=ending))
                self._update_datastore_file(lock=False)
        finally:
            self._drop(source)
        return clip

    def remove_image(self, image_id: str) -> None:
        """Delete a clip's file and its labels; final labels stay in the history."""
        name = f"{image_id}{self.clip(image_id).image.ext}"
        for tag in LABEL_TAGS:
            self.label_files.remove(image_id, tag)
        (self.root / name).unlink(missing_ok=True)
        self.refresh()

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a JSON label of a clip.

        Args:
            image_id: the clip.
            label_filename: the file; see :mod:`monai_usspeech.label.clip_labels` for what it holds. One in the server's
                folder of uploads is removed.
            label_tag: ``"final"`` or ``"original"``.
            label_info: plain values to keep beside it; ``client_id`` is who says so, unless the label names somebody.

        Raises:
            ImageNotFoundException: when there is no such clip.
            InputError: when the file is no label, or older than what is there.
        """
        source, tag = Path(label_filename), tag_word(label_tag)
        try:
            info = _plain(label_info, "params")
            with self._turn:
                self.refresh()
                clip = self.clip(image_id)
                if source.suffix.lower() != ".json":
                    raise InputError(
                        f"{image_id}: a label here is a JSON file that names planes; drawn segments name none."
                    )
                label = read_label(source, f"the label of {image_id}")
                with FileLock(self._lock_file):
                    whole = self.label_files.save(image_id, tag, label, _person(info.get("client_id")))
                    info.update(ts=int(time.time()), name=f"{image_id}.json", revision=whole.revision)
                    clip.labels[tag] = DataModel(info=info, ext=".json")
                    self._update_datastore_file(lock=False)
        finally:
            self._drop(source)
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Take a label away; a final one stays in the history."""
        self.get_label_uri(label_id, label_tag)
        self.label_files.remove(label_id, tag_word(label_tag))
        self.refresh()

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add plain values to what is known of a clip.

        Raises:
            InputError: for values that are not plain, too many of them, or names that answers have.
        """
        self._init_from_datastore_file()  # a task may have written it
        known = self.clip(image_id).image.info
        new = _plain(info, "info")
        served = new.pop("strategy", {})
        _check_names(new if isinstance(served, dict) else ["strategy"], "info")
        merged = {**known, **new, "strategy": {**known.get("strategy", {}), **served}}
        known.update(_plain(merged if merged["strategy"] else {**known, **new}, "info"))
        self._update_datastore_file()

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add plain values to what is known of a label."""
        self._init_from_datastore_file()  # a task may have written it
        known = self.label(label_id, label_tag).info
        known.update(_plain({**known, **_plain(info, "info")}, "info"))
        self._update_datastore_file()

    def _move(self, source: Path, target: Path) -> None:
        """Bring a file into the folder, whole or not at all; only an upload is taken away from where it was."""
        if is_inside(source, self.folder.uploads):
            try:
                os.replace(source, target)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:  # on another file system it must be copied
                    raise
        with atomic_file(target) as file, source.open("rb") as opened:
            shutil.copyfileobj(opened, file)

    def _drop(self, source: Path) -> None:
        if is_inside(source, self.folder.uploads):
            source.unlink(missing_ok=True)


def _person(name: Any) -> str | None:
    """The name of who sent a label, where it can be one."""
    fits = isinstance(name, str) and name.isprintable() and name.strip() and len(name) <= _NAME_LENGTH
    return name if fits else None


def _check_names(names: Iterable[str], what: str) -> None:
    taken = sorted(set(names) & set(_ANSWER_KEYS))
    if taken:
        raise InputError(f"{what}: {', '.join(taken)} is the server's own; give it another name.")


def _plain(values: Any, what: str) -> dict[str, Any]:
    """Values that JSON can hold, copied.

    Raises:
        InputError: when they are no object, not plain, or too many.
    """
    if values is None:
        return {}
    try:
        text = json.dumps(values, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"{what}: must be plain JSON values.") from None
    if not isinstance(values, dict):
        raise InputError(f"{what}: must be a JSON object.")
    if len(text) > _INFO_LIMIT:
        raise InputError(f"{what}: is larger than {_INFO_LIMIT >> 10} KB.")
    copied: dict[str, Any] = json.loads(text)
    return copied
