# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Media files through PyAV (FFmpeg): MP4, MOV, AVI, MKV, MPEG, GIF and the rest.

Time comes from the presentation stamps, so variable frame rate, edit lists and start offsets are right. AVI and raw
streams carry no presentation stamps; there the n-th frame shown takes the n-th stamp in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from monai_usspeech.data._media import (
    FrameClock,
    frame_luma,
    moving_pictures,
    open_container,
    robust_packets,
    upright,
)
from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import Channels, VideoFrame, VideoInfo, VideoSource

__all__ = ["MediaSource"]

_NO_PRESENTATION_STAMPS = {"avi", "h264", "hevc", "m4v", "mpegvideo"}
_NO_CLOCK = {"h264", "hevc"}  # FFmpeg would assume 25 frames per second


class MediaSource(VideoSource):
    """A media file read through PyAV.

    Args:
        path: the file, or the name to report when ``data`` is given.
        data: the encoded stream itself (a video wrapped in a DICOM file).
        fps: frames per second of a raw H.264 or HEVC stream, which has no clock; not used otherwise.
    """

    def __init__(self, path: Path, data: bytes | None = None, fps: float | None = None) -> None:
        self._data = data
        self._fps = fps
        self._notes: list[str] = []
        self._declared_end: tuple[float, bool] | None = None
        with open_container(path, data) as container:
            stream = _video_stream(container, path, self._notes)
            if container.format.name in _NO_CLOCK and fps is None:
                raise InputError(f"{path}: a raw video stream has no clock. Set fps to its frames per second.")
            first = next(_decode(container, stream, _Pass()), None)
            if first is None:
                raise InputError(f"{path}: no frame of the video can be decoded. Copy it again.")
            super().__init__(self._describe(path, container, stream, *first))

    def _describe(self, path: Path, container: Any, stream: Any, first: av.VideoFrame, start: float) -> VideoInfo:
        height, width = upright(np.empty((first.height, first.width), np.bool_), first.rotation).shape
        self._declared_end = _declared_end(container, stream)
        duration = self._declared_end[0] - start if self._declared_end else None
        aspect = float(stream.sample_aspect_ratio or 1)
        fps = self._fps if container.format.name in _NO_CLOCK else _mean_rate(container, stream)
        return VideoInfo(
            path=path, width=width, height=height, n_frames=stream.frames or None, fps=fps,
            duration=duration if duration and duration > 0 else None, start_time=start, kind="media",
            pixel_aspect=1 / aspect if abs(first.rotation) == 90 else aspect,
        )  # fmt: skip

    def _frames(self, channels: Channels, stride: int, start: float, stop: float) -> Iterator[VideoFrame]:
        state = _Pass()
        self.problems, self.truncated = list(self._notes), False
        try:
            for index, time, frame in self._walk(state):
                if time >= stop:
                    return
                if time < start or index % stride:
                    continue
                image = upright(_convert(frame, channels), frame.rotation)
                if image.shape[:2] == (self.info.height, self.info.width):
                    yield VideoFrame(index, time, image)
                else:
                    state.resized += 1
            self.truncated = self._is_truncated(state)
        finally:
            self.problems = self._notes + state.problems(self.info.n_frames if self.truncated else None, self.truncated)

    def _walk(self, state: _Pass) -> Iterator[tuple[int, float, Any]]:
        """Decode from the start: (running number, seconds from the first frame, decoder frame)."""
        origin: float | None = None
        with open_container(self.info.path, self._data) as container:
            stream = _video_stream(container, self.info.path)
            for index, (frame, seconds) in enumerate(_decode(container, stream, state, self.info.fps)):
                origin = seconds if origin is None else origin
                yield index, seconds - origin, frame
        if origin is None:
            raise InputError(f"{self.info.path}: no frame of the video can be decoded. Copy it again.")

    def _is_truncated(self, state: _Pass) -> bool:
        declared = self.info.n_frames
        # counted in packets: frames that an edit list hides are in the file, though never shown
        if declared and declared - state.packets > max(1, 0.01 * declared):
            return True
        if self._declared_end is None:
            return False
        end, of_video = self._declared_end
        reached = state.video_end if of_video else max(state.video_end, state.other_end)
        return end - reached > max(0.5, 0.02 * (self.info.duration or 0.0))

    def sample_frames(self, n: int) -> list[np.ndarray]:
        """See :meth:`VideoSource.sample_frames`: key frames by seeking, or one pass where the file has too few."""
        found = self._sample_keyframes(n) if self.info.duration else []
        return found if len(found) >= math.ceil(n / 2) else self._sample_sequentially(n)

    def _sample_keyframes(self, n: int) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        with open_container(self.info.path, self._data) as container:
            stream = _video_stream(container, self.info.path)
            listed = sum(entry.is_keyframe for entry in getattr(stream, "index_entries", ()))
            if 0 < listed < n / 2:
                return []
            stream.codec_context.skip_frame = "NONKEY"
            for i in range(n):
                seconds = self.info.start_time + (i + 0.5) * (self.info.duration or 0.0) / n
                try:
                    container.seek(int(seconds / stream.time_base), stream=stream)
                    frame = next(container.decode(stream), None)
                except FFmpegError:
                    continue  # a damaged stretch has no sample; the full pass counts and reports it
                if frame is not None and frame.pts is not None and frame.pts not in found:
                    image = upright(frame_luma(frame), frame.rotation)
                    if image.shape == (self.info.height, self.info.width):
                        found[frame.pts] = image
        return [found[pts] for pts in sorted(found)]

    def _sample_sequentially(self, n: int) -> list[np.ndarray]:
        kept: list[np.ndarray] = []
        stride = 1  # doubled whenever more than 2 n frames are kept, so that an unknown length needs no second pass
        for index, _, frame in self._walk(_Pass()):
            if index % stride == 0:
                kept.append(upright(frame_luma(frame), frame.rotation))
            if len(kept) > 2 * n:
                kept, stride = kept[::2], 2 * stride
        kept = [image for image in kept if image.shape == (self.info.height, self.info.width)]
        count = min(n, len(kept))
        return [kept[int((i + 0.5) * len(kept) / count)] for i in range(count)]


