# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Videos and their frames for pretraining on frames, from a scan store or from an image set, seen in one way."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from monai_usspeech.data.annotations import plane_at
from monai_usspeech.data.files import InputError
from monai_usspeech.data.frames import frames_every
from monai_usspeech.data.image_reading import is_picture
from monai_usspeech.data.image_set_reader import ImageSetReader
from monai_usspeech.data.image_sets import ImageSetDatalist
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.data.splits import scan_annotated
from monai_usspeech.data.store import ScanStore, StoredScan

__all__ = ["ImageSetVideos", "StoreVideos", "VideoFrames", "video_frames"]

_ROUNDING = 1e-3
"""Seconds by which a scan may fall short of a window's end: times are rounded on their way here."""


class VideoFrames(Protocol):
    """Videos, each of at least one frame; frames are numbered from 0 through all videos.

    Attributes:
        name: of the data, for messages.
        classes: names of the classes; empty when nothing has a label.
        offsets: int64 ``[videos + 1]``: number of the first frame of each video.
        labels: int64 ``[videos]``: class number of each video, -1 without a label.
        frame_labels: int64 ``[frames]``: the same of each frame.
        subjects: whoever the frames are of, sorted.
    """

    name: str
    classes: tuple[str, ...]
    offsets: np.ndarray
    labels: np.ndarray
    frame_labels: np.ndarray
    subjects: tuple[str, ...]

    def read(self, frames: Sequence[int] | np.ndarray) -> np.ndarray:
        """The pixels of some frames of one video, uint8 ``[n, C, H, W]``, an array of its own."""

    def describe(self, frame: int) -> tuple[str, str, float]:
        """``(subject, scan or file, time)`` of a frame, the time in seconds from the first frame of scan or file."""

    def frame_name(self, frame: int) -> str:
        """A frame in words."""

    def video_name(self, video: int) -> str:
        """A video in words."""


def video_frames(
    source: ScanStore | ImageSetDatalist | str | os.PathLike,
    subjects: Iterable[str] | None = None,
    exclude_subjects: Iterable[str] | None = None,
    interval: float = 8 / 30,
    clip_seconds: float = 2.0,
    size: int | tuple[int, int] = 224,
    channels: int = 1,
    cache: bool = True,
) -> VideoFrames:
    """The videos of a scan store or of an image set.

    Args:
        source: a :class:`ScanStore` or its folder; an :class:`ImageSetDatalist` or its JSON file.
        subjects: use these subjects of the store, or groups of the image set, only.
        exclude_subjects: leave these out.
        interval: see :class:`StoreVideos`.
        clip_seconds: see :class:`StoreVideos`.
        size: see :class:`ImageSetVideos`.
        channels: 1 for grey, 3 for RGB; frames of a store are grey, and repeated.
        cache: see :class:`ImageSetVideos`.

    Raises:
        InputError: when the source is neither, a subject or setting cannot be used, or there is no frame.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.exists():
            raise InputError(f"{path}: no such scan store (a folder) or image set (a JSON file); correct the path.")
        source = ScanStore(path) if path.is_dir() else ImageSetDatalist.load(path)
    if isinstance(source, ScanStore):
        return StoreVideos(source, subjects, exclude_subjects, interval, clip_seconds, channels)
    return ImageSetVideos(source, subjects, exclude_subjects, size, channels, cache)


class StoreVideos:
    """Windows of prepared scans as videos; see :class:`VideoFrames`.

    A scan is cut into windows of ``clip_seconds`` from its start; what is left at its end is not used, but a scan that
    is shorter than a window is one video. A video's label is the plane on display in its middle, a frame's the one at
    its own time, background where no interval covers it; scans without plane intervals have no label.

    Args:
        store: the scans.
        subjects: use these subjects only.
        exclude_subjects: leave these out.
        interval: seconds between the frames of a video (the published experiments take every 8th of 30 a second).
        clip_seconds: length of a window.
        channels: 1, or 3 to repeat the grey values. Frames keep the size that they are stored in.

    Raises:
        InputError: when a subject is not in the store, a setting cannot be used, or there is no frame.
    """

    def __init__(
        self,
        store: ScanStore,
        subjects: Iterable[str] | None = None,
        exclude_subjects: Iterable[str] | None = None,
        interval: float = 8 / 30,
        clip_seconds: float = 2.0,
        channels: int = 1,
    ) -> None:
        if not (interval > 0 and clip_seconds > 0) or channels not in (1, 3):
            raise InputError(
                f"{store.root}: interval is {interval}, clip_seconds {clip_seconds} and channels {channels}; give"
                " seconds above 0, and 1 or 3 channels."
            )
        self.name, self.channels, self.clip_seconds = str(store.root), channels, clip_seconds
        chosen = store.select(subjects, exclude_subjects)
        parts = [self._windows(scan, interval) for scan in chosen]
        self.scans: tuple[StoredScan, ...] = tuple(scan for scan, part in zip(chosen, parts) if len(part[0]))
        parts = [part for part in parts if len(part[0])]
        if not parts:
            raise InputError(f"{store.root}: the {len(chosen)} chosen scans have no frame; choose other subjects.")
        self.numbers = np.concatenate([frames for frames, _, _ in parts]).astype(np.int32)
        """int32 ``[frames]``: number of each frame in its scan."""
        counts = np.concatenate([np.unique(window, return_counts=True)[1] for _, window, _ in parts])
        self.offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._scan_ends = np.cumsum([len(frames) for frames, _, _ in parts], dtype=np.int64)
        self.labels = np.concatenate([self._labels(s, m) for s, (_, _, m) in zip(self.scans, parts)])
        self.frame_labels = np.concatenate([self._labels(s, s.times[f]) for s, (f, _, _) in zip(self.scans, parts)])
        self.classes: tuple[str, ...] = tuple(PLANES) if (self.labels >= 0).any() else ()
        self.subjects = tuple(sorted({scan.subject for scan in self.scans}))

    def _windows(self, scan: StoredScan, interval: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Chosen frames of a scan, the window of each, and the middle of each window that has one, in seconds."""
        frames = frames_every(scan.times, interval) if scan.n_frames else np.zeros(0, np.int64)
        count = int((scan.duration + _ROUNDING) / self.clip_seconds)
        if count == 0:
            return frames, np.zeros(len(frames), np.int64), np.full(min(len(frames), 1), scan.duration / 2)
        window = ((scan.times[frames] + 1e-6) / self.clip_seconds).astype(np.int64)  # 1e-6: stamps are rounded
        frames, window = frames[window < count], window[window < count]
        return frames, window, (np.unique(window) + 0.5) * self.clip_seconds

    @staticmethod
    def _labels(scan: StoredScan, times: np.ndarray) -> np.ndarray:
        return plane_at(scan.planes, times) if scan_annotated(scan, "planes") else np.full(len(times), -1, np.int64)

    def _locate(self, frame: int) -> tuple[StoredScan, int]:
        return self.scans[int(np.searchsorted(self._scan_ends, frame, side="right"))], int(self.numbers[frame])

    def read(self, frames: Sequence[int] | np.ndarray) -> np.ndarray:
        """As :meth:`VideoFrames.read`."""
        scan, _ = self._locate(int(frames[0]))
        pixels = scan.read_frames([int(self.numbers[frame]) for frame in frames])[:, None]
        return np.repeat(pixels, self.channels, axis=1) if self.channels > 1 else pixels

    def describe(self, frame: int) -> tuple[str, str, float]:
        """As :meth:`VideoFrames.describe`."""
        scan, number = self._locate(frame)
        return scan.subject, scan.id, float(scan.times[number])

    def frame_name(self, frame: int) -> str:
        """``"scan s003 at 12.40 s"``."""
        _, scan, time = self.describe(frame)
        return f"scan {scan} at {time:.2f} s"

    def video_name(self, video: int) -> str:
        """``"scan s003 from 12.00 s"``."""
        _, scan, time = self.describe(int(self.offsets[video]))
        return f"scan {scan} from {time:.2f} s"


