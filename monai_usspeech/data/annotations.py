# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Annotations of a scan: where the sonographer looked, and which standard plane was on the screen.

Both are small CSV files with a header line; further columns are ignored. Times are seconds from the first presented
frame of the video.

========  ==================  =====================================================================================
file      columns             one row is
========  ==================  =====================================================================================
gaze      ``time,x,y``        one sample of the eye tracker; pixels of the source frame; empty x and y = no fix
planes    ``start,end,plane`` one interval [start, end) in which a plane was shown; no interval means background
========  ==================  =====================================================================================
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.plane_names import PLANES, StandardPlane, standard_plane

__all__ = ["PLANES", "GazeTrack", "PlaneInterval", "StandardPlane", "plane_at", "read_gaze", "read_planes"]


@dataclass(frozen=True, eq=False)
class GazeTrack:
    """Gaze samples of one scan.

    Attributes:
        time: float64 ``[N]``, seconds of video time, never decreasing.
        x: float64 ``[N]``, column in pixels of the source frame, growing to the right; NaN where there is no fix.
        y: float64 ``[N]``, row in pixels of the source frame, growing downwards; NaN where there is no fix.

    Raises:
        ValueError: when the three are not of one length.
    """

    time: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        shapes = [np.shape(values) for values in (self.time, self.x, self.y)]
        if len(set(shapes)) != 1 or len(shapes[0]) != 1:
            raise ValueError(f"time, x and y must be 1-D and of one length, got shapes {shapes}.")

    def __len__(self) -> int:
        return len(self.time)

    @property
    def has_fix(self) -> np.ndarray:
        """bool ``[N]``: True where the tracker knew the gaze."""
        fixed: np.ndarray = np.isfinite(self.x) & np.isfinite(self.y)
        return fixed

    def summary(self) -> str:
        """One line for a person: how many samples, over what time, and how many of them have a fix."""
        if len(self) == 0:
            return "no gaze samples"
        found = int(self.has_fix.sum())
        return f"{len(self)} gaze samples from {self.time[0]:.2f} to {self.time[-1]:.2f} s, {found} with a fix"


class PlaneInterval(NamedTuple):
    """``plane`` is shown from ``start`` (included) to ``end`` (excluded), both in seconds of video time."""

    start: float
    end: float
    plane: StandardPlane


def read_gaze(path: str | os.PathLike, max_rows: int | None = None) -> GazeTrack:
    """Read a gaze CSV with the columns ``time,x,y``.

    A track without any fix is allowed (the tracker lost the eye); ask :meth:`GazeTrack.summary` for how many there are.

    Args:
        path: the file; times in seconds of video time, never decreasing; x and y in pixels of the source frame,
            both empty (or ``nan``) where there is no fix.
        max_rows: read no further than so many rows; None reads all (0.4 s for half an hour at 90 Hz).

    Returns:
        The track, in the file's order.

    Raises:
        InputError: when the file is missing, empty or without a row, lacks a column, holds something that is not a
            number, gives only one of x and y, or goes back in time.
    """
    lines, (times, *points) = _read_table(path, ("time", "x", "y"), "write null for gaze in the datalist", max_rows)
    time = _numbers(path, lines, "time", times)
    x, y = (
        _numbers(path, lines, name, cells, if_missing="leave x and y empty where there is no fix", optional=True)
        for name, cells in zip("xy", points)
    )
    half = np.flatnonzero(np.isnan(x) != np.isnan(y))
    if half.size:
        given, missing = ("y", "x") if np.isnan(x[half[0]]) else ("x", "y")
        raise InputError(
            f"{path}, line {lines[half[0]]}: {given} is given and {missing} is empty; give both, or neither where "
            "there is no fix."
        )
    back = np.flatnonzero(np.diff(time) < 0)
    if back.size:
        row = int(back[0])
        raise InputError(
            f"{path}, line {lines[row + 1]}: time {time[row + 1]:g} comes after {time[row]:g} (line {lines[row]}); "
            "sort the rows by time."
        )
    return GazeTrack(time, x, y)


def read_planes(path: str | os.PathLike) -> tuple[PlaneInterval, ...]:
    """Read a planes CSV with the columns ``start,end,plane``.

    Args:
        path: the file; start and end in seconds of video time, plane one of :data:`PLANES`, or what
            SonoNet or PULSE call it (:func:`~monai_usspeech.data.plane_names.standard_plane`). The rows may be in any
            order; one interval may begin where another ends.

    Returns:
        The intervals, sorted by start.

    Raises:
        InputError: when the file is missing, empty or without a row, lacks a column, names an unknown plane, holds
            something that is not a number, or has an interval that ends before it starts or overlaps another.
    """
    remedy = 'write null for planes in the datalist, or one "background" interval if no plane was shown'
    lines, (starts, ends, names) = _read_table(path, ("start", "end", "plane"), remedy)
    start, end = _numbers(path, lines, "start", starts), _numbers(path, lines, "end", ends)
    planes = [_plane(path, line, name) for line, name in zip(lines, names)]
    for row in np.flatnonzero(end <= start):
        raise InputError(
            f"{path}, line {lines[row]}: end {end[row]:g} is not after start {start[row]:g}; give both in seconds, "
            "start first."
        )
    order = np.argsort(start)
    for before, after in zip(order, order[1:]):
        if start[after] < end[before]:
            raise InputError(
                f"{path}: {planes[before]} (line {lines[before]}, {start[before]:g} to {end[before]:g} s) and "
                f"{planes[after]} (line {lines[after]}, {start[after]:g} to {end[after]:g} s) overlap; let one end "
                "where the other begins."
            )
    return tuple(PlaneInterval(float(start[row]), float(end[row]), planes[row]) for row in order)


