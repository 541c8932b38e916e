# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Frames with where the sonographer looked, as maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.utils import ensure_tuple_rep
from torch import Tensor

from monai_usspeech.data.annotations import GazeTrack
from monai_usspeech.data.files import InputError
from monai_usspeech.data.frames import FrameDataset
from monai_usspeech.data.splits import scan_annotated
from monai_usspeech.data.store import StoredScan
from monai_usspeech.transforms.gaze_map import augmented_points, blur_fixations, fixation_map, inside_picture

__all__ = ["GazeDataset", "gaze_in_frame", "gaze_near"]

_ROUNDING = 1e-3
"""Seconds by which times in a gaze file may be off: many are written with three decimals."""

_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
"""The last place inside a picture: rounding to float32 must not push a point out."""


def gaze_in_frame(scan: StoredScan, gaze: GazeTrack) -> np.ndarray:
    """Gaze as shares of the stored frame.

    Gaze is in pixels of the source frame, where the centre of the first pixel is 0; the stored frame is the fan box,
    ``[top, bottom) x [left, right)`` in the same pixels.

    Args:
        scan: whose fan box counts.
        gaze: the samples, ``G`` of them.

    Returns:
        float64 ``[G, 2]``: row and column, in [0, 1) inside the stored frame; NaN where there is no fix.
    """
    top, left, bottom, right = scan.fan_box
    return np.stack([(gaze.y + 0.5 - top) / (bottom - top), (gaze.x + 0.5 - left) / (right - left)], axis=1)