class ImageSetVideos:
    """Videos of an image set; see :class:`VideoFrames`.

    The listed frames of a video file are a video, and so are the pictures of a group; a picture whose group has no
    other is a video of one frame. Where the images of a file or group have several labels, those of each label are a
    video of their own.

    Args:
        datalist: the images.
        subjects: use these groups only.
        exclude_subjects: leave these out.
        size: side of the frames, or rows and columns, in pixels; they are stretched, not padded.
        channels: 1 for grey, 3 for RGB.
        cache: keep images in memory once read, ``C * H * W`` bytes each, in every worker process. Without it a video
            is decoded again for each item.

    Raises:
        InputError: when a group is not in the list, or a setting cannot be used.
    """

    def __init__(
        self,
        datalist: ImageSetDatalist,
        subjects: Iterable[str] | None = None,
        exclude_subjects: Iterable[str] | None = None,
        size: int | tuple[int, int] = 224,
        channels: int = 1,
        cache: bool = True,
    ) -> None:
        self.name, self.classes = f'image set "{datalist.name}"', datalist.classes
        chosen = datalist.select(subjects, exclude_subjects)
        videos: dict[tuple[str, str | None], list[int]] = {}
        for number in chosen:
            image = datalist.images[number]
            owner = f"group {image.group}" if is_picture(image.image) else f"file {image.image}"
            videos.setdefault((owner, image.label), []).append(number)
        order = [number for numbers in videos.values() for number in numbers]
        self.images = tuple(datalist.images[number] for number in order)
        self.offsets = np.concatenate([[0], np.cumsum([len(v) for v in videos.values()], dtype=np.int64)])
        self.frame_labels = datalist.labels[order]
        self.labels = self.frame_labels[self.offsets[:-1]]
        self.subjects = tuple(sorted({image.group for image in self.images}))
        self._reader = ImageSetReader(self.images, size, channels, cache, cache, owner=self.name)

    def read(self, frames: Sequence[int] | np.ndarray) -> np.ndarray:
        """As :meth:`VideoFrames.read`."""
        return self._reader.read([self.images[int(frame)] for frame in frames])

    def describe(self, frame: int) -> tuple[str, str, float]:
        """As :meth:`VideoFrames.describe`."""
        return self.images[frame].place

    def frame_name(self, frame: int) -> str:
        """``"image a.png"``, ``"video b.mp4 at 1.33 s"``."""
        return self.images[frame].title

    def video_name(self, video: int) -> str:
        """``"video b.mp4"``, ``"images of p001"``, ``"image a.png"``."""
        first, end = (int(offset) for offset in self.offsets[video : video + 2])
        group, name, _ = self.describe(first)
        if not is_picture(name):
            return f"video {name}"
        return f"image {name}" if end == first + 1 else f"images of {group}"
