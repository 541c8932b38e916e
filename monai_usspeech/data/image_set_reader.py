# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The pixels of an image set at one size, kept in memory once read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import ensure_tuple_rep

from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_reading import is_picture, read_picture, read_video_frames, resize_picture
from monai_usspeech.data.image_sets import LabelledImage

__all__ = ["ImageSetReader"]


class ImageSetReader:
    """Reads pictures and frames of videos, stretched to one size.

    Args:
        images: all images that may be asked for: a video is decoded once for all of its frames that are among them.
        size: side of the images, or rows and columns, in pixels.
        channels: 1 for grey, 3 for RGB.
        keep_pictures: keep pictures in memory once read, ``C * H * W`` bytes each, in every worker process.
        keep_frames: the same of frames of videos; without it a video is decoded each time that it is asked for.
        owner: whose settings these are, for messages.

    Raises:
        InputError: when size or channels cannot be used.
    """

    def __init__(
        self,
        images: Iterable[LabelledImage],
        size: int | tuple[int, int] = 256,
        channels: int = 1,
        keep_pictures: bool = True,
        keep_frames: bool = True,
        owner: str = "ImageSetReader",
    ) -> None:
        self.size: tuple[int, int] = tuple(ensure_tuple_rep(size, 2))  # a list from JSON, or one number
        if min(self.size) < 1 or channels not in (1, 3):
            raise InputError(
                f"{owner}: size is {size} and channels {channels}; give pixels above 0, and 1 or 3 channels."
            )
        self.channels, self.keep_pictures, self.keep_frames = channels, keep_pictures, keep_frames
        self._times: dict[Path, set[float]] = {}
        for image in images:
            if not is_picture(image.image):
                self._times.setdefault(image.image, set()).add(image.time or 0.0)
        self._kept: dict[tuple[Path, float], np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}  # a worker that is started anew reads again

    def read(self, images: Sequence[LabelledImage]) -> np.ndarray:
        """The pixels of some images.

        Returns:
            uint8 ``[n, C, H, W]``, an array of its own.

        Raises:
            InputError: when a file cannot be read.
        """
        found: dict[tuple[Path, float], np.ndarray] = {}
        for image in images:
            if _key(image) not in found:
                found.update(self._found(image, images))
        pixels = np.stack([found[_key(image)] for image in images])
        return pixels[:, None] if self.channels == 1 else np.ascontiguousarray(np.moveaxis(pixels, -1, 1))

    def _found(self, image: LabelledImage, images: Sequence[LabelledImage]) -> dict[tuple[Path, float], np.ndarray]:
        """One image, and with it the frames of the same video that had to be decoded too."""
        key, path = _key(image), image.image
        if key in self._kept:
            return {key: self._kept[key]}
        if is_picture(path):
            read = {key: resize_picture(read_picture(path, self.channels), self.size)}
        else:
            asked = {other.time or 0.0 for other in images if other.image == path}
            times = sorted(self._times.get(path, set()) | asked if self.keep_frames else asked)
            frames = read_video_frames(path, times, self.channels)
            read = {(path, time): resize_picture(frame, self.size) for time, frame in zip(times, frames)}
        if self.keep_pictures if is_picture(path) else self.keep_frames:
            self._kept.update(read)
        return read


def _key(image: LabelledImage) -> tuple[Path, float]:
    return image.image, image.time or 0.0
