# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The course of one scan: search, approach a plane, dwell on it, freeze the picture now and then, leave.

Two clocks: *wall time* is what the recording shows; *tissue time* stands still while the picture is frozen. Sweeps and
motion run on tissue time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_usspeech.data.annotations import PlaneInterval, StandardPlane
from monai_usspeech.phantom.anatomy import ORGANS

__all__ = ["OUT_OF_SIGHT", "PLANE_DEPTH", "Sweep", "Timeline", "plan_timeline", "plane_intervals"]

#: out-of-plane offset at which every primitive has vanished
OUT_OF_SIGHT = 1.6
#: a frame shows the standard plane while the out-of-plane offset is below this; beyond, it is a near miss: background
PLANE_DEPTH = 0.33


def _smooth(share: np.ndarray) -> np.ndarray:
    """A step from 0 to 1 that begins and ends gently."""
    return np.asarray(share * share * (3 - 2 * share))


@dataclass(frozen=True)
class Sweep:
    """One pass of the probe, tissue time in seconds.

    Args:
        start, end: when it begins and ends.
        plane: the standard plane it stops at, or ``"background"`` for a pass without a stop.
        approach, leave: seconds spent coming into the plane and going out of it.
        origin, exit: signs of the out-of-plane offset at the beginning and at the end.
    """

    start: float
    end: float
    plane: str
    approach: float = 0.0
    leave: float = 0.0
    origin: int = 1
    exit: int = -1

    def offset(self, times: np.ndarray) -> np.ndarray:
        """Out-of-plane offset at tissue ``times``, without the hand's unrest."""
        if self.plane == "background":
            share = np.clip((times - self.start) / (self.end - self.start), 0.0, 1.0)
            return np.asarray(OUT_OF_SIGHT * (self.origin + (self.exit - self.origin) * share))
        near = np.clip((times - self.start) / self.approach, 0.0, 1.0)
        away = np.clip((times - self.end + self.leave) / self.leave, 0.0, 1.0)
        return np.asarray(OUT_OF_SIGHT * (self.origin * (1 - _smooth(near)) + self.exit * _smooth(away)))


@dataclass(frozen=True)
class Timeline:
    """The sweeps of a scan and its freezes.

    Args:
        sweeps: passes that follow one another without a gap, tissue time.
        freezes: (wall time, seconds) of each frozen picture.
    """

    sweeps: tuple[Sweep, ...]
    freezes: tuple[tuple[float, float], ...] = ()

    def tissue_time(self, wall: np.ndarray) -> np.ndarray:
        """Wall time to tissue time: less the frozen seconds passed so far."""
        wall = np.asarray(wall, dtype=np.float64)
        frozen = [np.clip(wall - start, 0.0, seconds) for start, seconds in self.freezes]
        return wall - np.sum(frozen, axis=0) if frozen else wall

    def sweep_numbers(self, tissue: np.ndarray) -> np.ndarray:
        """Which sweep is under way at each tissue time."""
        return np.searchsorted([sweep.end for sweep in self.sweeps[:-1]], tissue, side="right")

    def offset(self, tissue: np.ndarray) -> np.ndarray:
        """Out-of-plane offset of whichever sweep is under way."""
        numbers, offset = self.sweep_numbers(tissue), np.empty(len(tissue))
        for number in np.unique(numbers):
            offset[numbers == number] = self.sweeps[number].offset(tissue[numbers == number])
        return offset


def _next_plane(rng: np.random.Generator, current: str, left: list[str], loyalty: float) -> str:
    same_organ = [plane for plane in left if ORGANS[plane] == ORGANS[current]]
    pool = same_organ if same_organ and rng.random() < loyalty else left
    return pool[int(rng.integers(len(pool)))]


def plan_timeline(
    rng: np.random.Generator,
    seconds: float,
    first_plane: str,
    dwell: tuple[float, float] = (4.0, 8.0),
    search: tuple[float, float] = (1.5, 6.0),
    loyalty: float = 0.7,
    freeze_share: float = 0.5,
) -> Timeline:
    """Draw a scan's course.

    Args:
        rng: source of the numbers.
        seconds: wall time to fill.
        first_plane: the plane that is visited first.
        dwell: range of the seconds spent at a plane, frozen time included.
        search: range of the seconds between two planes.
        loyalty: probability that the next plane belongs to the same organ, when one is left.
        freeze_share: probability that the picture is frozen before the plane is left.
    """
    sweeps: list[Sweep] = []
    freezes: list[tuple[float, float]] = []
    tissue = frozen = 0.0
    left, plane = list(ORGANS), first_plane
    while tissue + frozen < seconds:
        length = rng.uniform(*search)
        passes = max(1, round(length / 2.2))  # a search is a row of short passes
        for sign in rng.choice([-1, 1], passes):
            sweeps.append(Sweep(tissue, tissue + length / passes, "background", origin=int(sign), exit=-int(sign)))
            tissue = sweeps[-1].end
        approach, leave = rng.uniform(0.6, 1.6, 2)
        stay, freeze = rng.uniform(*dwell), rng.uniform(0.8, 2.0)
        freeze = min(freeze, 0.4 * stay) if rng.random() < freeze_share else 0.0
        end = tissue + approach + stay - freeze + leave
        if freeze:
            freezes.append((end - leave - rng.uniform(0.0, 0.3) + frozen, freeze))
            frozen += freeze
        sweeps.append(Sweep(tissue, end, plane, approach, leave, *(int(s) for s in rng.choice([-1, 1], 2))))
        tissue = end
        left.remove(plane)
        left = left or list(ORGANS)
        plane = _next_plane(rng, plane, left, loyalty)
    return Timeline(tuple(sweeps), tuple(freezes))


def plane_intervals(
    timeline: Timeline, offset: np.ndarray, rate: float, seconds: float, least: float = 0.5
) -> tuple[PlaneInterval, ...]:
    """When a standard plane is on the screen: the offset is within :data:`PLANE_DEPTH`.

    Args:
        timeline: the scan's course.
        offset: out-of-plane offset with the hand's unrest, [N] samples over tissue time.
        rate: samples per second of ``offset``.
        seconds: wall time at which the scan ends.
        least: shorter visits are left out, and shorter losses of the plane are bridged.
    """
    wall = np.arange(round(seconds * rate)) / rate
    tissue = timeline.tissue_time(wall)
    shown = np.abs(np.interp(tissue, np.arange(len(offset)) / rate, offset)) < PLANE_DEPTH
    numbers = timeline.sweep_numbers(tissue)
    intervals = []
    for number in np.unique(numbers):
        at = np.flatnonzero(shown & (numbers == number))
        plane = timeline.sweeps[number].plane
        if plane == "background" or not len(at):
            continue
        pieces = np.split(at, np.flatnonzero(np.diff(at) > least * rate) + 1)
        spans = [(wall[piece[0]], min(wall[piece[-1]] + 1 / rate, seconds)) for piece in pieces]
        intervals += [PlaneInterval(float(a), float(b), StandardPlane(plane)) for a, b in spans if b - a >= least]
    return tuple(intervals)
