# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a person says about a clip: its plane, the planes of single frames, and where to look in them.

A label is one JSON object::

    {
      "schema": 1,
      "clip": {"class": "abdomen", "subject": "p001"},
      "frames": [{"frame": 12, "class": "kidneys", "gaze": [0.42, 0.61]}],
      "annotator": "AB",
      "revision": 3,
      "saved": "2026-01-31T12:00:00+00:00"
    }

All but ``schema`` may be left out, as long as one class is there. ``frame`` is the number of the frame in the file,
from 0; ``gaze`` is a share of the whole picture, x to the right and y down. The server writes ``revision`` and
``saved``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from monai_usspeech.data._field_checks import FieldCheck, field_problems, is_whole, optional, shown
from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import standard_plane

__all__ = ["LABEL_SCHEMA", "MAX_LABEL_BYTES", "ClipLabel", "FrameLabel", "parse_label", "read_label"]

LABEL_SCHEMA = 1
MAX_LABEL_BYTES = 1 << 20
_MAX_FRAMES, _MAX_FRAME, _MAX_TEXT = 100_000, 2**31 - 1, 200


@dataclass(frozen=True)
class FrameLabel:
    """What one frame shows.

    Attributes:
        frame: its number in the file, from 0.
        plane: one of :data:`~monai_usspeech.data.PLANES`.
        gaze: (x, y) as shares of the whole picture, x to the right and y down; None where nobody said.
    """

    frame: int
    plane: str
    gaze: tuple[float, float] | None = None


@dataclass(frozen=True)
class ClipLabel:
    """What a clip shows; made by :func:`read_label` or :func:`parse_label`.

    Attributes:
        plane: the plane of the clip as a whole, one of :data:`~monai_usspeech.data.PLANES`; None where nobody said.
        subject: whom it was recorded of, so that training keeps the clips of one subject together; None: not known.
        frames: labels of single frames, by growing number.
        revision: which saved label of this clip it is, from 1; None before the server has saved it.
        saved: when, as ISO 8601; None likewise.
        annotator: who says so; None: not known.
    """

    plane: str | None = None
    subject: str | None = None
    frames: tuple[FrameLabel, ...] = ()
    revision: int | None = None
    saved: str | None = None
    annotator: str | None = None

    @property
    def planes(self) -> tuple[str, ...]:
        """Every plane that the label names, sorted."""
        return tuple(sorted({*(frame.plane for frame in self.frames), *([self.plane] if self.plane else [])}))

    def to_json(self) -> dict[str, Any]:
        """The JSON object of this label; :func:`parse_label` reads it back as it is."""
        clip = {"class": self.plane, **({} if self.subject is None else {"subject": self.subject})}
        known = {"revision": self.revision, "saved": self.saved, "annotator": self.annotator}
        return {
            "schema": LABEL_SCHEMA,
            "clip": clip,
            "frames": [_frame_json(frame) for frame in self.frames],
            **{key: value for key, value in known.items() if value is not None},
        }


def read_label(path: str | os.PathLike, name: str | None = None) -> ClipLabel:
    """Read a label file of at most 1 MiB.

    Args:
        path: the file.
        name: what to call it in an error; None: by its path.

    Raises:
        InputError: when the file is missing, too large, no JSON, or no label; names the file, the field and the mend.
    """
    name = os.fspath(path) if name is None else name
    try:
        with Path(path).open("rb") as opened:
            content = opened.read(MAX_LABEL_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}).") from error
    if len(content) > MAX_LABEL_BYTES:
        raise InputError(f"{name}: is larger than a label may be ({MAX_LABEL_BYTES >> 20} MiB).")
    try:
        parsed = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise InputError(f"{name}: not valid JSON (nested too deeply).") from None
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise InputError(f"{name}: not valid JSON ({str(error)[:120]}).") from None
    return parse_label(parsed, name)


