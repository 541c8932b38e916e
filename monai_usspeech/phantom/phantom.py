# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""SYNTHETIC ultrasound scans with narration, gaze and plane labels, each a pure function of (seed, index)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from monai_usspeech.data.annotations import GazeTrack, PlaneInterval
from monai_usspeech.data.files import InputError
from monai_usspeech.phantom.anatomy import PLANE_BUILDERS
from monai_usspeech.phantom.course import PhantomCourse
from monai_usspeech.phantom.difficulty import difficulty_settings
from monai_usspeech.phantom.gaze import GazeStyle
from monai_usspeech.phantom.narration import NarrationStyle, WordEvent
from monai_usspeech.phantom.nuisance import MOST_NUISANCE
from monai_usspeech.phantom.settings import number, number_range, style_of, whole_number, whole_pair
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
        dwell: range of the seconds spent at a plane (default 4 to 8). A hard negative a few seconds away shows another
            plane only while this is short compared with the shift.
        search: range of the seconds between two planes (default 1.5 to 6).
        freeze_share: probability that the picture is frozen before a plane is left.
        narration: how densely and faithfully the scan is narrated: a :class:`NarrationStyle`, or those of its arguments
            that are to differ.
        snr: range of the speech-to-noise ratio of a scan's sound, dB (default 8 to 22).
        grid: beams and depth samples of the polar grid on which the picture is computed; the cost is proportional to
            their product.
        scans_per_subject: consecutive scans that show the same fetus.
        nuisance: how far scans differ in what says nothing about the plane: fan, gain, dynamic range, time-gain error,
            noise, resolution, size, lie, mirror image, position and rotation, and each fetus' own build. A factor on
            all of these spreads: 0 leaves the mean of each, 1 is the default, at most 2. Course, planes, words and
            sound do not depend on it.
        gaze: how the sonographer looks: a :class:`~monai_usspeech.phantom.gaze.GazeStyle`, or those of its arguments
            that are to differ.
        difficulty: ``"easy"``, ``"standard"``, ``"hard"`` or ``"demo"``: values of ``dwell``, ``search``, ``snr``,
            ``narration``, ``nuisance`` and ``gaze`` (:data:`~monai_usspeech.phantom.difficulty.DIFFICULTIES`) that
            hold where these are None or do not name the setting. None: the defaults of this class.

    Raises:
        InputError: when a setting is out of range.
    """

    def __init__(
        self,
        seed: int = 0,
        size: int = 256,
        frame_rate: float = 30.0,
        seconds: float = 60.0,
        dwell: tuple[float, float] | None = None,
        search: tuple[float, float] | None = None,
        freeze_share: float = 0.5,
        narration: NarrationStyle | Mapping[str, Any] | None = None,
        snr: tuple[float, float] | None = None,
        grid: tuple[int, int] = (128, 224),
        scans_per_subject: int = 1,
        nuisance: float | None = None,
        gaze: GazeStyle | Mapping[str, Any] | None = None,
        difficulty: str | None = None,
    ) -> None:
        preset = difficulty_settings(difficulty)
        self.seed, self.size = whole_number("seed", seed), whole_number("size", size)
        self.frame_rate, self.seconds = number("frame_rate", frame_rate), number("seconds", seconds)
        self.dwell, self.search, self.snr = (
            number_range(name, preset.get(name, default) if given is None else given)
            for name, given, default in (
                ("dwell", dwell, (4.0, 8.0)), ("search", search, (1.5, 6.0)), ("snr", snr, (8.0, 22.0)),
            )
        )  # fmt: skip
        self.freeze_share = number("freeze_share", freeze_share)
        self.nuisance = number("nuisance", preset.get("nuisance", 1.0) if nuisance is None else nuisance)
        self.narration: NarrationStyle = style_of("narration", NarrationStyle, narration, preset.get("narration", {}))
        self.gaze: GazeStyle = style_of("gaze", GazeStyle, gaze, preset.get("gaze", {}))
        self.grid = whole_pair("grid", grid)
        self.scans_per_subject = whole_number("scans_per_subject", scans_per_subject)
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
        if not 0 <= self.nuisance <= MOST_NUISANCE:
            raise InputError(f"Phantom: nuisance is {self.nuisance}; it must lie in 0..{MOST_NUISANCE:g}.")
        if min(self.grid) < 16:
            raise InputError(f"Phantom: grid is {self.grid}; give at least 16 beams and 16 depth samples.")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON-able values; equal settings give equal scans."""
        single = ("seed", "size", "frame_rate", "seconds", "freeze_share", "scans_per_subject", "nuisance")
        values = {name: getattr(self, name) for name in single}
        values |= {name: list(getattr(self, name)) for name in ("dwell", "search", "snr", "grid")}
        for name in ("narration", "gaze"):
            style = asdict(getattr(self, name)).items()
            values[name] = {key: list(value) if isinstance(value, tuple) else value for key, value in style}
        return values

    @staticmethod
    def scan_id(index: int) -> str:
        """The name of scan ``index``: ``"s007"``, ``"s1000"``."""
        return f"s{index:03d}"

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
