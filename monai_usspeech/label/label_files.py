# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Where labels are kept: ``labels/TAG/ID.json`` in the studies folder, and what they replaced in the server's folder.

Of a ``final`` label, which a person has saved, nothing is ever lost: each has a number, its revision, and whatever
replaces or removes it moves it to ``history/ID/REVISION.json`` (one that somebody put there by hand under a number that
was given before gets the next number there). A label that was edited from an older revision than the
one that is there is refused, so that of two people at one clip neither overwrites the other unseen. An ``original``
label is a draft by a model, and is simply replaced.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from monai_usspeech.data.files import InputError, atomic_file, write_json
from monai_usspeech.label.clip_folder import ID_RULE, is_clip_id, is_inside
from monai_usspeech.label.clip_labels import ClipLabel, read_label

__all__ = ["LABEL_TAGS", "LabelFiles"]

LABEL_TAGS = ("final", "original")
"""What a person has saved, and what a model has drafted."""

_SUFFIX = ".json"


class LabelFiles:
    """The labels of a studies folder.

    Args:
        studies: the folder of the clips; labels are in ``labels`` in it.
        history: the folder of labels that were replaced or removed.

    Raises:
        InputError: when ``labels`` is a link out of the studies folder.
    """

    def __init__(self, studies: str | os.PathLike, history: str | os.PathLike) -> None:
        self.folder, self.history = Path(studies) / "labels", Path(history)
        for folder in (self.folder, *(self.folder / tag for tag in LABEL_TAGS)):
            if folder.exists() and not is_inside(folder, studies):
                raise InputError(f"{folder}: is a link out of the studies folder; put the folder itself there.")

    def path(self, clip: str, tag: str) -> Path:
        """Where the label of a clip lies, or would lie.

        Raises:
            InputError: when the id or the tag can be none.
        """
        if not is_clip_id(clip):
            raise InputError(f"image: the id of a clip may hold {ID_RULE}.")
        if tag not in LABEL_TAGS:
            raise InputError(f"tag: give one of {', '.join(LABEL_TAGS)}.")
        return self.folder / tag / f"{clip}{_SUFFIX}"

    def clips(self, tag: str) -> set[str]:
        """Ids of the clips that have a label file; links out of the folder count as none."""
        try:
            with os.scandir(self.folder / tag) as entries:
                files = [entry for entry in entries if entry.name.endswith(_SUFFIX) and entry.is_file()]
        except FileNotFoundError:
            return set()
        inside = (one for one in files if not one.is_symlink() or is_inside(one.path, self.folder))
        return {one.name[: -len(_SUFFIX)] for one in inside if is_clip_id(one.name[: -len(_SUFFIX)])}

    def save(self, clip: str, tag: str, label: ClipLabel, annotator: str | None = None) -> ClipLabel:
        """Keep a label.

        Args:
            clip: id of the clip.
            tag: ``"final"`` or ``"original"``.
            label: what to keep. With a ``revision`` it must be that of the label which is there now.
            annotator: who says so, unless the label names somebody.

        Returns:
            The label as it was written, with its revision (final ones) and its time.

        Raises:
            InputError: when somebody else has saved another label since ``revision``.
        """
        place = self.path(clip, tag)
        place.parent.mkdir(parents=True, exist_ok=True)
        saved = datetime.now(timezone.utc).isoformat(timespec="seconds")
        revision = self._next_revision(clip, place, label.revision) if tag == "final" else None
        whole = replace(label, revision=revision, saved=saved, annotator=label.annotator or annotator)
        write_json(place, whole.to_json())
        return whole

    def remove(self, clip: str, tag: str) -> None:
        """Take the label of a clip away; a final one goes to the history."""
        place = self.path(clip, tag)
        if tag == "final" and place.is_file():
            self._next_revision(clip, place, None)
        place.unlink(missing_ok=True)

    def _next_revision(self, clip: str, place: Path, edited: int | None) -> int:
        """The number of the label that comes next; the one that is there is copied to the history first."""
        kept = self.history / clip
        last = max((int(file.stem) for file in kept.glob("*.json") if file.stem.isdecimal()), default=0)
        if not place.is_file():
            return last + 1
        current = _revision(place) or last + 1
        if edited is not None and edited != current:
            raise InputError(
                f"{clip}: has been labelled anew since revision {edited}: it is at {current}. Load that one first, or"
                ' leave out "revision" to replace it.'
            )
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        content, old = place.read_bytes(), kept / f"{current}{_SUFFIX}"
        number = max(current, last) + 1 if old.is_file() and old.read_bytes() != content else current
        with atomic_file(kept / f"{number}{_SUFFIX}") as file:  # a file put there by hand may bear an old number
            file.write(content)
        return max(number, last) + 1


def _revision(path: Path) -> int | None:
    """The number in a label file; None when there is none, or when the file is no label."""
    try:
        return read_label(path).revision
    except InputError:
        return None