def plane_at(intervals: Sequence[PlaneInterval], times: np.ndarray | Sequence[float] | float) -> np.ndarray:
    """The plane that is shown at each time.

    Args:
        intervals: intervals that do not overlap, in any order.
        times: seconds of video time, any shape.

    Returns:
        int64 array of the shape of ``times``: index into :data:`PLANES`; background where no interval covers the time.
    """
    seconds = np.asarray(times, dtype=np.float64)
    background = PLANES.index(StandardPlane.BACKGROUND.value)
    if not intervals:
        return np.full(seconds.shape, background, dtype=np.int64)
    ordered = sorted(intervals, key=lambda interval: interval.start)
    start = np.array([interval.start for interval in ordered])
    end = np.array([interval.end for interval in ordered])
    label = np.array([PLANES.index(interval.plane) for interval in ordered], dtype=np.int64)
    last = np.searchsorted(start, seconds, side="right") - 1  # the last interval that has begun; -1: none has
    row = np.maximum(last, 0)
    return np.where((last >= 0) & (seconds < end[row]), label[row], background)


def _plane(path: str | os.PathLike, line: int, name: str) -> StandardPlane:
    """The plane called ``name``, or an error that says where it stands."""
    try:
        return standard_plane(name)
    except InputError as error:
        raise InputError(f"{path}, line {line}: {error}") from None


def _nearest(name: str, known: Sequence[str]) -> str:
    """As :func:`nearest_name`, but a name that differs in upper and lower case only is always near."""
    same = [candidate for candidate in known if candidate.casefold() == name.casefold()]
    return f' Did you mean "{same[0]}"?' if same else nearest_name(name, known)


def _read_table(
    path: str | os.PathLike, columns: tuple[str, ...], without_rows: str | None, max_rows: int | None = None
) -> tuple[list[int], tuple[list[str], ...]]:
    """Read the named columns of a CSV file.

    Args:
        path: the file.
        columns: the columns to read; others are passed over.
        without_rows: what to do instead of giving a file with no rows (for the message); None: no rows are allowed.
        max_rows: read no further than so many rows below the header.

    Returns:
        The line number of each row, and the cells of each column without surrounding spaces.
    """
    rows = _read_rows(path, None if max_rows is None else max_rows + 1)
    if not rows:
        mend = f", or {without_rows}" if without_rows else ""
        raise InputError(f"{path}: the file is empty; give the columns {','.join(columns)}{mend}.")
    header = [cell.strip() for cell in rows[0][1]]
    place = [_column(path, name, header, columns) for name in columns]
    del rows[0]
    if not rows and without_rows:
        raise InputError(f"{path}: there is a header and no rows; {without_rows}.")
    for line, row in rows:
        if len(row) <= max(place):
            raise InputError(
                f"{path}, line {line}: {len(row)} cells where the header has {len(header)}; write every comma, also "
                "around empty cells."
            )
    return [line for line, _ in rows], tuple([row[index].strip() for _, row in rows] for index in place)


def _read_rows(path: str | os.PathLike, limit: int | None) -> list[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with its line number."""
    try:
        # utf-8-sig: spreadsheet programs put a byte order mark before the first column's name
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            filled = ((reader.line_num, row) for row in reader if any(map(str.strip, row)))
            return list(islice(filled, limit))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a text table; save it as CSV in UTF-8 ({error}).") from error


def _column(path: str | os.PathLike, name: str, header: list[str], wanted: tuple[str, ...]) -> int:
    """The place of a column in the header, or an error that says what the header has instead."""
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise InputError(f'{path}: there are {header.count(name)} columns "{name}"; keep one.')
    found = ", ".join(f'"{column}"' for column in header)
    mend = f'begin the file with the line "{",".join(wanted)}", separated by commas; further columns may follow.'
    raise InputError(f'{path}: no column "{name}" in the first line, which has {found}; {mend}{_nearest(name, header)}')


def _numbers(
    path: str | os.PathLike,
    lines: list[int],
    name: str,
    cells: list[str],
    if_missing: str = "give seconds, with a point before the decimals",
    optional: bool = False,
) -> np.ndarray:
    """The cells of one column as float64; empty cells become NaN where ``optional``, and are errors elsewhere."""
    try:
        values = np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)
        wrong = np.isinf(values) | (np.isnan(values) & (not optional))
    except ValueError:
        wrong = np.array([not _is_number(cell) for cell in cells])
    for row in np.flatnonzero(wrong):
        said = f'"{cells[row]}", which is no number' if cells[row] else "empty"
        raise InputError(f"{path}, line {lines[row]}: {name} is {said}; {if_missing}.")
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True
