# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which clips there are and how much voice they hold, as a few flat arrays: arithmetic instead of a list of records."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from monai_usspeech.data.store import StoredScan
from monai_usspeech.transforms.pair_sampling import STEP, PairSettings, has_partner
from monai_usspeech.transforms.voice_activity import clip_activity

__all__ = ["ClipIndex"]

_ROUNDING = 1e-3
"""Seconds by which a scan or its speech may fall short of a clip's end: times are rounded on their way here."""


class ClipIndex:
    """The clips of some scans, numbered one after the other.

    10,000 scans of 30 minutes are 9 million clips: 45 MB here, and 225 MB for their voice activity (one bit per 10 ms).

    Args:
        scans: the scans.
        clip_seconds: length of a clip.
        method: the voice activity to load; None: none.

    Raises:
        InputError: when a scan with speech does not have this voice activity.
    """

    def __init__(self, scans: Sequence[StoredScan], clip_seconds: float, method: str | None) -> None:
        self.clip_seconds = clip_seconds
        counts = [int((scan.duration + _ROUNDING) / clip_seconds) for scan in scans]
        self.offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        """int64 ``[scans + 1]``: number of the first clip of each scan."""
        self.covered = np.concatenate([np.zeros(0, bool), *map(self._covered, scans, counts)])
        """bool ``[clips]``: clips that speech covers from end to end."""
        self.activity: np.ndarray | None = None
        """float32 ``[clips]``: share of active voice; None without a method."""
        self._flags: list[tuple[np.ndarray, int]] = []
        if method is not None:
            shares = [self._load(scan, count, method) for scan, count in zip(scans, counts)]
            self.activity = np.concatenate([np.zeros(0, np.float32), *shares])

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def _covered(self, scan: StoredScan, count: int) -> np.ndarray:
        if not scan.has_speech:
            return np.zeros(count, bool)
        first, last = scan.speech_range
        begins = np.arange(count) * self.clip_seconds
        return (begins >= first - _ROUNDING) & (begins + self.clip_seconds <= last + _ROUNDING)

    def _load(self, scan: StoredScan, count: int, method: str) -> np.ndarray:
        flags = scan.voice_activity(method) if scan.has_speech else np.zeros(0, bool)
        self._flags.append((np.packbits(flags), len(flags)))
        share = np.asarray(clip_activity(flags, round(self.clip_seconds / STEP)), np.float32)[:count]
        return np.pad(share, (0, count - len(share)))

    def rearranged(self, source: np.ndarray, coverage: bool) -> ClipIndex:
        """The same clips with the voice activity of others.

        Args:
            source: int64 ``[clips]``: the clip whose voice activity each clip gets.
            coverage: whether the coverage by speech goes with it.

        Returns:
            Another index; this one stays as it is.
        """
        other = copy.copy(self)
        other.covered = self.covered[source] if coverage else self.covered
        if self.activity is None:
            return other
        per_clip, counts = round(self.clip_seconds / STEP), np.diff(self.offsets)
        rows = [np.zeros((0, -(-per_clip // 8)), np.uint8)]
        for (packed, length), count in zip(self._flags, counts):
            flags = np.unpackbits(packed, count=length)[: count * per_clip]
            whole = np.pad(flags, (0, count * per_clip - len(flags))).reshape(count, per_clip)
            rows.append(np.packbits(whole, axis=1))
        moved = np.concatenate(rows)[source]
        parts = (moved[begin:end] for begin, end in zip(self.offsets, self.offsets[1:]))
        lines = (np.unpackbits(part, axis=1, count=per_clip).reshape(-1) for part in parts)
        other._flags = [(np.packbits(line), len(line)) for line in lines]
        other.activity = self.activity[source]
        return other

    def locate(self, number: int) -> tuple[int, int]:
        """``(scan, clip)`` of clip ``number``; negative numbers count from the end.

        Raises:
            IndexError: when there is no such clip.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(f"Clip {number} does not exist: there are {len(self)}.")
        number = int(number) % len(self)
        scan = int(np.searchsorted(self.offsets, number, side="right")) - 1
        return scan, number - int(self.offsets[scan])

    def usable(self, threshold: float | None, scan: int | None = None) -> np.ndarray:
        """Clips that speech covers and whose share of active voice reaches ``threshold`` (None: any share).

        Args:
            threshold: in ``[0, 1]``.
            scan: of this scan only.

        Returns:
            bool ``[clips]``, of the scan or of all.
        """
        part = slice(None) if scan is None else slice(*self.offsets[scan : scan + 2])
        covered: np.ndarray = self.covered[part]
        if threshold is None or self.activity is None:
            return covered
        reached: np.ndarray = covered & (self.activity[part] >= threshold)
        return reached

    def with_partner(self, threshold: float | None, settings: PairSettings) -> np.ndarray:
        """bool ``[clips]``: usable clips that have a usable interval in reach for their negative."""
        usable = self.usable(threshold)
        pieces = [has_partner(part, settings) for part in np.split(usable, self.offsets[1:-1])]
        return np.concatenate([np.zeros(0, bool), *pieces])

    def flags(self, scan: int, first_clip: int, end_clip: int) -> tuple[int, np.ndarray]:
        """Voice activity around some clips of a scan.

        Returns:
            The number of the first flag, and the flags (bool) from there to the end of clip ``end_clip - 1`` or of
            the scan.
        """
        packed, count = self._flags[scan]
        per_clip = round(self.clip_seconds / STEP)
        first = max(first_clip, 0) * per_clip // 8 * 8
        end = min(end_clip * per_clip, count)
        if first >= end:
            return first, np.zeros(0, bool)
        return first, np.unpackbits(packed[first // 8 : -(-end // 8)], count=end - first).astype(bool)
