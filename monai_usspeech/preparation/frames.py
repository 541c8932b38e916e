# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The frames of one scan: which are kept, which part of them, and at what size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from monai_usspeech.data.datalist import Scan
from monai_usspeech.data.files import InputError
from monai_usspeech.data.kept_picture import frame_stride, source_fan
from monai_usspeech.data.store_writer import FLAG_FROZEN, ScanStoreWriter
from monai_usspeech.data.video import VideoInfo, VideoSource
from monai_usspeech.preparation.settings import PrepareSettings
from monai_usspeech.transforms.fan import check_box, crop_and_resize
from monai_usspeech.transforms.fan_geometry import Box

__all__ = ["FROZEN_DIFFERENCE", "KeptFrames", "find_fan", "write_frames"]

FROZEN_DIFFERENCE = 0.25
"""Mean grey-level difference up to which a frame counts as frozen: coding noise of a still picture stays under it with
x264's defaults (without its macroblock tree it can reach 0.5), live speckle lies above 2."""


@dataclass(frozen=True)
class KeptFrames:
    """What :func:`write_frames` kept.

    Attributes:
        count: frames.
        duration: seconds from the first frame to the end of the last.
        frame_rate: kept frames per second.
        frozen: share of frames that repeat the one before.
        notes: what a person should know.
    """

    count: int
    duration: float
    frame_rate: float
    frozen: float
    notes: tuple[str, ...]


def find_fan(scan: Scan, source: VideoSource) -> tuple[Box, tuple[str, ...]]:
    """The part of the frame to keep: the datalist's box; else that of
    :func:`~monai_usspeech.data.kept_picture.source_fan`.

    Returns:
        (top, left, bottom, right) in source pixels, and notes for a person.

    Raises:
        InputError: when the datalist's box does not fit into the frame, or no fan is found.
    """
    if scan.fan is not None:
        try:
            return check_box(scan.fan, source.info.height, source.info.width), ()
        except ValueError as error:
            raise InputError(f'{scan.video}: "fan" of the datalist: {error}; correct it.') from error
    return source_fan(source, 'write its box as "fan": [top, left, bottom, right] in the datalist')


def _duration(times: list[float], stride: int, info: VideoInfo) -> float:
    """End of the last frame: one frame step after its time, but not after the declared end of the file."""
    if len(times) < 2:
        return times[-1] + (1.0 / info.fps if info.fps else 0.0)
    end = times[-1] + float(np.median(np.diff(times)))
    if info.duration is not None and times[-1] < info.duration:
        end = min(end, info.duration)
    return round(end, 6)


def write_frames(
    source: VideoSource,
    box: Box,
    settings: PrepareSettings,
    writer: ScanStoreWriter,
    progress: Callable[[float], None] = lambda share: None,
) -> KeptFrames:
    """Decode a video once, as a stream, and write the kept frames.

    Args:
        source: the video.
        box: the part to keep.
        settings: size, frame rate.
        writer: where frames go.
        progress: called with the share of the video that is done, 0 to 1.

    Raises:
        InputError: when no frame can be decoded.
    """
    stride = frame_stride(source.info.fps, settings.frame_rate)
    times: list[float] = []
    frozen = repeated = 0
    before: np.ndarray | None = None
    for frame in source.frames("luma", stride=stride):
        if times and frame.time <= times[-1]:
            repeated += 1
            continue
        image = crop_and_resize(torch.from_numpy(frame.image)[None], box, (settings.size, settings.size))[0].numpy()
        still = before is not None and float(np.abs(image.astype(np.int16) - before).mean()) <= FROZEN_DIFFERENCE
        writer.add_frame(image, frame.time, frame.index, FLAG_FROZEN if still else 0)
        before, frozen = image.astype(np.int16), frozen + still
        times.append(frame.time)
        if source.info.duration:
            progress(min(1.0, frame.time / source.info.duration))
    if not times:
        raise InputError(f"{source.info.path}: no frame could be decoded; export the video again.")
    duration = _duration(times, stride, source.info)
    notes = [*source.problems, *([f"{repeated} frames with a repeated time were left out"] if repeated else [])]
    if frozen > 0.5 * len(times):
        notes.append(f"{frozen / len(times):.0%} of the frames are frozen")
    rate = len(times) / duration if duration > 0 else 0.0
    return KeptFrames(len(times), duration, rate, frozen / len(times), tuple(notes))
