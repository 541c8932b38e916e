# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Predicted gaze as a volume that a viewer lays over the clip: values, nested levels, or their outlines.

The volume has the axes (x, y, frame) of the clip as ITK and 3D Slicer load it. It may have fewer, larger pixels and
fewer frames; its geometry says so, and viewers lay it over by the geometry.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import contourpy
import nibabel
import numpy as np
import torch
from monai.data import ITKWriter
from torch.nn import functional as F

from monai_usspeech.data.video import open_video

__all__ = [
    "LEVEL_SHARES",
    "ClipGrid",
    "clip_grid",
    "gaze_peaks",
    "level_outlines",
    "level_thresholds",
    "on_grid",
    "write_volume",
]

LEVEL_SHARES = (0.75, 0.5, 0.25)
"""Levels 1, 2 and 3: the smallest areas that hold so much of the predicted gaze. Each lies inside the one before."""

_MOST_VALUES = 1 << 26  # of a volume
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
_RAS_OF_PLAIN_PICTURES = np.diag([-1.0, -1.0, 1.0, 1.0])  # what viewers give a picture without geometry: LPS identity


@dataclass(frozen=True)
class ClipGrid:
    """The pixels and frames that maps of a clip are written on.

    Attributes:
        width: of the clip's picture, pixels.
        height: the same.
        step: picture pixels in one pixel of the grid, along both axes.
        first: number of the first frame.
        every: frames of the clip from one frame of the grid to the next.
        affine: float64 ``[4, 4]``, from (x, y, frame) of the clip to millimetres, RAS.
    """

    width: int
    height: int
    step: int
    first: int
    every: float
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return math.ceil(self.height / self.step), math.ceil(self.width / self.step)

    @property
    def own_affine(self) -> np.ndarray:
        """float64 ``[4, 4]``, from (x, y, frame) of the grid to millimetres, RAS."""
        scale = np.diag([self.step, self.step, self.every, 1.0])
        scale[:3, 3] = (self.step - 1) / 2, (self.step - 1) / 2, self.first
        placed: np.ndarray = self.affine @ scale
        return placed


def clip_grid(
    path: str | os.PathLike, frames: Sequence[int] | np.ndarray, max_side: int = 256, fps: float | None = None
) -> ClipGrid:
    """The grid of a clip.

    Args:
        path: the clip. The affine of a NIfTI volume ``(W, H, T)`` is used, for that is how a viewer places it; other
            files have none that all viewers agree on, and get pixels and frames of 1 mm.
        frames: int ``[T]``, numbers of the frames that there are maps of, growing.
        max_side: greatest number of grid pixels along the longer side of the picture. With many frames there are fewer,
            so that a volume has about 2**26 values at most: a thousand frames of 256 x 256, 20 minutes at 10 frames a
            second of 64 x 64.
        fps: frames per second of a file without a clock.

    Raises:
        InputError: when the clip cannot be read.
        ValueError: for ``max_side`` below 1, or no frame.
    """
    numbers = np.asarray(frames)
    if max_side < 1 or numbers.size == 0:
        raise ValueError(f"max_side must be at least 1 and there must be a frame, got {max_side} and {numbers.size}.")
    with open_video(path, fps) as video:
        info = video.info
    affine = _RAS_OF_PLAIN_PICTURES
    if info.kind == "nifti":
        image = cast(nibabel.Nifti1Image, nibabel.load(path))
        if len(image.shape) == 3:
            affine = _as_viewers_place(image)
    every = float(np.median(np.diff(numbers))) if numbers.size > 1 else 1.0
    most = math.sqrt(info.width * info.height * numbers.size / _MOST_VALUES)
    step = max(1, math.ceil(max(info.width, info.height) / max_side), math.ceil(most))
    return ClipGrid(info.width, info.height, step, int(numbers[0]), every, affine)


def _as_viewers_place(image: nibabel.Nifti1Image) -> np.ndarray:
    """The affine by which ITK and 3D Slicer place a volume; nibabel has another without orientation or in metres."""
    header = image.header
    known = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    affine = image.affine if known else _RAS_OF_PLAIN_PICTURES @ np.diag([*header.get_zooms()[:3], 1.0])
    unit = _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    placed: np.ndarray = np.diag([unit, unit, unit, 1.0]) @ np.asarray(affine, np.float64)
    if not np.isfinite(placed).all() or np.linalg.det(placed[:3, :3]) == 0:  # an exporter that filled in nothing
        return _RAS_OF_PLAIN_PICTURES
    return placed


