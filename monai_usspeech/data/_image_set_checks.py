# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What can be wrong with an image-set datalist. Each check returns lines that name the image, field and mend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_usspeech.data._datalist_checks import resolve
from monai_usspeech.data._field_checks import (
    field_problems,
    fold_problem,
    is_number,
    labelled_entries,
    optional,
    path_problem,
    shown,
    split_problems,
    text_problem,
)
from monai_usspeech.data.files import nearest_name

__all__ = ["PROBLEMS_SHOWN", "image_content_problems", "image_file_problems"]

PROBLEMS_SHOWN = 20
"""More lines than this say nothing new: a wrong folder makes every image of a set missing."""


def image_content_problems(content: Any) -> list[str]:
    """All that is wrong with the content of an image-set datalist, without looking at any file it names.

    Args:
        content: what the JSON file holds.

    Returns:
        One line for each problem; empty when there is none.
    """
    if not isinstance(content, Mapping):
        return [f'the file holds {shown(content)}; give an object {{"name": ..., "classes": [...], "images": [...]}}.']
    problems = field_problems(content, _LIST_FIELDS, tuple(_LIST_FIELDS))
    classes = [name for name in _as_list(content.get("classes")) if isinstance(name, str)]
    problems += _no_class(content)
    entries = []
    for label, entry in labelled_entries(content.get("images"), "image", "image"):
        if isinstance(entry, Mapping):
            entries.append((label, entry))
            found = field_problems(entry, _IMAGE_FIELDS, ("image", "label", "group")) + _foreign_label(entry, classes)
        else:
            found = [f'is {shown(entry)}; give an object {{"image": ..., "label": ..., "group": ...}}.']
        problems += [f"{label}: {text}" for text in found]
    return problems + _repeated(entries) + split_problems(entries, "group", "images")


def image_file_problems(content: Any, folder: Path) -> list[str]:
    """Files of an image-set datalist that are missing.

    Args:
        content: what the JSON file holds; parts that are not as they should be are passed over.
        folder: the folder of the JSON file.

    Returns:
        One line for each missing file; empty when there is none.
    """
    images = content.get("images") if isinstance(content, Mapping) else None
    problems: dict[Path, str] = {}  # a video has one entry for each of its frames
    for label, entry in labelled_entries(images, "image", "image"):
        value = entry.get("image") if isinstance(entry, Mapping) else None
        if not isinstance(value, str) or path_problem(value):
            continue
        path = resolve(folder, value)
        if path not in problems and not os.path.isfile(path):
            what = f"{path} is a folder; name its files one by one" if path.is_dir() else f"no such file {path}"
            problems[path] = f'{label}: "image": {what}; paths are relative to the datalist\'s folder.'
    return list(problems.values())


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _no_class(content: Mapping) -> list[str]:
    """A list without classes is one whose images have no labels."""
    entries = [entry for entry in _as_list(content.get("images")) if isinstance(entry, Mapping)]
    if content.get("classes") != [] or all(entry.get("label") is None for entry in entries):
        return []
    return ['"classes": is [] and some images have a label; name the classes, or set every "label" to null.']


def _foreign_label(entry: Mapping, classes: list[str]) -> list[str]:
    label = entry.get("label")
    if not isinstance(label, str) or text_problem(label) or label in classes or not classes:
        return []
    return [f'"label": "{label}" is none of the classes {", ".join(classes)}.{nearest_name(label, classes)}']


def _repeated(entries: list[tuple[str, Mapping]]) -> list[str]:
    first: dict[tuple[str, Any], str] = {}
    problems = []
    for label, entry in entries:
        value, time = entry.get("image"), entry.get("time")
        if not isinstance(value, str) or not (time is None or is_number(time)):
            continue
        earlier = first.setdefault((os.path.normpath(value), time), label)
        if earlier != label:
            problems.append(f"{label}: is the same image as {earlier}; list each once, or folds may split it.")
    return problems


def _time(value: Any) -> str:
    good = is_number(value) and value >= 0
    return "" if good else f"is {shown(value)}; give seconds from the first frame of a video, or null for a picture."


def _classes(value: Any) -> str:
    if isinstance(value, list) and not any(map(text_problem, value)) and len(set(value)) == len(value):
        return ""
    return f"is {shown(value)}; give a list of different names."


def _images(value: Any) -> str:
    return "" if isinstance(value, list) and value else f"is {shown(value)}; give a list with at least one image."


_LIST_FIELDS = {"name": text_problem, "classes": _classes, "images": _images}
_IMAGE_FIELDS = {
    "image": path_problem,
    "label": optional(text_problem),
    "group": text_problem,
    "time": optional(_time),
    "fold": optional(fold_problem),
}
