# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Where the ultrasound picture lies on the screen, and the largest rectangle inside it.

A network that sees the border of the fan can tell the time from depth and zoom changes, from the clock and from text
instead of from anatomy (Jiao et al., MICCAI 2020, crop the fan for this reason). The border is found from a few frames
of a scan: tissue is bright at some time and changes, the screen around it is black or stands still.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull

__all__ = ["Box", "FanGeometry", "detect_fan", "largest_rectangle"]

BRIGHT = 8  # of 255: brighter than this at some time
CHANGING = 4.0  # of 255: standard deviation over time
TEXTURED = 4  # of 255: range within 5x5 pixels; a still frame has tissue texture, a bar or a redaction has none
SMALLEST_FAN = 0.03  # share of the picture; a moving cursor or clock is smaller
SMALLEST_SIDE = 16  # pixels


class Box(NamedTuple):
    """A rectangle in pixels, ``[top, bottom) x [left, right)``: ``image[top:bottom, left:right]``."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class FanGeometry:
    """The ultrasound picture on the screen.

    Attributes:
        box: largest rectangle inside the fan, pixels of the source frame.
        outline: bounding box of the fan.
        mask: bool ``[H, W]``, the fan with shadows and anechoic parts filled.
    """

    box: Box
    outline: Box
    mask: np.ndarray


def detect_fan(
    frames: Sequence[np.ndarray] | np.ndarray,
    aspect: tuple[float, float] = (0.8, 1.25),
    margin: int | None = None,
    min_frames: int = 2,
) -> FanGeometry:
    """
    Find the fan in a few frames of one scan, and the rectangle to keep.

    With ``min_frames`` or more frames a pixel is tissue when its maximum over time exceeds 8/255 and its standard
    deviation 4/255; with fewer, or when nothing but a small part of the screen changes (a frozen image), brightness
    and texture decide. The result is smoothed (majority in a window, closing, opening), its largest part is taken, and
    the gaps up to its convex hull (shadows, fluid) are filled, except for the arc of a curved probe's face.

    Sixteen frames spread over the scan are enough. The window sizes scale with the picture.

    Args:
        frames: uint8 grey frames ``[H, W]`` of one size, or an array ``[T, H, W]``.
        aspect: smallest and largest width / height of the rectangle.
        margin: distance kept from the border of the fan, pixels; None: 0.5 % of the longer side. Where the fan is cut
            off by the edge of the picture no distance is kept.
        min_frames: the smallest number of frames from which change over time is judged.

    Returns:
        The geometry, in pixels of the frames.

    Raises:
        ValueError: When no fan is found, or the frames are not uint8 of one size.
    """
    highest, deviation, n_frames = _statistics_over_time(frames)
    mask = np.zeros(highest.shape, dtype=bool)
    if n_frames >= max(2, min_frames):
        mask = _largest_part((highest > BRIGHT) & (deviation > CHANGING))
    if mask.mean() < SMALLEST_FAN:
        first = np.asarray(frames[0])
        texture = ndimage.maximum_filter(first, 5) - ndimage.minimum_filter(first, 5)
        mask = _largest_part((first > BRIGHT) & (texture > TEXTURED))
    if mask.mean() < SMALLEST_FAN:
        raise _not_found(n_frames, mask.shape, f"the largest textured region covers {mask.mean():.1%} of the picture")

    mask = _fill_shadows(mask)
    margin = round(0.005 * max(mask.shape)) if margin is None else margin
    inner = ndimage.binary_erosion(mask, iterations=margin, border_value=1) if margin > 0 else mask
    box = _largest_rectangle_fast(inner, aspect)
    if min(box.bottom - box.top, box.right - box.left) < SMALLEST_SIDE:
        raise _not_found(n_frames, mask.shape, f"the largest rectangle inside is {tuple(box)}")
    return FanGeometry(box, _bounding_box(mask), mask)


def largest_rectangle(mask: np.ndarray, aspect: tuple[float, float] = (0.8, 1.25)) -> Box:
    """
    Largest axis-parallel rectangle that holds only True, with a bounded width / height.

    Exact: every rectangle lies in a maximal one, and the histogram-stack scan visits all maximal ones. Among
    rectangles that are trimmed to the bounds, the middle of the maximal one is returned.

    Args:
        mask: bool ``[H, W]``.
        aspect: smallest and largest width / height.

    Returns:
        The rectangle; ``(0, 0, 0, 0)`` when the mask has no True.

    Raises:
        ValueError: When ``mask`` is not ``[H, W]`` or the bounds are not ``0 < smallest <= largest``.
    """
    narrow, wide = aspect
    if mask.ndim != 2 or not 0 < narrow <= wide:
        raise ValueError(f"expected a mask [H, W] and 0 < smallest <= largest aspect, got {mask.shape} and {aspect}")
    best, area = Box(0, 0, 0, 0), 0
    for top, left, bottom, right in _maximal_rectangles(mask):
        if (bottom - top) * (right - left) <= area:
            continue
        height, width = _trim(bottom - top, right - left, narrow, wide)
        if height * width > area:
            area = height * width
            top += (bottom - top - height) // 2
            left += (right - left - width) // 2
            best = Box(top, left, top + height, left + width)
    return best


def _trim(height: int, width: int, narrow: float, wide: float) -> tuple[int, int]:
    """Largest size within ``height x width`` whose width / height lies in the bounds, or (0, 0) when none does."""
    width = min(width, int(wide * height + 1e-9))
    height = min(height, int(width / narrow + 1e-9))
    # whole pixels can miss a narrow band of ratios by one: step down until the bounds hold
    while height > 0 and width > 0 and not narrow - 1e-9 <= width / height <= wide + 1e-9:
        height, width = (height, width - 1) if width > wide * height else (height - 1, width)
    return (height, width) if height > 0 and width > 0 else (0, 0)


def _maximal_rectangles(mask: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Yield (top, left, bottom, right) of all-True rectangles, among them every maximal one; O(H W)."""
    heights = np.zeros(mask.shape[1], dtype=np.int64)
    for row in range(mask.shape[0]):
        heights = np.where(mask[row], heights + 1, 0)
        stack: list[tuple[int, int]] = []  # (left, height), heights increasing
        for column, height in enumerate([*heights.tolist(), 0]):
            left = column
            while stack and stack[-1][1] >= height:
                left, popped = stack.pop()
                if popped:
                    yield row + 1 - popped, left, row + 1, column
            stack.append((left, height))


