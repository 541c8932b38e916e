# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""One scan of the phantom: its course, labels, sound and gaze, and its frames in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from monai_usspeech.data.annotations import PLANES, GazeTrack, PlaneInterval, plane_at
from monai_usspeech.phantom.anatomy import ORGANS, Anatomy, plane_anatomy
from monai_usspeech.phantom.background import background_anatomy, surroundings, womb
from monai_usspeech.phantom.gaze import draw_gaze
from monai_usspeech.phantom.geometry import SectorGeometry
from monai_usspeech.phantom.motion import MOTION_RATE, Motion, draw_motion
from monai_usspeech.phantom.narration import Narration, narrate
from monai_usspeech.phantom.nuisance import stretched
from monai_usspeech.phantom.overlay import Overlay
from monai_usspeech.phantom.primitives import Placement
from monai_usspeech.phantom.renderer import Look, Renderer
from monai_usspeech.phantom.soundtrack import mix_soundtrack
from monai_usspeech.phantom.streams import random_stream
from monai_usspeech.phantom.timeline import Timeline, plan_timeline, plane_intervals

if TYPE_CHECKING:
    from monai_usspeech.phantom.phantom import Phantom

__all__ = ["PhantomCourse"]

_BATCH_SAMPLES = 130_000  # polar samples drawn at once: maps of 0.5 MB stay in the cache, which halves the time


