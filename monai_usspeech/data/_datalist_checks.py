# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What can be wrong with a scan datalist. Each check returns lines that name the scan, the field and the mend."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_usspeech.data._field_checks import (
    FieldCheck,
    field_problems,
    fold_problem,
    is_number,
    is_whole,
    labelled_entries,
    optional,
    path_problem,
    shown,
    split_problems,
    text_problem,
)
from monai_usspeech.data.annotations import read_gaze, read_planes
from monai_usspeech.data.files import InputError
from monai_usspeech.data.oracle import read_oracle

__all__ = ["content_problems", "file_problems", "resolve"]

GAZE_ROWS_CHECKED = 100  # the whole of a half-hour track takes 0.4 s, too long for thousands of scans before any work

# Characters that some file system refuses in a folder name, and names that Windows keeps for devices.
_REFUSED = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def resolve(folder: Path, value: str) -> Path:
    """The file that ``value`` names in a datalist in ``folder``.

    Links among the folders are followed, the file's own name is kept: it may be a link into a store of hashes, whose
    names have no ending.
    """
    path = folder / value
    return Path(os.path.realpath(path.parent)) / path.name


def content_problems(content: Any) -> list[str]:
    """All that is wrong with the content of a datalist, without looking at any file it names.

    Args:
        content: what the JSON file holds.

    Returns:
        One line for each problem; empty when there is none.
    """
    if not isinstance(content, Mapping):
        return [f'the file holds {shown(content)}; give an object {{"name": ..., "scans": [...]}}.']
    problems = field_problems(content, _LIST_FIELDS, ("name", "scans"))
    scans = content.get("scans")
    if not isinstance(scans, list):
        return problems
    for label, entry in labelled_entries(scans, "scan", "id"):
        if isinstance(entry, Mapping):
            found = field_problems(entry, _SCAN_FIELDS, ("id", "subject", "video")) + _speech_is_video(entry)
        else:
            found = [f'is {shown(entry)}; give an object {{"id": ..., "subject": ..., "video": ...}}.']
        problems += [f"{label}: {text}" for text in found]
    entries = [(label, entry) for label, entry in labelled_entries(scans, "scan", "id") if isinstance(entry, Mapping)]
    return problems + _repeated(entries) + split_problems(entries, "subject", "scans")


def file_problems(content: Any, folder: Path) -> list[str]:
    """Missing files of a datalist, and gaze, planes and oracle files that cannot be used.

    Args:
        content: what the JSON file holds; parts that are not as they should be are passed over.
        folder: the folder of the JSON file.

    Returns:
        One line for each problem; empty when there is none.
    """
    scans = content.get("scans") if isinstance(content, Mapping) else None
    problems = []
    folders: dict[Path, dict[str, list[str]]] = {}
    for label, entry in labelled_entries(scans, "scan", "id"):
        for key in ("video", "speech", "gaze", "planes", "oracle"):
            value = entry.get(key) if isinstance(entry, Mapping) else None
            if not isinstance(value, str) or path_problem(value) or (key == "speech" and value == "video"):
                continue
            problem = _file_problem(key, resolve(folder, value), value, folders)
            problems += [f'{label}: "{key}": {problem}'] if problem else []
    return problems


def _file_problem(key: str, path: Path, value: str, folders: dict[Path, dict[str, list[str]]]) -> str:
    if not os.path.isfile(path):
        return _missing(key, path, value, folders)
    try:
        if key == "gaze":
            read_gaze(path, max_rows=GAZE_ROWS_CHECKED)
        elif key == "planes":
            read_planes(path)
        elif key == "oracle":
            read_oracle(path)
    except InputError as error:
        return str(error)
    return ""


def _missing(key: str, path: Path, value: str, folders: dict[Path, dict[str, list[str]]]) -> str:
    if key == "speech" and value.casefold() == "video":
        return f'no such file {path}; write "video" for the sound track of the video file.'
    if os.path.isdir(path):
        return f"{path} is a folder; give a file."
    if "\\" in value and os.sep == "/":
        return f"no such file {path}; write / between folders."
    if not os.path.isdir(path.parent):
        return f"no such file {path}, nor such a folder; give the path relative to the datalist's folder."
    # Names in a folder of scans are all alike, so only a file that differs in its ending or in case is worth naming.
    if path.parent not in folders:
        folders[path.parent] = _names_by_stem(path.parent)
    alike = folders[path.parent].get(path.stem.casefold(), [])
    return f"no such file {path}; correct the path." + (f" The folder has {', '.join(alike)}." if alike else "")


def _names_by_stem(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        names.setdefault(Path(name).stem.casefold(), []).append(name)
    return names


def _speech_is_video(entry: Mapping) -> list[str]:
    """A video named as the sound file would be read without its own clock, and so out of step."""
    video, speech = entry.get("video"), entry.get("speech")
    if isinstance(speech, str) and isinstance(video, str) and os.path.normpath(speech) == os.path.normpath(video):
        return [f'"speech": is the video file {shown(speech)}; write "video" for its sound track.']
    return []


def _repeated(entries: list[tuple[str, Mapping]]) -> list[str]:
    """Scans that would share a folder of the store (also where case does not count), or that are one video."""
    problems = []
    for key, same, mend in (
        ("id", str.casefold, "give each scan its own"),
        ("video", os.path.normpath, "list each video once, or folds may split it"),
    ):
        first: dict[str, str] = {}
        for label, entry in entries:
            value = entry.get(key)
            if not isinstance(value, str):
                continue
            earlier = first.setdefault(same(value), label)
            if earlier != label:
                problems.append(f'{label}: "{key}": {shown(value)} is also that of {earlier}; {mend}.')
    return problems


def _folder_name(value: Any) -> str:
    if text_problem(value):
        return text_problem(value)
    bad = _REFUSED.search(value)
    if bad or value != value.strip() or value[0] == "." or value[-1] == "." or _DEVICE.fullmatch(value):
        reason = f"{shown(bad[0])} in it" if bad else "a leading or trailing space or dot, or a device's name"
        return f"{shown(value)} cannot name a folder ({reason}); use letters, digits, - and _."
    if len(value.encode()) > 200:
        return f"{shown(value)} is too long to name a folder; keep it under 200 bytes."
    return ""


def _offset(value: Any) -> str:
    return "" if is_number(value) else f"is {shown(value)}; give seconds as a number, 0 when both began together."


def _fps(value: Any) -> str:
    good = is_number(value) and value > 0
    return "" if good else f"is {shown(value)}; give frames per second above 0, or null where the files carry a clock."


def _fan(value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) == 4 and all(map(is_whole, value)):
        top, left, bottom, right = value
        if top < bottom and left < right:
            return ""
    return (
        f"is {shown(value)}; give [top, left, bottom, right] in whole pixels with top < bottom and left < right, or "
        "null to detect it."
    )


def _scans(value: Any) -> str:
    return "" if isinstance(value, list) and value else f"is {shown(value)}; give a list with at least one scan."


_LIST_FIELDS: dict[str, FieldCheck] = {"name": text_problem, "fps": optional(_fps), "scans": _scans}
_SCAN_FIELDS: dict[str, FieldCheck] = {
    "id": _folder_name,
    "subject": text_problem,
    "video": path_problem,
    "speech": optional(path_problem),
    "speech_offset": _offset,
    "gaze": optional(path_problem),
    "planes": optional(path_problem),
    "fan": optional(_fan),
    "fold": optional(fold_problem),
    "oracle": optional(path_problem),
}
