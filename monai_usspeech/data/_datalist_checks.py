# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What can be wrong with a scan datalist. Each check returns lines that name the scan, the field and the mend."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from monai_usspeech.data.annotations import read_gaze, read_planes
from monai_usspeech.data.files import InputError, nearest_name

__all__ = ["content_problems", "file_problems", "resolve"]

GAZE_ROWS_CHECKED = 100  # the whole of a half-hour track takes 0.4 s, too long for thousands of scans before any work

# Characters that some file system refuses in a folder name, and names that Windows keeps for devices.
_REFUSED = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

_Check = Callable[[Any], str]


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
        return [f'the file holds {_show(content)}; give an object {{"name": ..., "scans": [...]}}.']
    problems = _field_problems(content, _LIST_FIELDS, ("name", "scans"))
    scans = content.get("scans")
    if not isinstance(scans, list):
        return problems
    for label, entry in _labelled(scans):
        if isinstance(entry, Mapping):
            found = _field_problems(entry, _SCAN_FIELDS, ("id", "subject", "video")) + _speech_is_video(entry)
        else:
            found = [f'is {_show(entry)}; give an object {{"id": ..., "subject": ..., "video": ...}}.']
        problems += [f"{label}: {text}" for text in found]
    entries = [(label, entry) for label, entry in _labelled(scans) if isinstance(entry, Mapping)]
    return problems + _repeated(entries) + _split_subjects(entries)


def file_problems(content: Any, folder: Path) -> list[str]:
    """Missing files of a datalist, and gaze and planes files that cannot be used.

    Args:
        content: what the JSON file holds; parts that are not as they should be are passed over.
        folder: the folder of the JSON file.

    Returns:
        One line for each problem; empty when there is none.
    """
    scans = content.get("scans") if isinstance(content, Mapping) else None
    problems = []
    folders: dict[Path, dict[str, list[str]]] = {}
    for label, entry in _labelled(scans if isinstance(scans, list) else []):
        for key in ("video", "speech", "gaze", "planes"):
            value = entry.get(key) if isinstance(entry, Mapping) else None
            if not isinstance(value, str) or _path(value) or (key == "speech" and value == "video"):
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


def _labelled(scans: list[Any]) -> Iterator[tuple[str, Any]]:
    """Each entry with what to call it: its place in the file, and its id where it has one."""
    for number, entry in enumerate(scans, start=1):
        name = entry.get("id") if isinstance(entry, Mapping) else None
        yield (f'scan {number} "{name}"' if isinstance(name, str) else f"scan {number}"), entry


def _field_problems(content: Mapping, fields: Mapping[str, _Check], required: tuple[str, ...]) -> list[str]:
    unknown = [
        f'"{key}": unknown key.{nearest_name(key, fields) or " The keys are " + ", ".join(fields) + "."}'
        for key in content
        if key not in fields
    ]
    missing = [f'"{key}": missing; add it.' for key in required if key not in content]
    found = [(key, check(content[key])) for key, check in fields.items() if key in content]
    return unknown + missing + [f'"{key}": {problem}' for key, problem in found if problem]


def _speech_is_video(entry: Mapping) -> list[str]:
    """A video named as the sound file would be read without its own clock, and so out of step."""
    video, speech = entry.get("video"), entry.get("speech")
    if isinstance(speech, str) and isinstance(video, str) and os.path.normpath(speech) == os.path.normpath(video):
        return [f'"speech": is the video file {_show(speech)}; write "video" for its sound track.']
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
                problems.append(f'{label}: "{key}": {_show(value)} is also that of {earlier}; {mend}.')
    return problems


def _split_subjects(entries: list[tuple[str, Mapping]]) -> list[str]:
    """Subjects whose scans are in two folds, or in a fold and in none."""
    first: dict[str, tuple[str, Any]] = {}
    problems = []
    for label, entry in entries:
        subject, fold = entry.get("subject"), entry.get("fold")
        if not isinstance(subject, str) or _optional(_fold)(fold):
            continue
        earlier, earlier_fold = first.setdefault(subject, (label, fold))
        if earlier_fold != fold:
            problems.append(
                f'{label}: "fold": subject "{subject}" is in {_in_fold(fold)} here and in {_in_fold(earlier_fold)} in '
                f"{earlier}; give all scans of a subject one fold."
            )
    return problems


def _in_fold(fold: int | None) -> str:
    return "no fold" if fold is None else f"fold {fold}"


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _optional(check: _Check) -> _Check:
    return lambda value: "" if value is None else check(value)


def _text(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return ""
    return f"is {_show(value)}; give a text that is not empty, in quotes."


def _folder_name(value: Any) -> str:
    if _text(value):
        return _text(value)
    bad = _REFUSED.search(value)
    if bad or value != value.strip() or value[0] == "." or value[-1] == "." or _DEVICE.fullmatch(value):
        reason = f"{_show(bad[0])} in it" if bad else "a leading or trailing space or dot, or a device's name"
        return f"{_show(value)} cannot name a folder ({reason}); use letters, digits, - and _."
    if len(value.encode()) > 200:
        return f"{_show(value)} is too long to name a folder; keep it under 200 bytes."
    return ""


def _path(value: Any) -> str:
    if _text(value):
        return _text(value)
    return f"{_show(value)} is no path; take the control character out." if re.search(r"[\x00-\x1f]", value) else ""


def _offset(value: Any) -> str:
    return "" if _number(value) else f"is {_show(value)}; give seconds as a number, 0 when both began together."


def _fps(value: Any) -> str:
    good = _number(value) and value > 0
    return "" if good else f"is {_show(value)}; give frames per second above 0, or null where the files carry a clock."


def _fold(value: Any) -> str:
    return "" if _whole(value) else f"is {_show(value)}; give a whole number from 0, or null."


def _fan(value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) == 4 and all(map(_whole, value)):
        top, left, bottom, right = value
        if top < bottom and left < right:
            return ""
    return (
        f"is {_show(value)}; give [top, left, bottom, right] in whole pixels with top < bottom and left < right, or "
        "null to detect it."
    )


def _scans(value: Any) -> str:
    return "" if isinstance(value, list) and value else f"is {_show(value)}; give a list with at least one scan."


_LIST_FIELDS: dict[str, _Check] = {"name": _text, "fps": _optional(_fps), "scans": _scans}
_SCAN_FIELDS: dict[str, _Check] = {
    "id": _folder_name,
    "subject": _text,
    "video": _path,
    "speech": _optional(_path),
    "speech_offset": _offset,
    "gaze": _optional(_path),
    "planes": _optional(_path),
    "fan": _optional(_fan),
    "fold": _optional(_fold),
}
