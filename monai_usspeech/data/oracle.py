# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The oracle: when what is said names what is on the screen, known where the truth is known.

It is kept as one more voice activity, so that a filter that cannot err takes the place of a voice detector and nothing
else changes. The phantom writes it from its own script; for recordings it may come from a transcript.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from monai_usspeech.data.annotations import _numbers, _read_table
from monai_usspeech.data.files import InputError

__all__ = ["ORACLE", "oracle_flags", "read_oracle"]

ORACLE = "oracle"
"""Name of the voice activity made from these intervals, and of the datalist's field."""


def read_oracle(path: str | os.PathLike) -> tuple[tuple[float, float], ...]:
    """Read an oracle CSV with the columns ``start,end``; further columns are passed over.

    Args:
        path: the file; each row is one interval [start, end) in seconds of video time during which a word sounds that
            names what is shown. Rows may be in any order and overlap. A header without rows is allowed: nothing fits.

    Returns:
        The intervals, sorted.

    Raises:
        InputError: when the file is missing or empty, lacks a column, holds something that is not a number, or has an
            interval that ends before it starts.
    """
    lines, cells = _read_table(path, ("start", "end"), None)
    start, end = (_numbers(path, lines, name, column) for name, column in zip(("start", "end"), cells))
    for row in np.flatnonzero(end <= start):
        raise InputError(
            f"{path}, line {lines[row]}: end {end[row]:g} is not after start {start[row]:g}; give both in seconds, "
            "start first."
        )
    return tuple(sorted(zip(start.tolist(), end.tolist())))


def oracle_flags(intervals: Sequence[tuple[float, float]], n_flags: int) -> np.ndarray:
    """The intervals as voice activity.

    Args:
        intervals: (start, end) in seconds.
        n_flags: how many flags of 10 ms.

    Returns:
        bool ``[n_flags]``: whether the middle of each 10 ms lies in an interval.
    """
    middles = (np.arange(n_flags) + 0.5) / 100
    flags = np.zeros(n_flags, np.bool_)
    for start, end in intervals:
        flags[slice(*np.searchsorted(middles, (start, end)))] = True
    return flags
