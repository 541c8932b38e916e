# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""SYNTHETIC ultrasound scans with narration, gaze and plane labels, each a pure function of (seed, index)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from monai_usspeech.data.annotations import GazeTrack, PlaneInterval
from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.phantom.anatomy import PLANE_BUILDERS
from monai_usspeech.phantom.course import PhantomCourse
from monai_usspeech.phantom.narration import NarrationStyle, WordEvent
from monai_usspeech.phantom.streams import random_stream

__all__ = ["Phantom", "PhantomScan"]


@dataclass(frozen=True, eq=False)
class PhantomScan:
    """One whole SYNTHETIC scan in memory.

    Attributes:
        id: ``"s000"`` for scan 0. subject: ``"p000"`` for the first subject.
        frames: uint8 [T, size, size], grey, with the machine's writing beside the fan.
        times: float64 [T], seconds of each frame; the first is 0.
        speech: int16 [round(24000 * seconds)], 24 kHz, from time 0.
        gaze: gaze track in canvas pixels.
        planes: when which standard plane is shown, in order; background in between.
        words: every spoken word, in order.
        fan_outline: float64 [N, 2], border of the fan as a closed polygon of (column, row) in pixels.
        fan_mask: bool [size, size], the fan's pixels.
    """

    id: str
    subject: str
    frames: np.ndarray
    times: np.ndarray
    speech: np.ndarray
    gaze: GazeTrack
    planes: tuple[PlaneInterval, ...]
    words: tuple[WordEvent, ...]
    fan_outline: np.ndarray
    fan_mask: np.ndarray


class Phantom:
    """A source of SYNTHETIC scans: B-mode video, narration, gaze and plane labels.

    Scan ``index`` depends on the settings, ``seed`` and ``index`` only: not on which other scans are made, in what
    order or by how many processes. The course of the scan, the motion and the sound do not depend on ``size``,
    ``frame_rate`` and ``grid``. Pixels may differ by a grey level between machines or versions of torch.

    Args:
        seed: at least 0.
        size: canvas height and width in pixels, even, at least 96.
        frame_rate: frames per second.
        seconds: length of a scan.
        dwell: range of the seconds spent at a plane. A hard negative a few seconds away shows another plane only while
            this is short compared with the shift.
        search: range of the seconds between two planes.
        freeze_share: probability that the picture is frozen before a plane is left.
        narration: how densely and faithfully the scan is narrated: a :class:`NarrationStyle` or its arguments.
        snr: range of the speech-to-noise ratio of a scan's sound, dB.
        grid: beams and depth samples of the polar grid on which the picture is computed; the cost is proportional to
            their product.
        scans_per_subject: consecutive scans that show the same fetus.

    Raises:
        InputError: when a setting is out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        size: int = 256,
        frame_rate: float = 30.0,
        seconds: float = 60.0,
        dwell: tuple[float, float] = (4.0, 8.0),
        search: tuple[float, float] = (1.5, 6.0),
        freeze_share: float = 0.5,
        narration: NarrationStyle | Mapping[str, Any] | None = None,
        snr: tuple[float, float] = (8.0, 22.0),
        grid: tuple[int, int] = (128, 224),
        scans_per_subject: int = 1,
    ) -> None:
        self.seed, self.size = _whole("seed", seed), _whole("size", size)
        self.frame_rate, self.seconds = _number("frame_rate", frame_rate), _number("seconds", seconds)
        self.dwell, self.search, self.snr = (_range(name, pair) for name, pair in _named(dwell, search, snr))
        self.freeze_share = _number("freeze_share", freeze_share)
        self.narration = _narration_style(narration)
        self.grid = _grid(grid)
        self.scans_per_subject = _whole("scans_per_subject", scans_per_subject)
        self._check()

    def _check(self) -> None:
        least = {"seed": 0, "size": 96, "scans_per_subject": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InputError(f"Phantom: {name} is {getattr(self, name)}; it must be at least {bound}.")
        if self.size % 2:
            raise InputError(f"Phantom: size is {self.size}; it must be even, or the video cannot be encoded.")
        if min(self.seconds, self.frame_rate, self.dwell[0], self.search[0]) <= 0:
            raise InputError("Phantom: seconds, frame_rate, dwell and search must be greater than 0.")
        if not 0 <= self.freeze_share <= 1:
            raise InputError(f"Phantom: freeze_share is {self.freeze_share}; a probability lies in 0..1.")
        if min(self.grid) < 16:
            raise InputError(f"Phantom: grid is {self.grid}; give at least 16 beams and 16 depth samples.")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON-able values; equal settings give equal scans."""
        values = {name: getattr(self, name) for name in ("seed", "size", "frame_rate", "seconds", "freeze_share")}
        values |= {name: list(getattr(self, name)) for name in ("dwell", "search", "snr", "grid")}
        style = {field.name: getattr(self.narration, field.name) for field in fields(self.narration)}
        style["lag"] = list(self.narration.lag)
        return {**values, "scans_per_subject": self.scans_per_subject, "narration": style}

    def course(self, index: int) -> PhantomCourse:
        """Everything about a scan but its pixels, which the course draws in batches when asked.

        Args:
            index: number of the scan, at least 0.
        """
        if index < 0:
            raise InputError(f"Phantom: scan index is {index}; it must be at least 0.")
        order = random_stream(self.seed, "order").permutation(len(PLANE_BUILDERS))
        first = list(PLANE_BUILDERS)[order[index % len(order)]]  # every plane comes first once in 13 scans
        return PhantomCourse(self, int(index), first)

    def scan(self, index: int) -> PhantomScan:
        """Make one scan.

        Args:
            index: number of the scan, at least 0.

        Returns:
            the scan with all its frames in memory (``seconds * frame_rate * size ** 2`` bytes).
        """
        course = self.course(index)
        frames = np.concatenate(list(course.frames()))
        return PhantomScan(
            course.id,
            course.subject,
            frames,
            course.times,
            course.speech(),
            course.gaze(),
            course.planes,
            course.narration.words,
            course.geometry.outline(self.size),
            course.geometry.mask(self.size),
        )


