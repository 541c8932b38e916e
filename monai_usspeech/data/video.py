# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""One way to read ultrasound video, whatever holds it: frames in presentation order, each with its time in seconds.

:func:`open_video` picks the back end by suffix and content. Nothing is kept open between calls, so a source may be
pickled, or used in a process that was forked after it was made.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from monai_usspeech.data.files import InputError

__all__ = [
    "Channels", "IndexedVideoSource", "VideoFrame", "VideoInfo", "VideoSource", "check_file", "open_video",
    "rgb_to_luma",
]  # fmt: skip

Channels = Literal["luma", "rgb"]
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself.

    Attributes:
        path: the file.
        width, height: size in pixels of the frames as they are shown (rotation applied).
        n_frames: number of frames the file declares; None where it does not say.
        fps: mean frames per second; None where unknown (a single frame).
        duration: seconds from the first frame to the end of the last, as declared; None where the file does not say.
        start_time: time of the first presented frame on the container's clock, the clock of its sound tracks. For an
            ``.ult`` file: on the clock of the speech file beside it.
        kind: ``"media"``, ``"dicom"``, ``"nifti"`` or ``"ultrasuite"``.
        pixel_aspect: width over height of one pixel (1.0: square); it is stated, not applied.
    """

    path: Path
    width: int
    height: int
    n_frames: int | None
    fps: float | None
    duration: float | None
    start_time: float
    kind: str
    pixel_aspect: float = 1.0


class VideoFrame(NamedTuple):
    """One frame: running number, seconds since the first presented frame, uint8 ``[H, W]`` or ``[H, W, 3]`` picture."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a frame
    time: float
    image: np.ndarray


class VideoSource(ABC):
    """A readable video; make one with :func:`open_video`. It is its own context manager.

    Attributes:
        info: see :class:`VideoInfo`.
        problems: after an iteration: what was found wrong, one sentence each. An empty list means a clean file.
        truncated: after a complete iteration: the file clearly ends before the length it declares.
    """

    info: VideoInfo

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.problems: list[str] = []
        self.truncated = False

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 (a source that keeps nothing open has nothing to close)
        """Release what the source holds; a source without open files does nothing."""

    def frames(
        self, channels: Channels = "luma", stride: int = 1, start: float = 0.0, stop: float = math.inf
    ) -> Iterator[VideoFrame]:
        """Stream the frames in presentation order; never more than a few are in memory.

        Args:
            channels: ``"luma"`` for full-range grey ``[H, W]`` or ``"rgb"`` for ``[H, W, 3]``, both uint8.
            stride: every ``stride``-th frame, from frame 0; the others are decoded but not converted.
            start, stop: only frames with ``start <= time < stop`` (seconds).

        Raises:
            ValueError: for an argument outside its range.
            InputError: when no frame can be decoded.
        """
        if channels not in ("luma", "rgb"):
            raise ValueError(f'channels must be "luma" or "rgb", got {channels!r}.')
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}.")
        return self._frames(channels, stride, start, stop)

    @abstractmethod
    def _frames(self, channels: Channels, stride: int, start: float, stop: float) -> Iterator[VideoFrame]:
        """The iteration behind :meth:`frames`, with checked arguments."""

    @abstractmethod
    def sample_frames(self, n: int) -> list[np.ndarray]:
        """Up to ``n`` luma frames (uint8 ``[H, W]``) spread over the file; where possible only they are decoded."""

    @property
    def ultrasound_regions(self) -> tuple[int, int, int, int] | None:
        """Box ``(top, left, bottom, right)`` of the B-mode image in pixels, last two exclusive; None where unknown."""
        return None


