# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Pictures, and frames of videos at given times, as uint8 arrays of one or three channels."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from monai_usspeech.data.files import InputError
from monai_usspeech.data.frames import frames_every
from monai_usspeech.data.video import check_file, open_video, rgb_to_luma

__all__ = ["PICTURE_SUFFIXES", "is_picture", "read_picture", "read_video_frames", "resize_picture", "spaced_times"]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Read as one picture; everything else is read as a video, GIF and DICOM among them."""

_EPSILON = 1e-6  # stamps are rounded to the container's time base


def is_picture(path: str | os.PathLike) -> bool:
    """Whether a file is read as one picture, by its suffix."""
    return os.fspath(path).lower().endswith(PICTURE_SUFFIXES)


def read_picture(path: str | os.PathLike, channels: int = 1) -> np.ndarray:
    """Read a picture file.

    Transparency is dropped, palettes are applied, 16 bits become the upper 8, and the orientation that a camera notes
    in the file is applied. Colour becomes grey by the luma weights of ITU-R BT.601.

    Args:
        path: the file.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 ``[H, W]`` or ``[H, W, 3]``.

    Raises:
        InputError: when the file is missing, empty, damaged or no picture.
    """
    path = check_file(path)
    try:
        with Image.open(path) as file:
            if file.mode.startswith("I"):
                deep = np.asarray(ImageOps.exif_transpose(file)).astype(np.int64)
                grey = np.clip(deep >> 8, 0, 255).astype(np.uint8)
                return grey if channels == 1 else np.repeat(grey[..., None], 3, axis=-1)
            if file.mode == "F":
                raise InputError(f"{path}: holds floating-point values of unknown range; save it with 8 or 16 bits.")
            # to RGB first: PIL would put a palette's transparent entries into grey another way
            plain = ImageOps.exif_transpose(file if file.mode == "L" else file.convert("RGB"))
            picture = np.array(plain if channels == 1 or file.mode != "L" else plain.convert("RGB"))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({error}). Copy it again or take it out.") from error
    return rgb_to_luma(picture) if channels == 1 and picture.ndim == 3 else picture


def resize_picture(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch a uint8 ``[H, W]`` or ``[H, W, 3]`` picture to ``size`` = (rows, columns).

    Bilinear; where it shrinks, the filter widens with the step, so that speckle does not alias.
    """
    if picture.shape[:2] == tuple(size):
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def read_video_frames(path: str | os.PathLike, times: Sequence[float], channels: int = 1) -> list[np.ndarray]:
    """The frames on display at some times, in one pass over the file up to the last of them.

    Args:
        path: a video of any kind that :func:`~monai_usspeech.data.open_video` reads.
        times: seconds from the first frame, in any order; after the last frame it is the last that is on display.
        channels: 1 for luma, 3 for RGB.

    Returns:
        For each time a uint8 ``[H, W]`` or ``[H, W, 3]`` picture.

    Raises:
        InputError: when the file cannot be read as a video.
    """
    shown: dict[int, np.ndarray] = {}
    order = sorted(range(len(times)), key=lambda number: times[number])
    due = 0
    latest: np.ndarray | None = None
    with open_video(path) as video:
        for frame in video.frames("luma" if channels == 1 else "rgb"):
            while due < len(order) and latest is not None and times[order[due]] + _EPSILON < frame.time:
                shown[order[due]] = latest
                due += 1
            if due == len(order):
                break
            latest = frame.image
    if latest is None:
        raise InputError(f"{path}: no frame could be read. Copy it again or take it out.")
    return [shown.get(number, latest) for number in range(len(times))]


def spaced_times(path: str | os.PathLike, interval: float, max_frames: int | None = None) -> np.ndarray:
    """Times of the frames on display every ``interval`` seconds of a video, each frame once.

    Args:
        path: the video.
        interval: seconds.
        max_frames: take the first so many; None: all.

    Returns:
        float64 ``[n]``, the presentation times of those frames, increasing, the first 0.

    Raises:
        InputError: when the file cannot be read as a video.
    """
    stop = np.inf if max_frames is None else max_frames * interval
    with open_video(path) as video:
        times = np.array([frame.time for frame in video.frames(stop=stop)])
    if len(times) == 0:
        raise InputError(f"{path}: no frame could be read. Copy it again or take it out.")
    chosen: np.ndarray = times[frames_every(times, interval)][:max_frames]
    return chosen