def _largest_rectangle_fast(mask: np.ndarray, aspect: tuple[float, float], search_side: int = 256) -> Box:
    """:func:`largest_rectangle` on blocks of pixels, then grown in whole pixels; never leaves the mask."""
    step = -(-max(mask.shape) // search_side)
    if step == 1:
        return largest_rectangle(mask, aspect)
    rows, columns = mask.shape[0] // step, mask.shape[1] // step
    blocks = np.asarray(mask[: rows * step, : columns * step].reshape(rows, step, columns, step).all(axis=(1, 3)))
    top, left, bottom, right = (step * edge for edge in largest_rectangle(blocks, aspect))
    for _ in range(step):  # what the blocks cut off, side by side so that the rectangle keeps its middle
        if top > 0 and mask[top - 1, left:right].all() and right - left >= aspect[0] * (bottom + 1 - top):
            top -= 1
        if bottom < mask.shape[0] and mask[bottom, left:right].all() and right - left >= aspect[0] * (bottom + 1 - top):
            bottom += 1
        if left > 0 and mask[top:bottom, left - 1].all() and right + 1 - left <= aspect[1] * (bottom - top):
            left -= 1
        if right < mask.shape[1] and mask[top:bottom, right].all() and right + 1 - left <= aspect[1] * (bottom - top):
            right += 1
    return Box(top, left, bottom, right)


def _statistics_over_time(frames: Sequence[np.ndarray] | np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Maximum (uint8) and standard deviation (float32) over time, ``[H, W]`` each, one frame in memory at a time."""
    if len(frames) == 0:
        raise ValueError("expected at least one frame, got none")
    shape = np.asarray(frames[0]).shape
    highest = np.zeros(shape, dtype=np.uint8)
    total, squares = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for each in frames:
        frame = np.asarray(each)
        if frame.ndim != 2 or frame.dtype != np.uint8 or frame.shape != shape:
            raise ValueError(
                f"expected uint8 frames [H, W] of one size, got {frame.dtype} {frame.shape}, the first being {shape}"
            )
        np.maximum(highest, frame, out=highest)
        values = frame.astype(np.int64)
        total += values
        squares += values * values
    count = len(frames)
    variance = (squares * count - total * total) / float(count) ** 2  # whole numbers up to here: no cancellation
    return highest, np.sqrt(variance).astype(np.float32), count


def _largest_part(tissue: np.ndarray) -> np.ndarray:
    """Smooth a noisy pixel decision and keep its largest connected part, holes filled."""
    longest = max(tissue.shape)
    window = max(3, round(longest / 64)) | 1
    smooth = ndimage.uniform_filter(tissue.astype(np.float32), window, mode="nearest") > 0.5
    smooth = _square_filter(smooth, max(3, round(longest / 110)), closing=True)
    smooth = _square_filter(smooth, max(3, round(longest / 40)), closing=False)  # drops bars and rulers at the border
    labels, n_parts = ndimage.label(smooth)
    if n_parts == 0:
        return smooth
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(labels == sizes.argmax()))


def _square_filter(mask: np.ndarray, side: int, closing: bool) -> np.ndarray:
    """Morphological closing or opening with a square, separable and thus linear in the number of pixels."""
    padded = np.pad(mask.astype(np.uint8), side, mode="edge")  # beyond the edge the picture goes on as it ends
    filters = (ndimage.maximum_filter, ndimage.minimum_filter)
    # an even square has its centre half a pixel off; mirrored origins in the two passes cancel that
    shift = -1 if side % 2 == 0 else 0
    for number, each in enumerate(filters if closing else filters[::-1]):
        padded = each(padded, side, origin=shift * number)
    return np.asarray(padded[side:-side, side:-side], dtype=bool)


def _fill_shadows(mask: np.ndarray) -> np.ndarray:
    """Fill the gaps up to the convex hull, but not the arc between the ends of a curved probe's face.

    The arc is the gap at the upper or lower end of the hull that is central and shallow: its depth is at most a third
    of its width for probes up to 140 degrees. Shadows are deep or at a side.
    """
    hull = _convex_hull(mask)
    top, left, bottom, right = _bounding_box(hull)
    height, width = bottom - top, right - left
    labels, n_gaps = ndimage.label(hull & ~mask)
    filled = hull
    for number, place in enumerate(ndimage.find_objects(labels)[:n_gaps], start=1):
        rows, columns = place
        at_end = rows.start <= top + 0.05 * height or rows.stop >= bottom - 0.05 * height
        central = abs((columns.start + columns.stop) - (left + right)) < 0.3 * width
        shallow = rows.stop - rows.start <= 0.35 * (columns.stop - columns.start)
        if at_end and central and shallow:
            filled = filled & (labels != number)
    return filled


def _convex_hull(mask: np.ndarray) -> np.ndarray:
    """Filled convex hull of the True pixels."""
    border = np.argwhere(mask & ~ndimage.binary_erosion(mask))[:, ::-1]
    if len(border) < 3 or np.ptp(border, axis=0).min() == 0:
        return mask
    corners = border[ConvexHull(border).vertices]
    canvas = Image.new("L", mask.shape[::-1])
    ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for x, y in corners], fill=1)
    return np.asarray(mask | np.asarray(canvas, dtype=bool))


def _bounding_box(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def _not_found(n_frames: int, shape: tuple[int, ...], reason: str) -> ValueError:
    return ValueError(
        f"no fan found in {n_frames} frame(s) of {shape[0]}x{shape[1]} pixels: {reason}. Give the rectangle to keep by "
        f"hand: box=(top, left, bottom, right) in pixels of the source frame."
    )
