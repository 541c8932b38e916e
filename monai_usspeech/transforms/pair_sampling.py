# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The rule by which video-speech pairs are drawn: hard positives from the same clip, hard negatives from a
neighbouring interval.

docs/pairs.md shows it as a picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = [
    "STEP",
    "PairRecord",
    "PairSettings",
    "draw_pairs",
    "frame_on_display",
    "has_partner",
    "with_shared_window",
]

STEP = 0.01
"""Seconds between the window starts at which voice activity is known: one voice activity frame."""


@dataclass(frozen=True)
class PairRecord:
    """What was drawn for one clip: ``K`` independent triples (frame, positive window, negative window).

    Times are seconds of the scan. A start is NaN, and its activity too, where no window could be drawn; nothing is
    ever moved or clamped to make one fit. A shift is 0 where no negative interval could be drawn.

    Args:
        frame_times: float64 ``[K]``, in the clip.
        positive_starts: float64 ``[K]``, start of the speech window from the clip itself.
        negative_starts: float64 ``[K]``, start of the speech window from the shifted interval.
        shifts: int64 ``[K]``, signed, in the unit of ``shift_unit``.
        valid: bool ``[K]``, whether both windows were drawn and the triple may enter the pair losses.
        positive_activity: float64 ``[K]``, share of active voice in the window, in ``[0, 1]``; NaN when not known.
        negative_activity: float64 ``[K]``, likewise.
    """

    frame_times: np.ndarray
    positive_starts: np.ndarray
    negative_starts: np.ndarray
    shifts: np.ndarray
    valid: np.ndarray
    positive_activity: np.ndarray
    negative_activity: np.ndarray


@dataclass(frozen=True)
class PairSettings:
    """How pairs are drawn; the arguments of :func:`draw_pairs` of the same names."""

    clip_seconds: float = 2.0
    window_seconds: float = 0.6
    n_pairs: int = 2
    shift_range: int = 5
    shift_unit: str = "interval"
    shift_sign: str = "both"
    threshold: float = 0.5
    frame_seconds: float = 1 / 30

    def __post_init__(self) -> None:
        for name in ("clip_seconds", "window_seconds"):
            value = getattr(self, name)
            if value <= 0 or abs(value / STEP - round(value / STEP)) > 1e-6:
                raise ValueError(f"{name} must be a positive multiple of {STEP} s, got {value}.")
        if self.window_seconds >= self.clip_seconds:
            raise ValueError(f"A window ({self.window_seconds} s) must be shorter than a clip ({self.clip_seconds} s).")
        if self.n_pairs < 1 or self.shift_range < 2:
            raise ValueError(f"n_pairs must be >= 1 and shift_range >= 2, got {self.n_pairs} and {self.shift_range}.")
        if self.shift_unit not in ("interval", "second", "frame"):
            raise ValueError(f'shift_unit must be "interval", "second" or "frame", got "{self.shift_unit}".')
        if self.shift_sign not in ("both", "forward"):
            raise ValueError(f'shift_sign must be "both" or "forward", got "{self.shift_sign}".')
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {self.threshold}.")

    @property
    def shifts(self) -> np.ndarray:
        """All shifts that may be drawn: ``1 <= |q| <= shift_range - 1``."""
        forward = np.arange(1, self.shift_range)
        return forward if self.shift_sign == "forward" else np.concatenate([-forward[::-1], forward])

    @property
    def shift_seconds(self) -> float:
        """Length of one unit of shift."""
        return {"interval": self.clip_seconds, "second": 1.0, "frame": self.frame_seconds}[self.shift_unit]


