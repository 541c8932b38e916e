# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Checks that datalists of scans and of images share. A problem is a text that says what is wrong and what to do."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from monai_usspeech.data.files import nearest_name

__all__ = [
    "FieldCheck",
    "field_problems",
    "fold_problem",
    "is_number",
    "is_whole",
    "labelled_entries",
    "optional",
    "path_problem",
    "shown",
    "split_problems",
    "text_problem",
]

FieldCheck = Callable[[Any], str]
"""What is wrong with a value; an empty text when nothing is."""


def field_problems(content: Mapping, fields: Mapping[str, FieldCheck], required: tuple[str, ...]) -> list[str]:
    """Unknown keys, missing keys, and what the checks of the others say."""
    unknown = [
        f'"{key}": unknown key.{nearest_name(key, fields) or " The keys are " + ", ".join(fields) + "."}'
        for key in content
        if key not in fields
    ]
    missing = [f'"{key}": missing; add it.' for key in required if key not in content]
    found = [(key, check(content[key])) for key, check in fields.items() if key in content]
    return unknown + missing + [f'"{key}": {problem}' for key, problem in found if problem]


def labelled_entries(entries: Any, kind: str, key: str) -> Iterator[tuple[str, Any]]:
    """Each entry with what to call it: its place in the file, and its ``key`` where it has one."""
    for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        name = entry.get(key) if isinstance(entry, Mapping) else None
        yield (f'{kind} {number} "{name}"' if isinstance(name, str) else f"{kind} {number}"), entry


def split_problems(entries: list[tuple[str, Mapping]], key: str, kinds: str) -> list[str]:
    """Those entries of one ``key`` (a subject, a group) that are in two folds, or in a fold and in none."""
    first: dict[str, tuple[str, Any]] = {}
    problems = []
    for label, entry in entries:
        name, fold = entry.get(key), entry.get("fold")
        if not isinstance(name, str) or optional(fold_problem)(fold):
            continue
        earlier, earlier_fold = first.setdefault(name, (label, fold))
        if earlier_fold != fold:
            problems.append(
                f'{label}: "fold": {key} "{name}" is in {_in_fold(fold)} here and in {_in_fold(earlier_fold)} in '
                f"{earlier}; give all {kinds} of a {key} one fold."
            )
    return problems


def _in_fold(fold: int | None) -> str:
    return "no fold" if fold is None else f"fold {fold}"


def shown(value: Any) -> str:
    """A value as JSON, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and not true or false."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def optional(check: FieldCheck) -> FieldCheck:
    """The same check, which lets null pass."""
    return lambda value: "" if value is None else check(value)


def text_problem(value: Any) -> str:
    """A text that is not empty."""
    if isinstance(value, str) and value.strip():
        return ""
    return f"is {shown(value)}; give a text that is not empty, in quotes."


def path_problem(value: Any) -> str:
    """A text that can name a file."""
    if text_problem(value):
        return text_problem(value)
    return f"{shown(value)} is no path; take the control character out." if re.search(r"[\x00-\x1f]", value) else ""


def fold_problem(value: Any) -> str:
    """The number of a fold."""
    return "" if is_whole(value) else f"is {shown(value)}; give a whole number from 0, or null."