@contextmanager
def _one_thread() -> Iterator[None]:
    """Several threads on so small a grid cost more than they gain, and processes share the cores anyway."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class PhantomCourse:
    """All that happens in one scan. Made by :meth:`Phantom.course`.

    Args:
        phantom: the settings. index: number of the scan. first_plane: the plane that is visited first.

    Attributes:
        id, subject: names of the scan and of the subject.
        times: float64 [T], seconds of each frame.
        geometry: the fan. timeline: sweeps and freezes. motion: path of the tissue over tissue time.
        planes: when which standard plane is shown.
    """

    def __init__(self, phantom: Phantom, index: int, first_plane: str) -> None:
        self.phantom, self.index = phantom, index
        subject = index // phantom.scans_per_subject
        self.id, self.subject = phantom.scan_id(index), f"p{subject:03d}"
        self._subject_number = subject
        self.times = np.arange(max(1, round(phantom.seconds * phantom.frame_rate))) / phantom.frame_rate
        self.geometry = SectorGeometry.random(self._stream("geometry"), phantom.nuisance)
        self.timeline: Timeline = plan_timeline(
            self._stream("timeline"), phantom.seconds, first_plane, phantom.dwell, phantom.search,
            freeze_share=phantom.freeze_share,
        )  # fmt: skip
        grid = np.arange(int(self.timeline.sweeps[-1].end * MOTION_RATE) + 2) / MOTION_RATE
        self.motion: Motion = draw_motion(self._stream("motion"), self.timeline.offset(grid))
        self.planes: tuple[PlaneInterval, ...] = plane_intervals(
            self.timeline, self.motion.offset, MOTION_RATE, phantom.seconds
        )
        # below 1 the nuisance is also the share of the scans that may lie head down or mirrored at all
        self._mirror = bool(self._stream("lie").random() < 0.5 * min(phantom.nuisance, 1.0))
        self._lie = float(self._stream("lie", 1).choice([0.0, np.pi]))
        self._lie *= bool(self._stream("lie", 2).random() < phantom.nuisance)
        scale = float(random_stream(phantom.seed, "subject", subject).uniform(0.54, 0.68))
        self._scale = stretched(scale, 0.61, phantom.nuisance)

        resting = Placement(scale=self._scale)
        self._womb = tuple(resting.primitive(shape) for shape in womb(self._stream("womb")))

    def _stream(self, *keys: int | str) -> np.random.Generator:
        return random_stream(self.phantom.seed, "scan", self.index, *keys)

    def scene(self, number: int) -> Anatomy:
        """What sweep ``number`` shows: primitives and gaze targets in image units."""
        plane = self.timeline.sweeps[number].plane
        rng, nuisance = self._stream("scene", number), self.phantom.nuisance
        # a face is seen only from the front, through the fluid before it; everything else from either side
        rotation = (0.0 if ORGANS.get(plane) == "face" else self._lie) + rng.normal(0.0, 0.3 * nuisance)
        x, y = rng.normal((0.0, 1.15), (0.10 * nuisance, 0.08 * nuisance))
        placement = Placement(float(x), float(y), rotation, self._scale, self._mirror)
        if plane == "background":
            anatomy = background_anatomy(rng)
        else:
            own = random_stream(self.phantom.seed, "subject", self._subject_number, plane)
            fetus = plane_anatomy(plane, own, nuisance)
            anatomy = Anatomy((*surroundings(rng), *fetus.shapes), fetus.targets)
        targets = tuple(placement.point(*target) for target in anatomy.targets)
        shapes = tuple(placement.primitive(shape) for shape in anatomy.shapes)
        return Anatomy((*self._womb, *shapes), targets)

    def frames(self) -> Iterator[np.ndarray]:
        """Draw the video: uint8 [B, size, size] batches of a few frames, in order."""
        phantom = self.phantom
        size = max(1, _BATCH_SAMPLES // (phantom.grid[0] * phantom.grid[1]))
        renderer = Renderer(
            self.geometry,
            Look.random(self._stream("look"), phantom.nuisance),
            phantom.size,
            phantom.grid,
            self._stream("speckle"),
        )
        overlay = Overlay(phantom.size, self.geometry, self._stream("overlay"))
        noise_at = self._stream("noise").random((len(self.times), 2))
        tissue = self.timeline.tissue_time(self.times)
        still = np.diff(tissue, prepend=-1.0) < 1e-9
        numbers = self.timeline.sweep_numbers(tissue)
        for number in np.unique(numbers):
            shapes = self.scene(int(number)).shapes
            inside = np.flatnonzero(numbers == number)
            last = np.zeros(len(renderer.pixels), dtype=np.uint8)
            for start in range(0, len(inside), size):
                batch = inside[start : start + size]
                fresh = batch[~still[batch]]
                drawn = last[None]
                if len(fresh):
                    with _one_thread(), torch.inference_mode():
                        new = renderer.frames(shapes, self.motion.at(tissue[fresh]), noise_at[fresh]).numpy()
                    drawn = np.concatenate([drawn, new])
                pictures = drawn[np.cumsum(~still[batch])]  # a frozen frame repeats the one before it
                last = pictures[-1]
                canvas = np.zeros((len(batch), phantom.size * phantom.size), dtype=np.uint8)
                canvas[:, renderer.pixels.numpy()] = pictures
                images = canvas.reshape(len(batch), phantom.size, phantom.size)
                overlay.draw(images, self.times[batch], still[batch])
                yield images

    @cached_property
    def narration(self) -> Narration:
        """What is said, without the room."""
        return narrate(self._stream("narration"), self.phantom.seconds, self.planes, self.phantom.narration)

    def speech(self) -> np.ndarray:
        """The recording: int16 at 24 kHz from time 0."""
        presses = [start for start, _ in self.timeline.freezes if start < self.phantom.seconds]
        return mix_soundtrack(self._stream("soundtrack"), self.narration.voice, presses, self.phantom.snr)

    @cached_property
    def _targets(self) -> list[tuple[tuple[float, float], ...]]:
        return [self.scene(number).targets for number in range(len(self.timeline.sweeps))]

    def landmarks(self, wall: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where the landmarks of the plane on the screen are, the most important first.

        Args:
            wall: float64 [N], seconds; the plane is the one at the middle of them.

        Returns:
            (x [N], y [N]) of each landmark in image units; empty while no plane is shown.
        """
        middle = wall[len(wall) // 2]
        if PLANES[int(plane_at(self.planes, middle))] == "background":
            return []
        tissue = self.timeline.tissue_time(wall)
        number = int(self.timeline.sweep_numbers(tissue[len(tissue) // 2 : len(tissue) // 2 + 1])[0])
        state = self.motion.at(tissue)
        return [state.to_image(*target) for target in self._targets[number]]

    def gaze(self) -> GazeTrack:
        """The sonographer's gaze in canvas pixels."""
        phantom = self.phantom
        return draw_gaze(self._stream("gaze"), phantom.seconds, phantom.size, self.landmarks, phantom.gaze)
