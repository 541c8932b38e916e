# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which files of the studies folder are clips, and by what id they are known.

A clip's id is its file's name without the ending. Ids go into the names of other files (labels, scores), so only those
of plain characters are taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["CLIP_SUFFIXES", "ID_RULE", "clip_files", "is_clip_id", "is_inside", "split_clip_name"]

CLIP_SUFFIXES = (
    *(".nii.gz", ".nii", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".dcm"),
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"),
)
"""Endings of the files that are clips or pictures, in lower case; files may write them in either."""

ID_RULE = 'letters of a to z, digits and "._ -", at most 200, beginning with a letter or a digit, without ".."'

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,199}")


def is_clip_id(text: Any) -> bool:
    """Whether a text may be the id of a clip (:data:`ID_RULE`); such a text is never a path."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None and ".." not in text


def split_clip_name(name: str) -> tuple[str, str] | None:
    """(id, ending as it is written) of a file name; None when the ending is not that of a clip."""
    lower = name.lower()
    ending = next((suffix for suffix in CLIP_SUFFIXES if lower.endswith(suffix)), None)
    return None if ending is None else (name[: -len(ending)], name[-len(ending) :])


def is_inside(path: str | os.PathLike, folder: str | os.PathLike) -> bool:
    """Whether a path, with all links followed, lies in a folder (and is not the folder itself)."""
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def clip_files(
    studies: str | os.PathLike[str], known: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """The clips of a folder; folders inside it are not looked into.

    Args:
        studies: the folder.
        known: id to file name of clips known before: of two files with one id, that one stays. Else the first by name.

    Returns:
        Id to file name, by growing id; and one sentence for each file that ends like a clip and is left out.
    """
    before = set((known or {}).values())
    found: dict[str, str] = {}
    problems: list[str] = []
    with os.scandir(os.fspath(studies)) as entries:
        listed = sorted(entries, key=lambda entry: (entry.name not in before, entry.name))
    for entry in listed:
        parts = split_clip_name(entry.name)
        if parts is None or entry.name.startswith(".") or entry.is_dir():
            continue
        problem = _problem(entry, parts[0], studies, found)
        if problem:
            problems.append(f"{entry.name!r} is left out: {problem}")
        else:
            found[parts[0]] = entry.name
    return dict(sorted(found.items())), sorted(problems)


def _problem(entry: os.DirEntry[str], clip: str, studies: str | os.PathLike[str], found: Mapping[str, str]) -> str:
    if not is_clip_id(clip):
        return f"its name may hold {ID_RULE}. Rename it."
    if entry.is_symlink() and not is_inside(entry.path, studies):
        return "it is a link out of the folder. Put the file itself there."
    if not entry.is_file():
        return "it is not a file, or a link to none. Put the file itself there."
    if clip in found:
        return f"{found[clip]!r} has the same name but for its ending. Rename one of them."
    return ""
