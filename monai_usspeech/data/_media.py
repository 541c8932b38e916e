# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What reading media with PyAV takes: opening with a clear message, packets past errors, the clock, full-range luma."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import check_file

__all__ = ["FrameClock", "frame_luma", "moving_pictures", "open_container", "robust_packets", "upright"]

_PLANAR_LUMA = re.compile(r"(?:yuv[aj]?\d{3}p|gray|nv(?:12|16|21|24))(?:(\d{1,2})le)?")
_LIMITED, _FULL = 1, 2  # AVColorRange
_MAX_READ_ERRORS = 50


def open_container(path: Path, data: bytes | None = None) -> Any:
    """Open a media file (or the bytes of one) with PyAV.

    Raises:
        InputError: when it is missing, empty, text, cut before its index, or of no known format.
    """
    if data is None:
        path = check_file(path)
    try:
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol
        container = av.open(f"file:{path}" if data is None else io.BytesIO(data))
    except (FFmpegError, OSError) as error:
        raise InputError(f"{path}: {_diagnose(path)} ({error.strerror or error}).") from error
    if not len(container.streams):
        container.close()
        raise InputError(f"{path}: {_diagnose(path)}.")
    return container


def _diagnose(path: Path) -> str:
    """Why a file does not open, and the mend, from its first bytes."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"version https://git-lfs"):
        return "the file is a Git LFS pointer, not the recording. Fetch it with `git lfs pull`"
    if b"ftyp" in head[:16]:
        return (
            "the MP4/MOV file has no readable index (moov): it was cut while being recorded or copied. "
            "Copy it again, or rebuild it with a repair tool such as untrunc"
        )
    if re.fullmatch(rb"[\t\n\r\x20-\x7e]+", head):
        return "the file holds text, not a recording. Give the recording itself"
    return "no video or sound format is recognised. Convert it, for example with `ffmpeg -i FILE out.mp4`"


def robust_packets(container: Any, streams: list[Any], on_error: Any) -> Iterator[Any]:
    """Demux ``streams``, going on after a read error; ``on_error(message, final)`` hears of each."""
    for attempt in range(_MAX_READ_ERRORS):
        try:
            yield from container.demux(*streams)
            return
        except FFmpegError as error:
            on_error(str(error), attempt == _MAX_READ_ERRORS - 1)


def moving_pictures(container: Any) -> list[Any]:
    """The video streams of a container, without the cover picture a sound file may carry."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


class FrameClock:
    """Gives each shown frame its container time in seconds, strictly increasing.

    Args:
        stream: the video stream.
        by_order: the stream has no presentation stamps, and its n-th shown frame takes its n-th stamp.
        fps: rate by which missing times are filled in; None: the stream's own.

    Attributes:
        untimed: how many frames had a missing stamp, or one that did not increase.
    """

    def __init__(self, stream: Any, by_order: bool, fps: float | None) -> None:
        self.base = float(stream.time_base)
        self.by_order = by_order
        self.step = 1 / (fps or float(stream.average_rate or stream.guessed_rate or 25))
        self.stamps: deque[int | None] = deque()
        self.last: float | None = None
        self.shift = 0.0
        self.untimed = 0

    def see(self, packet: Any) -> None:
        """Remember a packet's decoding stamp (the only one an AVI has)."""
        if self.by_order and packet.size:
            self.stamps.append(packet.dts)

    def forget(self) -> None:
        """The packet just seen gives no frame."""
        if self.by_order and self.stamps:
            self.stamps.pop()

    def time(self, frame: Any) -> float:
        """Container seconds of the next shown frame."""
        stamp = (self.stamps.popleft() if self.stamps else None) if self.by_order else frame.pts
        if stamp is None:
            seconds = 0.0 if self.last is None else self.last + self.step
            # a raw stream has no stamps at all: its mean rate is its clock, and nothing is wrong with it
            self.untimed += not self.by_order
        else:
            seconds = stamp * self.base + self.shift
        if self.last is not None and seconds <= self.last:
            self.untimed += 1
            if seconds < self.last - 1.0:  # the stamps started again: go on from here
                self.shift += self.last + self.step - seconds
                seconds = self.last + self.step
            else:
                seconds = self.last + 0.25 * self.step
        self.last = seconds
        return seconds


def frame_luma(frame: av.VideoFrame) -> np.ndarray:
    """Luma of a decoded frame as uint8 ``[H, W]``, full range: black is 0 and white 255.

    Plane 0 of most video holds luma in limited range (8-bit: 16 to 235). It is expanded through a table, which costs
    about 1/30 of the general conversion; other pixel formats take that conversion.
    """
    match = _PLANAR_LUMA.fullmatch(frame.format.name)
    plane = frame.planes[0]
    if match is None or plane.line_size <= 0:
        return np.ascontiguousarray(frame.reformat(format="gray").to_ndarray())
    bits = int(match[1] or 8)
    sample = np.dtype(np.uint8 if bits == 8 else "<u2")
    rows = np.frombuffer(memoryview(plane), sample, count=plane.line_size // sample.itemsize * frame.height)
    stored = rows.reshape(frame.height, -1)[:, : frame.width]
    table = _luma_table(bits, _is_full_range(frame))
    if bits == 8:  # bytes.translate is three times as fast as indexing
        return np.frombuffer(bytearray(stored.tobytes()).translate(table.tobytes()), np.uint8).reshape(stored.shape)
    luma: np.ndarray = table[stored]
    return luma


def _is_full_range(frame: av.VideoFrame) -> bool:
    name = frame.format.name
    if frame.color_range in (_LIMITED, _FULL):
        return bool(frame.color_range == _FULL)
    return name.startswith(("yuvj", "gray"))


@lru_cache(maxsize=32)
def _luma_table(bits: int, full: bool) -> np.ndarray:
    """Table from stored to full-range 8-bit luma (ITU-R BT.601/709: black 16, white 235, times 2^(bits-8))."""
    scale = 2.0 ** (bits - 8)
    stored = np.arange(1 << (8 if bits == 8 else 16), dtype=np.float64)
    value = stored * 255 / (2**bits - 1) if full else (stored - 16 * scale) * 255 / (219 * scale)
    return np.clip(np.rint(value), 0, 255).astype(np.uint8)


def upright(image: np.ndarray, rotation: float) -> np.ndarray:
    """Apply the display matrix' counter-clockwise rotation, to the nearest quarter turn."""
    turns = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
