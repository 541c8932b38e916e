# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Speech from a video's sound track or a sound file: mono, resampled once over the whole file, on a known clock.

The decoded blocks are laid on the time line by their time stamps. A gap in the stamps (a lost packet, a pause of the
recorder) becomes zeros, so that nothing behind it moves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from av.error import FFmpegError

from monai_usspeech.data._media import moving_pictures, open_container, robust_packets
from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import VideoInfo

__all__ = ["SpeechTrack", "is_digital_silence", "read_speech", "speech_on_video_time", "speech_origin"]

_CLOCK_TOLERANCE = 0.01  # s: stamps rounded to milliseconds and the jitter of muxers stay below it
_LONGEST_GAP = 3600.0  # s: a longer one is a broken stamp, and zeros for it would fill the memory
_LONGEST_OVERLAP = 1.0  # s: a longer one means that the stamps started again
_LOUDEST = 8.0  # +18 dB over full scale: a float file beyond it was never scaled to [-1, 1]
_SILENCE = 2.0**-15  # one step of 16 bits


@dataclass(frozen=True)
class SpeechTrack:
    """Mono speech.

    Attributes:
        samples: float32 ``[N]`` in [-1, 1].
        sample_rate: Hz.
        start: time of sample 0 in seconds, on the clock of the video in the same file; 0 for a file without video.
        problems: what was found wrong, one sentence each.
    """

    samples: np.ndarray
    sample_rate: int
    start: float
    problems: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def read_speech(path: str | os.PathLike, sample_rate: int = 24000) -> SpeechTrack:
    """Read the speech of a recording.

    Channels are averaged; any sample format and rate is taken; resampling is soxr's HQ. Encoder delay (AAC and MP3
    priming) is taken out where the file states it.

    Args:
        path: a video with a sound track, or WAV, FLAC, OGG, MP3 and whatever else FFmpeg reads.
        sample_rate: of the result, in Hz.

    Raises:
        InputError: when the file has no sound, no samples, values that are not finite or not scaled to [-1, 1].
    """
    path = Path(path)
    with open_container(path) as container:
        if not container.streams.audio:
            raise InputError(f'{path}: the file has no sound track. Set "speech": null for a scan without speech.')
        stream = container.streams.audio[0]
        builder = _TrackBuilder(path, sample_rate)
        builder.read(container, stream)
        has_video = bool(moving_pictures(container))
    samples = builder.finish()
    start = builder.start if has_video else 0.0
    return SpeechTrack(samples, sample_rate, start, tuple(builder.problems()))


