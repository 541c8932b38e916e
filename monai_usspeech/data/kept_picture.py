# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What is kept of a video, the same for scans that are prepared and clips that are read directly.

A network that was trained on prepared scans must be shown the same part of the picture when it is used.
"""

from __future__ import annotations

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import VideoSource
from monai_usspeech.transforms.fan import detect_fan
from monai_usspeech.transforms.fan_geometry import Box

__all__ = ["frame_stride", "source_fan"]

_FAN_FRAMES = 16


def frame_stride(source_rate: float | None, wanted_rate: float | None) -> int:
    """Of how many source frames one is kept: the whole number whose rate is nearest to the wanted one, at least 1."""
    if source_rate is None or wanted_rate is None or source_rate <= wanted_rate:
        return 1
    lower = max(1, int(source_rate / wanted_rate))
    return min((lower, lower + 1), key=lambda stride: abs(source_rate / stride - wanted_rate))


def source_fan(source: VideoSource, mend: str) -> tuple[Box, tuple[str, ...]]:
    """The inner rectangle of the fan, found on up to 16 frames spread over the file.

    DICOM says where the image region lies; the fan is then looked for inside it.

    Args:
        source: an opened video.
        mend: what a person can do where no fan is found, for the error.

    Returns:
        The rectangle in source pixels, and notes for a person.

    Raises:
        InputError: when no fan is found and no region is known.
    """
    region = source.ultrasound_regions
    top, left, bottom, right = region or (0, 0, source.info.height, source.info.width)
    frames = [image[top:bottom, left:right] for image in source.sample_frames(_FAN_FRAMES)]
    try:
        found = detect_fan(frames).box
    except ValueError as error:
        if region is not None:
            return Box(*region), ("no fan found inside the DICOM image region; the whole region is kept",)
        raise InputError(f"{source.info.path}: no ultrasound fan was found ({error}); {mend}.") from error
    inside = (top + found.top, left + found.left, top + found.bottom, left + found.right)
    return Box(*map(int, inside)), ()
