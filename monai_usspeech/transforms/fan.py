# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Crop the inner rectangle of the ultrasound fan and resize it.

Everything outside (clock, names, rulers, the fan's own border, which tells depth and zoom) is cut away. The geometry is
found by :func:`monai_usspeech.transforms.fan_geometry.detect_fan`, or given by hand.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends, ensure_tuple_rep
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from monai_usspeech.transforms.fan_geometry import Box, FanGeometry, detect_fan, largest_rectangle

__all__ = [
    "Box",
    "FanCrop",
    "FanCropD",
    "FanCropDict",
    "FanCropd",
    "FanGeometry",
    "check_box",
    "crop_and_resize",
    "detect_fan",
    "largest_rectangle",
]


def check_box(box: Sequence[int] | np.ndarray | Tensor, height: int, width: int) -> Box:
    """
    Check a rectangle against the picture it is to be cut from.

    Args:
        box: (top, left, bottom, right), whole pixels.
        height: of the picture.
        width: of the picture.

    Returns:
        The rectangle as :class:`Box`.

    Raises:
        ValueError: When it does not consist of four whole numbers, is empty, or leaves the picture.
    """
    edges = [float(edge) for edge in box]
    if len(edges) != 4 or any(edge != int(edge) for edge in edges):
        raise ValueError(f"expected a box of four whole numbers (top, left, bottom, right), got {tuple(edges)}")
    top, left, bottom, right = (int(edge) for edge in edges)
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(
            f"the box (top, left, bottom, right) = {(top, left, bottom, right)} does not lie in the picture of "
            f"{height}x{width} pixels (height x width)"
        )
    return Box(top, left, bottom, right)


def crop_and_resize(frames: Tensor, box: Sequence[int], size: tuple[int, int] | None = None) -> Tensor:
    """
    Cut a rectangle out of frames and resize it, bilinear with anti-aliasing.

    Args:
        frames: ``[..., H, W]`` with at least one leading axis, any real number type.
        box: (top, left, bottom, right) in pixels.
        size: (height, width) of the result; None: as cut.

    Returns:
        ``[..., *size]`` of the same type; values stay within the range they had, whole numbers are rounded.

    Raises:
        ValueError: When the box does not lie in the frames, or there is no leading axis.
    """
    if frames.ndim < 3:
        raise ValueError(f"expected frames [..., H, W] with a leading axis, got the shape {tuple(frames.shape)}")
    top, left, bottom, right = check_box(box, int(frames.shape[-2]), int(frames.shape[-1]))
    cropped = frames[..., top:bottom, left:right]
    if size is None or cropped.shape[-2:] == torch.Size(size):
        return cropped.clone()
    flat = cropped.reshape(-1, 1, bottom - top, right - left)
    # torch resizes uint8 itself, on the CPU only; other types pass through float32
    native = flat.dtype in (torch.float32, torch.float64) or (flat.dtype == torch.uint8 and flat.device.type == "cpu")
    resized = F.interpolate(flat if native else flat.float(), size, mode="bilinear", antialias=True)
    if frames.dtype.is_floating_point:  # rounding can lift a constant 255 to 255.00002
        resized = resized.clamp(flat.min().to(resized.dtype), flat.max().to(resized.dtype)).to(frames.dtype)
    elif not native:
        resized = resized.round().to(frames.dtype)
    return resized.reshape(*frames.shape[:-2], *size)


class FanCrop(Transform):
    """
    Crop the inner rectangle of the fan from a video or an image and resize it.

    The rectangle is detected on at most ``max_frames`` frames of each input, or fixed. Detection on a short clip finds
    another rectangle than on the whole scan: for clips of one scan, detect once and pass ``box``.

    Args:
        size: (height, width) of the result, or one number for both; None: as cut.
        box: (top, left, bottom, right) in source pixels; None: detect for each input.
        min_frames: change over time is judged from this number of frames on (see :func:`detect_fan`).
        max_frames: largest number of frames, spread over the video, used for detection.
        aspect: smallest and largest width / height of a detected rectangle; ``(1, 1)`` avoids distortion.
        margin: distance of a detected rectangle from the border of the fan, pixels; None: see :func:`detect_fan`.

    Example:
        >>> crop = FanCrop((256, 256))
        >>> cropped = crop(video)  # uint8 [1, T, H, W] -> [1, T, 256, 256]
        >>> crop.box
        Box(top=92, left=64, bottom=729, right=849)
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        size: Sequence[int] | int | None = (256, 256),
        box: Sequence[int] | None = None,
        min_frames: int = 2,
        max_frames: int = 32,
        aspect: tuple[float, float] = (0.8, 1.25),
        margin: int | None = None,
    ) -> None:
        self.size = None if size is None else ensure_tuple_rep(size, 2)
        self.fixed_box = box
        self.min_frames = min_frames
        self.max_frames = max_frames
        self.aspect = aspect
        self.margin = margin
        self.box: Box | None = None
        """The rectangle used by the last call, source pixels."""

    def __call__(self, img: NdarrayOrTensor, box: Sequence[int] | None = None) -> Tensor:
        """
        Crop and resize.

        Args:
            img: video ``[C, T, H, W]`` or image ``[C, H, W]``; uint8, or floating point in [0, 1] or [0, 255].
            box: rectangle for this input; None: the constructor's, or detection.

        Returns:
            ``[C, T, *size]`` or ``[C, *size]`` of the same type and value range. A MetaTensor keeps its meta data, with
            the rectangle under ``fan_box`` and the affine brought up to date.

        Raises:
            ValueError: When no fan is found, the rectangle leaves the picture, or shape or type do not fit.
        """
        if img.ndim not in (3, 4):
            raise ValueError(f"expected a video [C, T, H, W] or an image [C, H, W], got the shape {tuple(img.shape)}")
        data: Tensor = convert_to_tensor(img, track_meta=isinstance(img, MetaTensor))
        plain = data.as_tensor() if isinstance(data, MetaTensor) else data
        box = self.fixed_box if box is None else box
        if box is None:
            box = detect_fan(self._grey_frames(plain), self.aspect, self.margin, self.min_frames).box
        self.box = check_box(box, int(plain.shape[-2]), int(plain.shape[-1]))
        result = crop_and_resize(plain, self.box, self.size)
        return _with_meta(result, data, self.box) if isinstance(data, MetaTensor) else result

    def _grey_frames(self, img: Tensor) -> np.ndarray:
        """At most ``max_frames`` frames as uint8 ``[T, H, W]``, the mean over the channels."""
        video = img if img.ndim == 4 else img.unsqueeze(1)
        n_frames = video.shape[1]
        picked = np.unique(np.linspace(0, n_frames - 1, min(n_frames, self.max_frames)).round().astype(int))
        frames = video[:, torch.as_tensor(picked, device=video.device)]
        if frames.dtype == torch.uint8:
            grey = frames.float().mean(0)
        elif frames.dtype.is_floating_point:
            low, high = float(frames.min()), float(frames.max())
            if not (low >= 0 and high <= 255):
                raise ValueError(f"detection expects values in [0, 1] or [0, 255], got {low:g} to {high:g}; give a box")
            grey = frames.float().mean(0) * (255 if high <= 1 else 1)
        else:
            raise ValueError(f"detection expects uint8 or floating point values, got {frames.dtype}; give a box")
        return np.asarray(grey.round().to(torch.uint8).cpu().numpy())


def _with_meta(result: Tensor, source: MetaTensor, box: Box) -> MetaTensor:
    """Give the result the source's meta data; an affine over (T, H, W) or (H, W, ...) follows the crop and resize."""
    output = MetaTensor(result)
    output.copy_meta_from(source)
    output.meta["fan_box"] = tuple(box)
    change = np.eye(source.affine.shape[-1])
    first = source.ndim - 3  # axis of H among the spatial axes
    extents = ((box.top, box.bottom, result.shape[-2]), (box.left, box.right, result.shape[-1]))
    for axis, (start, stop, length) in enumerate(extents, start=first):
        scale = (stop - start) / length
        change[axis, axis] = scale
        change[axis, -1] = start + (scale - 1) / 2  # pixel centres: index 0 lies half a new pixel from the edge
    output.affine = source.affine @ torch.as_tensor(change, dtype=source.affine.dtype)
    return output


class FanCropd(MapTransform):
    """
    Dictionary version of :class:`FanCrop`; writes the rectangle used for ``key`` under ``{key}_fan_box``.

    Args:
        keys: keys of videos ``[C, T, H, W]`` or images ``[C, H, W]``.
        size, box, min_frames, max_frames, aspect, margin: see :class:`FanCrop`.
        box_key: key of an item's own rectangle (top, left, bottom, right); where it is missing or None, ``box`` or
            detection takes its place.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = FanCrop.backend

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int] | int | None = (256, 256),
        box: Sequence[int] | None = None,
        box_key: str | None = None,
        min_frames: int = 2,
        max_frames: int = 32,
        aspect: tuple[float, float] = (0.8, 1.25),
        margin: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.box_key = box_key
        self.crop = FanCrop(size, box, min_frames, max_frames, aspect, margin)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with cropped entries and their rectangles."""
        d = dict(data)
        given = d.get(self.box_key) if self.box_key is not None else None
        for key in self.key_iterator(d):
            d[key] = self.crop(d[key], box=given)
            d[f"{key}_fan_box"] = self.crop.box
        return d


FanCropD = FanCropDict = FanCropd