def gaze_near(times: np.ndarray, at: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The gaze samples at most ``reach`` seconds from each moment.

    Args:
        times: of the samples, float64 ``[G]``, never decreasing.
        at: the moments, float64 ``[n]``.
        reach: seconds.

    Returns:
        First sample and end (excluded) for each moment, int64 ``[n]`` both.
    """
    return np.searchsorted(times, at - reach, side="left"), np.searchsorted(times, at + reach, side="right")


class GazeDataset(FrameDataset):
    """Frames with gaze, and saliency maps made of it. Further arguments are those of :class:`FrameDataset`.

    A frame's gaze is all samples with a fix within ``window`` frames of the source video before and after it. Frames
    without such a sample inside the stored picture (the fan crop) are left out; :meth:`summary` says how many. A sample
    has two more keys:

    ``fixations``
        bool ``[h, w]``: the cells that the eye fell on, at least one.
    ``saliency``
        float32 ``[h, w]``: the same blurred by a Gaussian, summing to 1.

    Both belong to the *augmented* picture: crop and mirror image act on the gaze too. A drawn crop that would lose all
    of a frame's gaze gives way to the whole picture; the mirror image, gain and gamma that were drawn stay.

    Args:
        map_size: rows and columns of the maps.
        sigma: standard deviation of the blur as a share of the map's width.
        window: frames of the source video on both sides.

    Raises:
        InputError: as :class:`FrameDataset`, and when none of the chosen scans has gaze, or all of it lies outside the
            stored pictures.
    """

    def __init__(
        self,
        *args: Any,
        map_size: int | tuple[int, int] = (64, 64),
        sigma: float = 0.02,
        window: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.map_size = ensure_tuple_rep(map_size, 2)
        if not (sigma > 0 and window >= 0 and min(self.map_size) > 0):
            raise InputError(
                f"GazeDataset: map_size and sigma must be positive and window not negative, got {map_size}, {sigma}"
                f" and {window}."
            )
        self.sigma, self.window = sigma, window
        self._points: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []
        self._dropped = {"without_gaze": 0, "outside_picture": 0}
        super().__init__(*args, **kwargs)
        self.points = np.concatenate(self._points)
        """float32 ``[P, 2]``: row and column of the gaze of all items, shares of the stored frame."""
        self.point_offsets = np.concatenate([[0], np.cumsum(np.concatenate(self._counts), dtype=np.int64)])
        """int64 ``[N + 1]``: the first point of each item."""
        del self._points, self._counts

    def _serves(self, scan: StoredScan) -> bool:
        return scan_annotated(scan, "gaze")

    def _annotated(self, scan: StoredScan, frames: np.ndarray) -> np.ndarray:
        gaze = StoredScan(scan.path).gaze  # of an object of its own: the scan itself would keep the samples for ever
        assert gaze is not None
        fixed = gaze.has_fix
        time, place = gaze.time[fixed], gaze_in_frame(scan, gaze)[fixed]
        inside = inside_picture(place).numpy()
        reach, at = self.window * _frame_interval(scan) + _ROUNDING, scan.times[frames]
        looked = np.subtract(*gaze_near(time, at, reach)) != 0
        first, end = gaze_near(time[inside], at, reach)
        counts = end - first
        kept = counts > 0
        self._dropped["without_gaze"] += int((~looked).sum())
        self._dropped["outside_picture"] += int((looked & ~kept).sum())
        # Samples first[n] .. end[n] - 1 of each frame n, one frame after the other.
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        points = place[inside][np.repeat(first, counts) + within].astype(np.float32)
        self._points.append(np.minimum(points, _BELOW_ONE))
        self._counts.append(counts[kept])
        usable: np.ndarray = frames[kept]
        return usable

    def item_points(self, number: int) -> np.ndarray:
        """The gaze of an item before augmentation: float32 ``[n, 2]``, row and column as shares of the stored frame."""
        return self.points[slice(*self.point_offsets[number : number + 2])]

    def fixation_counts(self) -> np.ndarray:
        """How many frames of each scan have a fixation in each cell, before augmentation: int64 ``[scans, h, w]``."""
        counts = np.zeros((len(self.scans), *self.map_size), np.int64)
        for scan_index, (first, end) in enumerate(zip(self.offsets, self.offsets[1:])):
            for item in range(first, end):
                counts[scan_index] += fixation_map(self.item_points(item), self.map_size).numpy()
        return counts

    def _complete(self, sample: dict[str, Any], number: int) -> None:
        points, affine = torch.from_numpy(self.item_points(number)).double(), sample["image_affine"]
        if self.augment is not None:
            moved = augmented_points(points, affine)
            if not bool(inside_picture(moved).any()):
                affine = np.array([[np.sign(affine[0, 0]), 0, 0], [0, 1, 0]], dtype=np.float32)
                moved = augmented_points(points, affine).clamp(0, _BELOW_ONE)  # 0 is mirrored to 1, which is outside
            points, sample["image_affine"] = moved, affine
        sample["fixations"] = fixation_map(points, self.map_size)

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Tensor]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int | tuple[int, int]]) -> list[dict[str, Tensor]]:
        """Fetch a batch; its maps are blurred together, which is faster than one by one."""
        samples = [FrameDataset.__getitem__(self, item) for item in items]
        maps = blur_fixations(torch.stack([sample["fixations"] for sample in samples]), self.sigma)
        for sample, saliency in zip(samples, maps):
            sample["saliency"] = saliency
        return samples

    def _why_empty(self, n_scans: int) -> str:
        if not self.scans:
            return (
                f"none of the {n_scans} chosen scans has gaze with a fix; name a gaze file for them in the datalist and"
                " run prepare again (no video is read a second time), or choose other subjects."
            )
        lost = self._dropped
        return (
            f"no frame has gaze inside its picture: {lost['without_gaze']} have no gaze near their time, and that of"
            f" {lost['outside_picture']} lies outside the fan crop; check that the gaze files give seconds from the"
            " video's first frame and pixels of the source frame."
        )

    def summary(self) -> dict[str, Any]:
        """As :meth:`FrameDataset.summary`, with the gaze points of a frame and the shares of frames left out."""
        total = len(self) + sum(self._dropped.values())
        return {
            **super().summary(),
            "points_per_frame": len(self.points) / len(self),
            "share_without_gaze": self._dropped["without_gaze"] / total,
            "share_outside_picture": self._dropped["outside_picture"] / total,
            "share_dropped": sum(self._dropped.values()) / total,
        }


def _frame_interval(scan: StoredScan) -> float:
    """Seconds from one frame of the source video to the next; the store may have kept one of several."""
    if scan.n_frames < 2:
        return 1 / 30
    return float(np.median(np.diff(scan.times) / np.maximum(np.diff(scan.source_frames), 1)))