def on_grid(density: torch.Tensor, box: Sequence[int], grid: ClipGrid) -> torch.Tensor:
    """Lay maps of the crop into the whole picture, as how many times as likely as a uniform gaze over the crop.

    Args:
        density: ``[T, h, w]``, each map with sum 1.
        box: (top, left, bottom, right) of the crop, picture pixels.
        grid: of the clip.

    Returns:
        float32 ``[T, rows, columns]`` on the grid: 1 where the gaze is as likely as anywhere in the crop, bilinear
        between the map's pixels, 0 outside the crop.
    """
    top, left, bottom, right = (float(edge) for edge in box)
    rows, columns = grid.shape
    relative = density.float() * float(density.shape[1] * density.shape[2])
    y = ((torch.arange(rows) + 0.5) * grid.step - top) / (bottom - top)  # 0 to 1 inside the crop
    x = ((torch.arange(columns) + 0.5) * grid.step - left) / (right - left)
    where = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1).to(relative)
    places = (2 * where - 1).expand(len(relative), -1, -1, -1)
    laid = F.grid_sample(relative[:, None], places, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    inside = ((where > 0) & (where < 1)).all(dim=-1)
    return laid * inside


def gaze_peaks(laid: torch.Tensor, grid: ClipGrid) -> list[list[float]]:
    """Where each map of :func:`on_grid` is highest: ``[x, y]`` for each, shares of the picture, rounded.

    The last pixels of the grid may reach beyond the picture, so these are no shares of the grid.
    """
    columns = laid.shape[2]
    across, down = grid.step / grid.width, grid.step / grid.height
    places = laid.flatten(1).argmax(dim=1).tolist()
    return [[round((at % columns + 0.5) * across, 4), round((at // columns + 0.5) * down, 4)] for at in places]


def level_thresholds(density: torch.Tensor, shares: Sequence[float] = LEVEL_SHARES) -> torch.Tensor:
    """The value at the edge of the smallest area that holds each share of a map.

    Args:
        density: ``[T, h, w]``, each map with sum 1.
        shares: in (0, 1).

    Returns:
        ``[T, len(shares)]``, in the unit of :func:`on_grid`. A pixel belongs to the area when it is at least this.
    """
    ordered = density.double().flatten(1).sort(dim=1, descending=True).values
    held = ordered.cumsum(dim=1)
    wanted = torch.as_tensor(shares, dtype=torch.float64, device=density.device).expand(len(density), -1).contiguous()
    last = torch.searchsorted(held, wanted - 1e-9).clamp_max(ordered.shape[1] - 1)
    return ordered.gather(1, last) * float(ordered.shape[1])


def level_outlines(laid: np.ndarray, threshold: float, grid: ClipGrid) -> list[list[list[float]]]:
    """Closed outlines of the area where a laid map is at least ``threshold``.

    Args:
        laid: one map of :func:`on_grid`, ``[rows, columns]``.
        threshold: one value of :func:`level_thresholds`.
        grid: of the clip.

    Returns:
        For each outline its points ``[x, y]`` in picture pixels; inside the picture.
    """
    edged = np.pad(np.asarray(laid, np.float64), 1)  # an area at the picture's edge is closed along it
    lines = contourpy.contour_generator(z=edged).lines(threshold)
    limits = np.array([grid.width - 1, grid.height - 1], np.float64)
    points = [np.clip((np.asarray(line) - 1 + 0.5) * grid.step - 0.5, 0, limits) for line in lines]
    return [[[float(x), float(y)] for x, y in line] for line in points if len(line) > 3]


def write_volume(maps: np.ndarray, grid: ClipGrid, path: str | os.PathLike) -> None:
    """Write maps as a compressed volume that ITK writes, such as NRRD, with the geometry of the grid.

    Args:
        maps: ``[T, rows, columns]``, float32 or uint8.
        grid: of the clip.
        path: the file; its ending chooses the format.
    """
    writer = ITKWriter(output_dtype=maps.dtype)
    writer.set_data_array(np.ascontiguousarray(maps.transpose(2, 1, 0)), channel_dim=None, squeeze_end_dims=False)
    writer.set_metadata({"affine": grid.own_affine, "original_affine": grid.own_affine}, resample=False)
    writer.write(str(Path(path)), compression=True)