def draw_pairs(
    rng: np.random.RandomState,
    clip: int,
    n_clips: int,
    clip_seconds: float = 2.0,
    window_seconds: float = 0.6,
    n_pairs: int = 2,
    shift_range: int = 5,
    shift_unit: str = "interval",
    shift_sign: str = "both",
    gate: bool = False,
    usable: np.ndarray | None = None,
    activity: np.ndarray | None = None,
    threshold: float = 0.5,
    frame_seconds: float = 1 / 30,
    activity_start: int = 0,
) -> PairRecord:
    """Draw ``K`` independent triples of a clip (Jiao et al., MICCAI 2020, section "hard positives, hard negatives").

    Clip ``n`` covers ``T = [n, n + 1) * clip_seconds``. The frame time and the positive window are drawn from ``T``,
    each on its own; the negative window from ``T' = T + q``, where ``q`` is uniform over the shifts ``1 <= |q| <=
    shift_range - 1`` whose interval lies in the scan and is usable. Positive and negative windows are drawn by one
    function and one rule, so that
    nothing but the words can tell them apart: uniformly over the starts inside their interval, and with ``gate`` over
    those starts whose share of active voice is at least ``threshold``. If no such window exists the triple is invalid.

    Args:
        rng: the random source.
        clip: number of the clip in its scan.
        n_clips: number of clips of the scan.
        clip_seconds: length of a clip.
        window_seconds: length of a speech window.
        n_pairs: ``K``.
        shift_range: ``D``, the "interval skip range".
        shift_unit: what ``q`` counts: ``"interval"`` (clips), ``"second"`` or ``"frame"``. With the last two ``T'``
            overlaps ``T`` for small ``q``: they are other readings of the paper, kept for comparison.
        shift_sign: ``"both"``, or ``"forward"`` for the literal ``T' = T + q`` with ``q > 0``.
        gate: draw only windows with enough voice.
        usable: bool ``[n_clips]``: the clips that speech covers and, when gated, that have enough voice. Default: all.
        activity: share of active voice of the window that starts at each 10 ms, ``[starts]``
            (:func:`~monai_usspeech.transforms.voice_activity.window_activity`). Needed when gated.
        threshold: the least share of active voice of a gated window.
        frame_seconds: length of a frame, for ``shift_unit="frame"``.
        activity_start: number of the 10 ms start to which ``activity[0]`` belongs.

    Raises:
        ValueError: on an argument out of its range, on shapes that do not agree, or when gated without ``activity``.
    """
    settings = PairSettings(
        clip_seconds, window_seconds, n_pairs, shift_range, shift_unit, shift_sign, threshold, frame_seconds
    )
    usable = np.ones(n_clips, bool) if usable is None else np.asarray(usable, bool)
    if usable.shape != (n_clips,) or not 0 <= clip < n_clips:
        raise ValueError(f"usable must be [{n_clips}] and clip in [0, {n_clips}), got {usable.shape} and clip {clip}.")
    if gate and activity is None:
        raise ValueError("gate=True needs activity: the share of active voice of the window that starts at each 10 ms.")
    intervals = _Intervals(settings, usable, activity, activity_start, gate)
    rows = [_draw_triple(rng, clip, settings, intervals) for _ in range(n_pairs)]
    frame, positive, negative, shift, positive_activity, negative_activity = (np.array(c) for c in zip(*rows))
    valid = ~np.isnan(positive) & ~np.isnan(negative)
    return PairRecord(frame, positive, negative, shift.astype(np.int64), valid, positive_activity, negative_activity)