def parse_label(content: Any, name: str = "label") -> ClipLabel:
    """Check a label and bring it into one form: the package's names of planes, frames by growing number.

    Planes may be given by any name that :func:`~monai_usspeech.data.plane_names.standard_plane` knows.

    Args:
        content: what the JSON holds.
        name: what to call it in an error.

    Raises:
        InputError: when it is no label of schema 1, names no plane at all, or names a frame twice.
    """
    if not isinstance(content, Mapping):
        _refuse(name, [f'is {shown(content)}; give an object such as {{"schema": 1, "clip": {{"class": "femur"}}}}.'])
    _refuse(name, field_problems(content, _LABEL_FIELDS, ("schema",)))
    clip = content.get("clip") or {}
    _refuse(f'{name}: "clip"', field_problems(clip, _CLIP_FIELDS, ()))
    frames = [_frame(entry, f'{name}: "frames", entry {place}') for place, entry in enumerate(_entries(content), 1)]
    frames.sort(key=lambda frame: frame.frame)
    twice = next((one.frame for one, following in zip(frames, frames[1:]) if one.frame == following.frame), None)
    if twice is not None:
        _refuse(name, [f'"frames": frame {twice} has two labels; leave one of them out.'])
    label = ClipLabel(
        plane=_plane(clip.get("class")),
        subject=clip.get("subject"),
        frames=tuple(frames),
        **{key: content.get(key) for key in ("revision", "saved", "annotator")},
    )
    if not label.planes:
        _refuse(name, ['names no plane; give "clip" a "class", or label a frame.'])
    return label


def _entries(content: Mapping) -> list[Any]:
    entries: list[Any] = content.get("frames", [])
    return entries


def _plane(name: str | None) -> str | None:
    return None if name is None else str(standard_plane(name))


def _frame(entry: Any, where: str) -> FrameLabel:
    if not isinstance(entry, Mapping):
        _refuse(where, [f'is {shown(entry)}; give an object such as {{"frame": 12, "class": "femur"}}.'])
    _refuse(where, field_problems(entry, _FRAME_FIELDS, ("frame", "class")))
    gaze = entry.get("gaze")
    at = None if gaze is None else (float(gaze[0]), float(gaze[1]))
    return FrameLabel(entry["frame"], str(standard_plane(entry["class"])), at)


def _frame_json(frame: FrameLabel) -> dict[str, Any]:
    return {
        "frame": frame.frame,
        "class": frame.plane,
        **({} if frame.gaze is None else {"gaze": list(frame.gaze)}),
    }


def _refuse(where: str, problems: list[str]) -> None:
    if problems:
        more = f" ({len(problems) - 1} more fields are wrong.)" if len(problems) > 1 else ""
        text = f"{where}: {problems[0]}{more}"
        raise InputError(text.encode("utf-8", "backslashreplace").decode())  # JSON can hold halves of characters


# What is wrong with a value; empty when nothing is


def _schema_problem(value: Any) -> str:
    right = is_whole(value) and value == LABEL_SCHEMA
    return "" if right else f"is {shown(value)}; this version reads labels of schema {LABEL_SCHEMA}."


def _text_problem(value: Any) -> str:
    if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= _MAX_TEXT:
        return ""
    return f"is {shown(value)}; give a text of 1 to {_MAX_TEXT} printable characters."


def _plane_problem(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        return f"is {shown(value)}; give the name of a standard plane."
    try:
        standard_plane(value)
    except InputError as error:
        return str(error)
    return ""


def _frame_problem(value: Any) -> str:
    if is_whole(value) and value <= _MAX_FRAME:
        return ""
    return f"is {shown(value)}; give the frame's number in the file, from 0."


def _gaze_problem(value: Any) -> str:
    inside = isinstance(value, list) and len(value) == 2 and all(map(_is_share, value))
    return "" if inside else f"is {shown(value)}; give [x, y], shares of the whole picture from 0 to 1."


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _clip_problem(value: Any) -> str:
    return "" if isinstance(value, Mapping) else f'is {shown(value)}; give an object such as {{"class": "femur"}}.'


def _frames_problem(value: Any) -> str:
    if not isinstance(value, list):
        return f"is {shown(value)}; give a list of labelled frames."
    if len(value) > _MAX_FRAMES:
        return f"has {len(value)} entries; a label takes {_MAX_FRAMES}."
    return ""


def _revision_problem(value: Any) -> str:
    return "" if is_whole(value) and 1 <= value <= _MAX_FRAME else f"is {shown(value)}; leave it to the server."


def _time_problem(value: Any) -> str:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return f"is {shown(value)}; give a time as ISO 8601, or leave it to the server."
    return ""


_LABEL_FIELDS: dict[str, FieldCheck] = {
    "schema": _schema_problem,
    "clip": optional(_clip_problem),
    "frames": _frames_problem,
    "revision": optional(_revision_problem),
    "saved": optional(_time_problem),
    "annotator": optional(_text_problem),
}
_CLIP_FIELDS: dict[str, FieldCheck] = {"class": optional(_plane_problem), "subject": optional(_text_problem)}
_FRAME_FIELDS: dict[str, FieldCheck] = {
    "frame": _frame_problem,
    "class": _plane_problem,
    "gaze": optional(_gaze_problem),
}