class _Pass:
    """What one pass over a file met."""

    def __init__(self) -> None:
        self.packets = self.bad = self.damaged = self.interlaced = self.untimed = self.resized = 0
        self.video_end = self.other_end = -math.inf
        self.read_error = ""

    def note(self, packet: Any, video: Any) -> None:
        """Count a demuxed packet and remember how far the file reaches (container seconds)."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        end = -math.inf if stamp is None else float((stamp + (packet.duration or 0)) * packet.time_base)
        if packet.stream_index == video.index:
            self.packets += packet.size > 0
            self.video_end = max(self.video_end, end)
        else:
            self.other_end = max(self.other_end, end)

    def problems(self, declared: int | None, truncated: bool) -> list[str]:
        """The findings as sentences; ``declared`` is the number of frames the file should hold, where it says."""
        found = []
        if self.bad:
            found.append(f"{self.bad} packets could not be decoded")
        if self.read_error:
            found.append(f"reading stopped early: {self.read_error}")
        if self.damaged:
            found.append(f"{self.damaged} frames are damaged (the decoder patched them)")
        if truncated:
            of = f" of {declared} declared" if declared else ""
            found.append(f"the file is cut short: it holds {self.packets}{of} frames")
        if self.interlaced:
            found.append(f"{self.interlaced} frames are interlaced (two half-pictures of different times in each)")
        if self.untimed:
            found.append(f"{self.untimed} frames had no usable time stamp; theirs were filled in")
        if self.resized:
            found.append(f"{self.resized} frames have another size than the first and were left out")
        return found


def _decode(container: Any, stream: Any, state: _Pass, fps: float | None = None) -> Iterator[tuple[Any, float]]:
    """Yield (frame, container seconds) in presentation order, times strictly increasing."""
    clock = FrameClock(stream, container.format.name in _NO_PRESENTATION_STAMPS, fps)

    def on_error(message: str, final: bool) -> None:
        state.bad += 1
        state.read_error = message if final else ""

    streams = [s for s in container.streams if s.type in ("video", "audio")]
    for packet in robust_packets(container, streams, on_error):
        state.note(packet, stream)
        if packet.stream_index != stream.index:
            continue
        clock.see(packet)
        try:
            frames = packet.decode()
        except FFmpegError:
            state.bad += 1
            clock.forget()
            continue
        for frame in frames:
            state.damaged += bool(frame.is_corrupt)
            state.interlaced += bool(frame.interlaced_frame)
            yield frame, clock.time(frame)
    state.untimed = clock.untimed


def _convert(frame: av.VideoFrame, channels: Channels) -> np.ndarray:
    return frame_luma(frame) if channels == "luma" else np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def _video_stream(container: Any, path: Path, notes: list[str] | None = None) -> Any:
    """The first video stream that is no cover picture, set to decode in this thread."""
    streams = moving_pictures(container)
    if not streams:
        raise InputError(f"{path}: the file has no video stream. Give the recording's video under video.")
    if notes is not None and len(streams) > 1:
        notes.append(f"the file has {len(streams)} video streams; the first is read")
    streams[0].thread_type = "NONE"  # codec threads do not survive a fork, and scans are prepared one per process
    return streams[0]


def _mean_rate(container: Any, stream: Any) -> float | None:
    average, guessed = stream.average_rate, stream.guessed_rate
    if container.format.name == "avi" and average and guessed and average > 1.5 * guessed:
        average = guessed  # the header of an AVI may hold the time base (600) in place of the rate
    rate = average or guessed
    return float(rate) if rate else None


def _declared_end(container: Any, stream: Any) -> tuple[float, bool] | None:
    """(container seconds at which the file says to end, whether it says so of the video stream itself)."""
    start = (stream.start_time or 0) * (stream.time_base or Fraction(0))
    if stream.duration:
        return float(start + stream.duration * stream.time_base), True
    stated = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if stated:  # Matroska: the time of the end, not the length
        return int(stated[1]) * 3600 + int(stated[2]) * 60 + float(stated[3]), True
    if container.duration:
        return ((container.start_time or 0) + container.duration) / 1e6, False
    return None