def _named(dwell: Any, search: Any, snr: Any) -> list[tuple[str, Any]]:
    return [("dwell", dwell), ("search", search), ("snr", snr)]


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"Phantom: {name} is {value!r}; give a number.")
    return number


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != int(number):
        raise InputError(f"Phantom: {name} is {value!r}; give a whole number.")
    return int(number)


def _pair(name: str, values: Any) -> tuple[float, float]:
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 2:
        raise InputError(f"Phantom: {name} is {values!r}; give two numbers, such as [4, 8].")
    return _number(name, values[0]), _number(name, values[1])


def _range(name: str, values: Any) -> tuple[float, float]:
    low, high = _pair(name, values)
    if low > high:
        raise InputError(f"Phantom: {name} is {values!r}; give two numbers, the smaller first.")
    return low, high


def _grid(values: Any) -> tuple[int, int]:
    beams, depths = _pair("grid", values)
    return _whole("grid", beams), _whole("grid", depths)


def _narration_style(narration: NarrationStyle | Mapping[str, Any] | None) -> NarrationStyle:
    if isinstance(narration, NarrationStyle):
        return narration
    if narration is not None and not isinstance(narration, Mapping):
        raise InputError(f"Phantom: narration is {narration!r}; give its settings by name, such as {{'gap': 0.6}}.")
    known = [field.name for field in fields(NarrationStyle)]
    for name in narration or {}:
        if name not in known:
            raise InputError(f"Phantom: narration has no setting {name}.{nearest_name(name, known)}")
    values: dict[str, Any] = dict(narration or {})
    if "lag" in values:
        values["lag"] = _range("narration lag", values["lag"])
    try:
        return NarrationStyle(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"Phantom: narration: {error}") from error