class _Intervals:
    """Where windows may be drawn in one scan."""

    def __init__(
        self, settings: PairSettings, usable: np.ndarray, activity: np.ndarray | None, start: int, gate: bool
    ) -> None:
        self.settings, self.usable, self.activity, self.start, self.gate = settings, usable, activity, start, gate

    def may_use(self, begin: float) -> bool:
        """Whether the interval of a clip's length at ``begin`` lies in the scan and each clip it touches is usable."""
        length = self.settings.clip_seconds
        first, last = int(np.floor(begin / length + 1e-9)), int(np.ceil(begin / length + 1 - 1e-9))
        return 0 <= first and last <= len(self.usable) and bool(self.usable[first:last].all())

    def draw_window(self, rng: np.random.RandomState, begin: float) -> tuple[float, float]:
        """Draw a window of the interval at ``begin``: its start and its share of active voice, or NaN and NaN.

        A start is a 10 ms cell and a place inside it. Flags are constant over 10 ms, so the share is linear inside a
        cell: both ends at the threshold or above means every start between them too.
        """
        s = self.settings
        first = int(np.ceil(begin / STEP - 1e-6))
        cells = np.arange(first, first + round((s.clip_seconds - s.window_seconds) / STEP))
        known = None if self.activity is None else self._shares(first, len(cells) + 1)
        if self.gate and known is not None:
            cells = cells[(known[:-1] >= s.threshold) & (known[1:] >= s.threshold)]
        if len(cells) == 0:
            return np.nan, np.nan
        cell, within = int(cells[rng.randint(len(cells))]), rng.random_sample()
        share = np.nan if known is None else (1 - within) * known[cell - first] + within * known[cell - first + 1]
        return (cell + within) * STEP, float(share)

    def _shares(self, first: int, count: int) -> np.ndarray:
        """``activity`` at ``count`` starts from ``first``; 0 where the flags do not reach."""
        assert self.activity is not None
        out = np.zeros(count)
        begin = max(first, self.start)
        end = max(begin, min(first + count, self.start + len(self.activity)))
        out[begin - first : end - first] = self.activity[begin - self.start : end - self.start]
        return out


def _draw_triple(
    rng: np.random.RandomState, clip: int, settings: PairSettings, intervals: _Intervals
) -> tuple[float, float, float, int, float, float]:
    begin = clip * settings.clip_seconds
    frame_time = begin + settings.clip_seconds * rng.random_sample()
    if not intervals.usable[clip]:
        return frame_time, np.nan, np.nan, 0, np.nan, np.nan
    positive, positive_activity = intervals.draw_window(rng, begin)
    # The first of a random order that offers a window is uniform among all that do.
    for shift in rng.permutation(settings.shifts):
        shifted = begin + int(shift) * settings.shift_seconds
        if not intervals.may_use(shifted):
            continue
        negative, negative_activity = intervals.draw_window(rng, shifted)
        if not np.isnan(negative):
            return frame_time, positive, negative, int(shift), positive_activity, negative_activity
    return frame_time, positive, np.nan, 0, positive_activity, np.nan


def with_shared_window(record: PairRecord) -> PairRecord:
    """All frames of a clip meet one positive window: the first that was found, or none.

    Each window costs a pass through the speech stream; with one to a clip the same number of passes reaches more clips.
    Nothing else of the record is changed.
    """
    found = np.flatnonzero(~np.isnan(record.positive_starts))
    first = int(found[0]) if len(found) else 0
    shared = {
        name: np.full_like(getattr(record, name), getattr(record, name)[first])
        for name in ("positive_starts", "positive_activity")
    }
    return replace(record, **shared)


def has_partner(usable: np.ndarray, settings: PairSettings) -> np.ndarray:
    """Which usable clips have an interval in reach that could give their negative.

    Args:
        usable: bool ``[n_clips]``.
        settings: how pairs are drawn.

    Returns:
        bool ``[n_clips]``: usable, and at least one shifted interval lies in the scan and touches usable clips only.
    """
    clips = np.arange(len(usable))
    bad = np.concatenate([[0], np.cumsum(~usable)])
    found = np.zeros(len(usable), bool)
    for shift in settings.shifts:
        begin = clips + int(shift) * settings.shift_seconds / settings.clip_seconds
        first, last = np.floor(begin + 1e-9).astype(int), np.ceil(begin + 1 - 1e-9).astype(int)
        inside = (first >= 0) & (last <= len(usable))
        first, last = np.where(inside, first, 0), np.where(inside, last, 0)
        found |= inside & (bad[last] == bad[first])
    partner: np.ndarray = usable & found
    return partner


def frame_on_display(times: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The frame that is on the screen at each time: the last one presented by then, whatever the frame rate does.

    Args:
        times: presentation times, float64 ``[F]``, increasing, in seconds.
        at: times to look at, ``[n]``.

    Returns:
        int64 ``[n]`` indices into ``times``; the first frame before the first presentation.
    """
    # A time that was computed as a frame's own time may fall short of it by rounding.
    return np.maximum(np.searchsorted(times, np.asarray(at) + 1e-6, side="right") - 1, 0)