class _TrackBuilder:
    """Lays decoded blocks on one time line, block by block, through a streaming resampler."""

    def __init__(self, path: Path, sample_rate: int) -> None:
        self.path = path
        self.sample_rate = sample_rate
        self.start = 0.0
        self.bad = self.gaps = self.jumps = 0
        self.missing = 0.0
        self._rate = 0
        self._shift = 0.0  # added to the stamps since they last jumped
        self._position = 0  # samples laid down so far, at the file's own rate
        self._held: tuple[float, np.ndarray] | None = None  # (seconds late, block) waiting for the next stamp
        self._resampler: Any = None
        self._blocks: list[np.ndarray] = []

    def read(self, container: Any, stream: Any) -> None:
        """Decode the whole stream."""
        stream.thread_type = "NONE"

        def on_error(message: str, final: bool) -> None:
            self.bad += 1

        for packet in robust_packets(container, [stream], on_error):
            try:
                frames = packet.decode()
            except FFmpegError:
                self.bad += 1
                continue
            for frame in frames:
                self._add(frame)

    def _add(self, frame: Any) -> None:
        if self._rate == 0:
            self._rate = frame.sample_rate
            self.start = frame.time or 0.0
            if self._rate != self.sample_rate:
                self._resampler = soxr.ResampleStream(self._rate, self.sample_rate, 1, dtype="float32", quality="HQ")
        if frame.sample_rate != self._rate:
            raise InputError(
                f"{self.path}: the sound changes from {self._rate} to {frame.sample_rate} Hz. Convert it to one rate."
            )
        mono = self._mono(frame)
        laid = self._position + (len(self._held[1]) if self._held else 0)
        late = 0.0
        if frame.time is not None:
            late = frame.time + self._shift - self.start - laid / self._rate
        if self._held:
            late -= self._settle(late)
        if abs(late) > _CLOCK_TOLERANCE:
            self._held = (late, mono)
        else:
            self._push(mono)

    def _settle(self, next_late: float | None) -> float:
        """Decide about a block whose stamp was off by more than the tolerance, once the next stamp is known.

        Only when both are off in the same direction did something happen to the clock. One block alone is jitter:
        FFmpeg stamps the short blocks of Vorbis up to 28 ms late.

        Returns:
            The seconds by which the time line was moved.
        """
        assert self._held is not None
        late, mono = self._held
        self._held = None
        moved = 0.0
        if next_late is None or (abs(next_late) > _CLOCK_TOLERANCE and (next_late > 0) == (late > 0)):
            moved = late
            if late > _LONGEST_GAP or late < -_LONGEST_OVERLAP:
                self.jumps += 1
                self._shift -= late
            elif late > 0:
                self.gaps += 1
                self.missing += late
                self._push(np.zeros(round(late * self._rate), np.float32))
            else:
                mono = mono[round(-late * self._rate) :]
        self._push(mono)
        return moved

    def _mono(self, frame: Any) -> np.ndarray:
        """Mean over channels as float32 ``[N]`` in [-1, 1]."""
        data = frame.to_ndarray()
        if data.dtype == np.uint8:
            scaled = (data.astype(np.float32) - 128) / 128
        elif np.issubdtype(data.dtype, np.integer):
            scaled = data * np.float32(1 / (1 << (8 * data.dtype.itemsize - 1)))
        else:
            scaled = data
        if not frame.format.is_planar:
            scaled = scaled.reshape(-1, frame.layout.nb_channels).T
        if not np.isfinite(scaled).all():
            raise InputError(f"{self.path}: the sound holds NaN or infinite values. Export it again.")
        if scaled.size and np.abs(scaled).max() > _LOUDEST:
            raise InputError(
                f"{self.path}: the sound holds values up to {np.abs(scaled).max():.4g}; floating-point sound lies in "
                "[-1, 1]. Scale it, or export it as 16-bit."
            )
        mono: np.ndarray = scaled.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mono

    def _push(self, block: np.ndarray, last: bool = False) -> None:
        self._position += len(block)
        self._blocks.append(block if self._resampler is None else self._resampler.resample_chunk(block, last=last))

    def finish(self) -> np.ndarray:
        """The whole track as float32 ``[N]``, clipped to [-1, 1]."""
        if self._held:
            self._settle(None)
        if self._position == 0:
            raise InputError(f'{self.path}: the sound track is empty. Set "speech": null for a scan without speech.')
        self._push(np.zeros(0, np.float32), last=True)
        samples = np.concatenate(self._blocks)
        self._blocks.clear()
        return np.clip(samples, -1.0, 1.0, out=samples)

    def problems(self) -> list[str]:
        """What went wrong, as sentences."""
        found = []
        if self.bad:
            found.append(f"{self.bad} packets of sound could not be decoded")
        if self.gaps:
            found.append(f"{self.gaps} gaps in the sound, {self.missing:.3f} s in all, were filled with zeros")
        if self.jumps:
            found.append(f"the time stamps of the sound jump {self.jumps} times; it was joined there")
        return found


def speech_origin(video: VideoInfo, track: SpeechTrack, offset: float = 0.0, same_file: bool = False) -> float:
    """Video time (seconds from the first presented frame) at which a track's sample 0 lies.

    Args:
        video: the video the speech belongs to.
        track: the speech.
        offset: the user's correction in seconds; positive moves the speech later.
        same_file: whether the track came from the video's own container, and so shares its clock. A separate file
            starts with the first frame, except beside ``.ult``, whose parameters say when the first frame came.
    """
    if same_file:
        return track.start - video.start_time + offset
    return offset - (video.start_time if video.kind == "ultrasuite" else 0.0)


def speech_on_video_time(track: SpeechTrack, origin: float, duration: float) -> tuple[np.ndarray, tuple[float, float]]:
    """Cut and pad a track to the video's time line.

    Args:
        track: the speech.
        origin: video time in seconds at which its sample 0 lies (see :func:`speech_origin`), rounded to a sample.
        duration: length of the video in seconds.

    Returns:
        int16 ``[round(duration * rate)]``, sample n at ``n / rate`` s of video time and 0 where the recording has no
        sound, and (first, last): the stretch in seconds that the recording covers; (0, 0) when it covers none.
    """
    total = round(duration * track.sample_rate)
    placed = np.zeros(total, np.int16)
    shift = round(origin * track.sample_rate)
    first, last = max(shift, 0), min(shift + len(track.samples), total)
    if last <= first:
        return placed, (0.0, 0.0)
    values = np.rint(track.samples[first - shift : last - shift] * np.float32(32768))
    placed[first:last] = np.clip(values, -32768, 32767).astype(np.int16)
    return placed, (first / track.sample_rate, last / track.sample_rate)


def is_digital_silence(track: SpeechTrack) -> bool:
    """Whether a track holds nothing above one step of 16 bits: a sound track that was never connected."""
    return bool(np.abs(track.samples).max(initial=0.0) <= _SILENCE)