class IndexedVideoSource(VideoSource):
    """A source whose frames can be read by number: DICOM, NIfTI and ``.ult``.

    Args:
        info: with ``n_frames`` known.
        times: float64 ``[n_frames]`` seconds from the first frame.
        notes: problems already seen in the header.
    """

    def __init__(self, info: VideoInfo, times: np.ndarray, notes: Sequence[str] = (), truncated: bool = False) -> None:
        super().__init__(info)
        self.times = times
        self._notes = tuple(notes)
        self._cut = truncated
        self._remarks: list[str] = []  # what the pass under way met
        self.problems, self.truncated = list(notes), truncated

    @abstractmethod
    def _images(self, indices: Iterable[int], channels: Channels) -> Iterator[tuple[int, np.ndarray | None]]:
        """Yield (index, picture) for ascending ``indices``; None for a frame that cannot be decoded."""

    def _frames(self, channels: Channels, stride: int, start: float, stop: float) -> Iterator[VideoFrame]:
        self._remarks.clear()
        chosen = [i for i in range(0, len(self.times), stride) if start <= self.times[i] < stop]
        lost = good = 0
        trailing = 0  # frames lost in one run up to the end: the mark of a file that was cut
        for index, image in self._images(chosen, channels):
            if image is None:
                lost, trailing = lost + 1, trailing + 1
                continue
            good, trailing = good + 1, 0
            yield VideoFrame(index, float(self.times[index]), image)
        self.problems = [*self._notes, *self._remarks]
        if lost:
            self.problems.append(f"{lost} of {lost + good} frames could not be decoded")
        self.truncated = self._cut or trailing > 0
        if chosen and not good:
            raise InputError(f"{self.info.path}: none of its {len(chosen)} frames could be decoded. Copy it again.")

    def sample_frames(self, n: int) -> list[np.ndarray]:
        """See :meth:`VideoSource.sample_frames`."""
        count = len(self.times)
        indices = sorted({int((i + 0.5) * count / n) for i in range(min(n, count))})
        return [image for _, image in self._images(indices, "luma") if image is not None]


def open_video(path: str | os.PathLike, fps: float | None = None) -> VideoSource:
    """Open a video file of any kind the package reads.

    Args:
        path: MP4, MOV, AVI, MKV, MPEG, GIF and whatever else FFmpeg reads; DICOM cine; NIfTI cine; UltraSuite ``.ult``.
        fps: frames per second for a file that carries no clock of its own (NIfTI, some DICOM, raw H.264); otherwise
            not used.

    Raises:
        InputError: when the file is missing, empty, cut before its index, not a video, or has no clock and ``fps`` is
            not given. The message names the file and the mend.
    """
    path = check_file(path)
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise InputError(f"{path}: fps must be a positive number of frames per second, got {fps}.")
    try:
        return _back_end(path, fps)
    except InputError:
        raise
    except Exception as error:  # a damaged header makes the parsers of DICOM and NIfTI raise anything at all
        raise InputError(f"{path}: the header is damaged ({error}). Copy the file again.") from error


def _back_end(path: Path, fps: float | None) -> VideoSource:
    # imported on use: a user of MP4 files need not wait for pydicom and nibabel
    name = path.name.lower()
    if name.endswith(".ult"):
        from monai_usspeech.data.ultrasuite import UltraSuiteSource

        return UltraSuiteSource(path)
    if name.endswith((".nii", ".nii.gz")):
        from monai_usspeech.data.video_nifti import NiftiSource

        return NiftiSource(path, fps)
    if name.endswith(_DICOM_SUFFIXES) or _has_dicom_mark(path):
        from monai_usspeech.data.video_dicom import open_dicom

        return open_dicom(path, fps)
    from monai_usspeech.data.video_pyav import MediaSource

    return MediaSource(path, fps=fps)


def check_file(path: str | os.PathLike) -> Path:
    """Return ``path`` as a Path when it is a readable file that is not empty.

    Raises:
        InputError: otherwise, with the mend.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file. Correct the path.")
    if not path.is_file():
        raise InputError(f"{path}: not a file. Give the path of one video or sound file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes). Copy it again from where it was recorded.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read the file. Change its permissions.")
    return path


def rgb_to_luma(image: np.ndarray) -> np.ndarray:
    """Full-range luma of a uint8 ``[..., 3]`` picture by the weights of ITU-R BT.601, rounded to uint8 ``[...]``."""
    # integers in 1/65536 sum to exactly one, so that white stays 255 and a grey picture keeps its values
    red, green, blue = (image[..., i].astype(np.uint32) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


def _has_dicom_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
