# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Read a clip or a picture as the network wants it: the inside of the fan alone, small, at a low frame rate.

``FanCropd`` after ``UltrasoundVideoReader`` gives the same, with the whole clip in memory at its full size: 75 GB for
20 minutes of 1920 x 1080 at 30 frames a second. Here each frame is cropped as it is decoded, so that a clip takes
``size * size`` bytes a frame: for these 20 minutes, at 10 frames a second, 0.8 GB at 256 pixels and 0.1 GB at 96.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.utils import ensure_tuple

from monai_usspeech.data.files import InputError
from monai_usspeech.data.kept_picture import frame_stride, source_fan
from monai_usspeech.data.readers import UltrasoundVideoReader
from monai_usspeech.data.video import Channels, VideoFrame, VideoSource, open_video
from monai_usspeech.transforms.fan import check_box, crop_and_resize
from monai_usspeech.transforms.fan_geometry import Box

__all__ = ["FanVideoReader"]


class _CroppedVideo(VideoSource):
    """Another source's frames, cropped and resized one by one; every n-th alone is decoded to a picture."""

    def __init__(self, source: VideoSource, box: Box, size: int, every: int, notes: Sequence[str]) -> None:
        super().__init__(replace(source.info, width=size, height=size))
        self.source, self.box, self.size, self.every, self._notes = source, box, size, every, list(notes)

    def _frames(self, channels: Channels, stride: int, start: float, stop: float) -> Iterator[VideoFrame]:
        try:
            for frame in self.source.frames(channels, stride * self.every, start, stop):
                image = torch.from_numpy(np.ascontiguousarray(frame.image))[None]
                small = crop_and_resize(image, self.box, (self.size, self.size))[0].numpy()
                yield VideoFrame(frame.index, frame.time, small)
        finally:
            self.problems, self.truncated = [*self._notes, *self.source.problems], self.source.truncated

    def sample_frames(self, n: int) -> list[np.ndarray]:
        """See :meth:`VideoSource.sample_frames`."""
        images = (torch.from_numpy(image)[None] for image in self.source.sample_frames(n))
        return [crop_and_resize(image, self.box, (self.size, self.size))[0].numpy() for image in images]


class FanVideoReader(UltrasoundVideoReader):
    """Load a clip or a still picture as uint8 ``[1, T, size, size]``: the inner rectangle of the fan, resized.

    The crop is found as ``prepare`` finds it, on up to 16 frames spread over the file; where DICOM says which part of
    the picture is ultrasound, only there. A still picture is a clip of one frame.

    Metadata: as for :class:`UltrasoundVideoReader`, and ``fan_box``: (top, left, bottom, right) in source pixels.

    Args:
        size: side of the square frames, pixels.
        fan_crop: True: find the fan; False: the whole picture, for files that are cropped already; or the rectangle
            (top, left, bottom, right) in source pixels for all files. The words "true" and "false" are taken too, as a
            command line gives them.
        frame_rate: frames per second to keep, as nearly as leaving out frames evenly allows; None keeps all.
        start, stop: only frames with ``start <= time < stop`` (seconds); stop None: to the end.
        max_frames: at most so many frames; None: all.
        fps: frames per second for files that carry no clock.

    Raises:
        ValueError: for an option outside its range.
        InputError: from :meth:`get_data`, naming the file and the mend.
    """

    def __init__(
        self,
        size: int = 256,
        fan_crop: bool | str | Sequence[int] = True,
        frame_rate: float | None = 10.0,
        start: float = 0.0,
        stop: float | None = None,
        max_frames: int | None = None,
        fps: float | None = None,
    ) -> None:
        super().__init__("luma", start, stop, max_frames, fps=fps)
        if size < 1 or (frame_rate is not None and not frame_rate > 0):
            raise ValueError(f"size and frame_rate must be positive, got {size} and {frame_rate}.")
        if isinstance(fan_crop, str):
            if fan_crop.lower() not in ("true", "false"):
                raise ValueError(f"fan_crop must be true, false or [top, left, bottom, right], got {fan_crop!r}.")
            fan_crop = fan_crop.lower() == "true"
        self.size, self.fan_crop, self.frame_rate = size, fan_crop, frame_rate

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[Path]:  # type: ignore[override]
        """The files' names; they are opened in :meth:`get_data`, whose errors MONAI passes on as they are."""
        return [Path(name) for name in ensure_tuple(data)]

    def get_data(self, img: Sequence[PathLike] | PathLike) -> tuple[np.ndarray, dict]:  # type: ignore[override]
        """Open, crop and decode: (uint8 ``[1, T, size, size]``, metadata)."""
        return super().get_data([self._cropped(Path(name)) for name in ensure_tuple(img)])

    def _cropped(self, path: Path) -> _CroppedVideo:
        source = open_video(path, self.fps)
        box, notes = self._box(source)
        return _CroppedVideo(source, box, self.size, frame_stride(source.info.fps, self.frame_rate), notes)

    def _box(self, source: VideoSource) -> tuple[Box, tuple[str, ...]]:
        """The part of the picture to keep, source pixels, and notes for a person."""
        path, height, width = source.info.path, source.info.height, source.info.width
        if self.fan_crop is False:
            return Box(0, 0, height, width), ()
        if not isinstance(self.fan_crop, (bool, str)):
            try:
                return check_box(self.fan_crop, height, width), ()
            except ValueError as error:
                raise InputError(f"{path}: fan_crop: {error}. Correct it.") from error
        mend = "give --fan_crop false for pictures that are cropped already, or the part to use as --fan_crop"
        return source_fan(source, f'{mend} "[top, left, bottom, right]"')

    def _load(self, source: VideoSource) -> tuple[np.ndarray, dict]:
        video, meta = super()._load(source)
        if isinstance(source, _CroppedVideo):
            meta["fan_box"] = np.asarray(source.box, np.int64)
        return video, meta
