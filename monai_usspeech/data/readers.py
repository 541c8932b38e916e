# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""MONAI image readers for ultrasound video: ``LoadImaged(keys, reader="monai_usspeech.data.readers....")``.

They return uint8 ``[C, T, H, W]`` with the time of every frame in the metadata. Give ``dtype=None`` to ``LoadImaged``,
which otherwise makes the video float32, four times as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data.image_reader import ImageReader, _copy_compatible_dict, _stack_images
from monai.data.utils import is_supported_format
from monai.transforms.io.array import SUPPORTED_READERS
from monai.utils import MetaKeys, ensure_tuple

from monai_usspeech.data.files import InputError
from monai_usspeech.data.ultrasuite import UltraSuiteSource
from monai_usspeech.data.video import Channels, VideoSource, check_file, open_video

__all__ = ["UltraSuiteReader", "UltrasoundVideoReader", "register_readers"]

_SUFFIXES = ["mp4", "m4v", "mov", "avi", "mkv", "webm", "mpeg", "mpg", "ts", "mts", "wmv", "gif"]


class UltrasoundVideoReader(ImageReader):
    """Load an ultrasound video as uint8 ``[C, T, H, W]`` (C is 1 for luma, 3 for RGB).

    Reads MP4, MOV, AVI, MKV, MPEG, GIF by PyAV, DICOM cine and NIfTI cine. The whole selection is held in memory: for
    a long scan choose ``start`` and ``stop``, ``stride`` or ``max_frames``.

    Metadata: ``original_channel_dim`` 0, ``spatial_shape`` (T, H, W), ``affine`` (identity), ``frame_times`` float64
    [T] seconds from the first frame of the file, ``frame_indices`` int64 [T], ``fps`` (0 where unknown),
    ``start_time``, ``kind``, ``truncated`` and ``problems``.

    Args:
        channels: ``"luma"`` or ``"rgb"``.
        start, stop: only frames with ``start <= time < stop`` (seconds); stop None: to the end.
        max_frames: at most so many frames; None: all.
        stride: every ``stride``-th frame.
        fps: frames per second for files that carry no clock.

    Raises:
        ValueError: for an option outside its range.
        InputError: from :meth:`read` and :meth:`get_data`, naming the file and the mend.
    """

    def __init__(
        self,
        channels: Channels = "luma",
        start: float = 0.0,
        stop: float | None = None,
        max_frames: int | None = None,
        stride: int = 1,
        fps: float | None = None,
    ) -> None:
        super().__init__()
        if channels not in ("luma", "rgb"):
            raise ValueError(f'channels must be "luma" or "rgb", got {channels!r}.')
        if stop is not None and stop <= start:
            raise ValueError(f"stop must be after start, got start={start} and stop={stop}.")
        if stride < 1 or (max_frames is not None and max_frames < 1):
            raise ValueError(f"stride and max_frames must be at least 1, got {stride} and {max_frames}.")
        self.channels, self.start, self.stop = channels, start, stop
        self.max_frames, self.stride, self.fps = max_frames, stride, fps

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether automatic choice should take this reader: for video suffixes.

        DICOM and NIfTI are left to MONAI's own readers there, which read volumes; name this reader to read a cine.
        """
        return bool(is_supported_format(filename, _SUFFIXES))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> VideoSource | list[VideoSource]:
        """Open one file or several of equal size, whose channels are then stacked."""
        sources = [self._open(Path(name)) for name in ensure_tuple(data)]
        return sources if len(sources) > 1 else sources[0]

    def get_data(self, img: VideoSource | Sequence[VideoSource]) -> tuple[np.ndarray, dict]:
        """Decode what :meth:`read` opened: (uint8 ``[C, T, H, W]``, metadata)."""
        videos: list[np.ndarray] = []
        common: dict = {}
        for source in ensure_tuple(img):
            video, meta = self._load(source)
            videos.append(video)
            _copy_compatible_dict(meta, common)
        return _stack_images(videos, common), common

    def _open(self, path: Path) -> VideoSource:
        return open_video(path, self.fps)

    def _load(self, source: VideoSource) -> tuple[np.ndarray, dict]:
        images, times, indices = [], [], []
        stop = math.inf if self.stop is None else self.stop
        for frame in source.frames(self.channels, self.stride, self.start, stop):
            images.append(frame.image)
            times.append(frame.time)
            indices.append(frame.index)
            if len(images) == self.max_frames:
                break
        info = source.info
        if not images:
            raise InputError(f"{info.path}: no frame lies from start={self.start} to stop={self.stop} s. Widen them.")
        video = np.stack(images)
        video = video[None] if self.channels == "luma" else np.moveaxis(video, -1, 0)
        meta = {
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
            MetaKeys.SPATIAL_SHAPE: np.asarray(video.shape[1:]),
            MetaKeys.AFFINE: np.eye(4),
            "frame_times": np.asarray(times, np.float64),
            "frame_indices": np.asarray(indices, np.int64),
            "fps": info.fps or 0.0,  # MONAI's collation takes no None
            "start_time": info.start_time,
            "kind": info.kind,
            "truncated": source.truncated,
            "problems": "; ".join(source.problems),
        }
        return np.ascontiguousarray(video), meta


class UltraSuiteReader(UltrasoundVideoReader):
    """Load an UltraSuite or AAA ``.ult`` recording, with its parameter file beside it, as uint8 ``[C, T, H, W]``.

    ``start_time`` in the metadata is the time of the first frame on the clock of the speech file.

    Args:
        raw: give the scanlines as recorded, ``H`` = scanlines and ``W`` = samples, in place of the fan.
        channels, start, stop, max_frames, stride: see :class:`UltrasoundVideoReader`.
    """

    def __init__(
        self,
        raw: bool = False,
        channels: Channels = "luma",
        start: float = 0.0,
        stop: float | None = None,
        max_frames: int | None = None,
        stride: int = 1,
    ) -> None:
        super().__init__(channels, start, stop, max_frames, stride)
        self.raw = raw

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Whether the name ends in ``.ult``."""
        return bool(is_supported_format(filename, ["ult"]))

    def _open(self, path: Path) -> VideoSource:
        return UltraSuiteSource(check_file(path), raw=self.raw)


def register_readers() -> None:
    """Let ``LoadImage`` without ``reader`` choose these readers by suffix; calling it again changes nothing."""
    SUPPORTED_READERS.setdefault("ultrasoundvideoreader", UltrasoundVideoReader)
    SUPPORTED_READERS.setdefault("ultrasuitereader", UltraSuiteReader)
