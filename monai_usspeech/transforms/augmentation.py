# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Crop, flip, brightness and gamma for the frames of a clip, drawn on the CPU and applied on the device in one batch.

What is drawn is a record of three small arrays, so that a batch can be replayed and shown. The frames of a clip share
one crop, flip, gain and gamma: otherwise the augmentation itself would tell frames apart. For the frame-order task each
frame also gets a small spatial jitter of its own, which takes away slow drift and border cues (Lee et al., ICCV 2017).
The paper (Jiao et al., MICCAI 2020) states no augmentation; gain and gamma in 0.75 to 1.25 are those of the group's
later code.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, Randomizable, RandomizableTransform
from monai.utils import TransformBackends
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

__all__ = [
    "RandClipAugmentation",
    "RandClipAugmentationD",
    "RandClipAugmentationDict",
    "RandClipAugmentationd",
    "apply_augmentation",
    "draw_augmentation",
    "identity_augmentation",
    "standardise_frames",
]

LONGEST_STEP = 1.5  # source pixels between samples; beyond it bilinear sampling would skip pixels and alias


def draw_augmentation(
    rng: np.random.RandomState,
    frames: int,
    scale: tuple[float, float] = (0.8, 1.0),
    ratio: tuple[float, float] = (0.8, 1.25),
    flip: float = 0.5,
    gain: tuple[float, float] = (0.75, 1.25),
    gamma: tuple[float, float] = (0.75, 1.25),
    jitter: float = 0.0,
    noise: float = 0.0,
    shared: bool = True,
) -> dict[str, np.ndarray]:
    """
    Draw the augmentation of one clip. The crop always lies inside the picture, jitter included.

    Args:
        rng: random source; the number of draws depends on ``frames`` and ``shared`` only.
        frames: number of frames ``T``.
        scale: area of the crop as a share of the picture.
        ratio: width over height of the crop relative to those of the picture, drawn uniformly in its logarithm.
        flip: chance of a mirror image, left and right.
        gain: factor on the grey values.
        gamma: exponent of the grey values in [0, 1].
        jitter: each frame's own shift, at most this share of the output size on each axis (5 / 256: 5 of 256 pixels).
        noise: each frame's own change of gain, at most this share of it.
        shared: one crop, flip, gain and gamma for all frames; False: one for each frame.

    Returns:
        float32 arrays: ``affine [T, 2, 3]`` (``theta`` of :func:`torch.nn.functional.affine_grid`), ``gain [T]``,
        ``gamma [T]``.

    Raises:
        ValueError: When a range is empty, or scale, ratio, gain or gamma reaches zero.
    """
    _check_ranges(scale=scale, ratio=ratio, gain=gain, gamma=gamma)
    if scale[1] > 1 or not 0 <= flip <= 1 or not 0 <= jitter < 0.5 or not 0 <= noise < 1 or frames < 1:
        raise ValueError(
            f"need frames >= 1, scale <= 1, flip in [0, 1], jitter in [0, 0.5) and noise in [0, 1), "
            f"got {frames}, {scale}, {flip}, {jitter}, {noise}"
        )
    common = rng.uniform(size=(1 if shared else frames, 7)).repeat(frames if shared else 1, axis=0)
    own = rng.uniform(-1.0, 1.0, size=(frames, 3))

    area = _between(scale, common[:, 0])
    # a crop of this area fits into the picture for width over height in [area, 1 / area]
    low = np.clip(np.maximum(ratio[0], area), None, 1 / area)
    high = np.clip(np.minimum(ratio[1], 1 / area), low, None)
    shape = np.exp(np.log(low) + common[:, 1] * (np.log(high) - np.log(low)))
    extent = np.minimum(np.stack([np.sqrt(area * shape), np.sqrt(area / shape)], axis=1), 1 / (1 + 2 * jitter))  # x, y
    room = 1 - extent * (1 + 2 * jitter)
    centre = room * (2 * common[:, 2:4] - 1) + 2 * jitter * extent * own[:, :2]

    affine = np.zeros((frames, 2, 3), dtype=np.float32)
    affine[:, 0, 0] = extent[:, 0] * np.where(common[:, 4] < flip, -1, 1)
    affine[:, 1, 1] = extent[:, 1]
    affine[:, :, 2] = centre
    gains = _between(gain, common[:, 5]) * (1 + noise * own[:, 2])
    return {
        "affine": affine,
        "gain": gains.astype(np.float32),
        "gamma": _between(gamma, common[:, 6]).astype(np.float32),
    }


def identity_augmentation(frames: int) -> dict[str, np.ndarray]:
    """The record that changes nothing, for evaluation: the whole picture, gain 1, gamma 1; same keys and shapes."""
    return {
        "affine": np.tile(np.eye(2, 3, dtype=np.float32), (frames, 1, 1)),
        "gain": np.ones(frames, dtype=np.float32),
        "gamma": np.ones(frames, dtype=np.float32),
    }


def apply_augmentation(
    frames: NdarrayOrTensor,
    params: Mapping[str, NdarrayOrTensor],
    size: int | tuple[int, int] | None = None,
    standardise: tuple[float, float] | None = None,
) -> Tensor:
    """
    Apply a drawn record to all frames in one batch, on the device of ``frames``, in float32.

    Bilinear sampling; where the output is much smaller than the frames, several samples are averaged for each output
    pixel, so that speckle does not alias.

    Args:
        frames: ``[..., C, H, W]``, uint8 or floating point in [0, 1]: ``[N, 1, H, W]``, ``[B, K, 1, H, W]``, ...
        params: ``affine [..., 2, 3]``, ``gain [...]``, ``gamma [...]`` with the leading axes of ``frames``.
        size: rows and columns of the output; None: those of ``frames``.
        standardise: mean and standard deviation for :func:`standardise_frames`; None: values stay in [0, 1].

    Returns:
        float32 ``[..., C, size, size]``: ``clip(gain * value ** gamma, 0, 1)``, standardised when asked.

    Raises:
        ValueError: When the shapes of frames and record do not fit, or the type is neither uint8 nor floating point.
    """
    pixels: Tensor = convert_to_tensor(frames, track_meta=False)
    if pixels.dtype != torch.uint8 and not pixels.dtype.is_floating_point:
        raise ValueError(f"frames must be uint8 or floating point in [0, 1], got {pixels.dtype}")
    if pixels.ndim < 4:
        raise ValueError(f"expected frames [..., C, H, W] with a leading axis, got the shape {tuple(pixels.shape)}")
    leading = tuple(pixels.shape[:-3])
    affine, gain, gamma = (
        _record(params, name, leading, ending, pixels.device)
        for name, ending in (("affine", (2, 3)), ("gain", (1, 1, 1)), ("gamma", (1, 1, 1)))
    )
    height, width = pixels.shape[-2:] if size is None else (size, size) if isinstance(size, int) else size
    pixels = pixels.reshape(-1, *pixels.shape[-3:])
    with torch.autocast(device_type=pixels.device.type, enabled=False):
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        pixels = _sample(pixels, affine, height, width)
        pixels = (gain * pixels.clamp(0, 1) ** gamma).clamp(0, 1)
        if standardise is not None:
            pixels = standardise_frames(pixels, *standardise)
    return pixels.reshape(*leading, *pixels.shape[1:])


def standardise_frames(frames: Tensor, mean: float = 0.5, std: float = 0.25) -> Tensor:
    """
    Grey values in [0, 1] to ``(frames - mean) / std``, so that a network's first layer sees about zero mean.

    The numbers are fixed ones for all scans: statistics of a single frame would remove what gain augmentation adds.

    Args:
        frames: any shape.
        mean: subtracted.
        std: divided by.

    Raises:
        ValueError: When ``std`` is not positive.
    """
    if std <= 0:
        raise ValueError(f"std must be positive, got {std}")
    return (frames - mean) / std


def _check_ranges(**ranges: tuple[float, float]) -> None:
    for name, (low, high) in ranges.items():
        if not 0 < low <= high or not math.isfinite(high):
            raise ValueError(f"{name} must be a range of positive numbers (low, high), got ({low}, {high})")


def _between(bounds: tuple[float, float], share: np.ndarray) -> np.ndarray:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _record(
    params: Mapping[str, NdarrayOrTensor],
    name: str,
    leading: tuple[int, ...],
    ending: tuple[int, ...],
    device: torch.device,
) -> Tensor:
    """One array of the record as float32 ``[n, *ending]`` on the device."""
    if name not in params:
        raise ValueError(f"the augmentation record lacks {name!r}; it has {sorted(params)}")
    value = torch.as_tensor(params[name], dtype=torch.float32, device=device)
    expected = (*leading, *ending) if name == "affine" else leading
    if tuple(value.shape) != expected:
        raise ValueError(f"{name} has the shape {tuple(value.shape)}; frames of leading axes {leading} need {expected}")
    return value.reshape(-1, *ending)


def _sample(pixels: Tensor, affine: Tensor, height: int, width: int) -> Tensor:
    # A crop is never larger than the picture, so this many samples for each output pixel keep their distance at or
    # below LONGEST_STEP source pixels whatever was drawn; the shape of the work does not depend on the data.
    rows = max(1, math.ceil(pixels.shape[-2] / (LONGEST_STEP * height)))
    columns = max(1, math.ceil(pixels.shape[-1] / (LONGEST_STEP * width)))
    grid = F.affine_grid(affine, [len(pixels), 1, height * rows, width * columns], align_corners=False)
    sampled = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(sampled, (rows, columns)) if rows * columns > 1 else sampled


class RandClipAugmentation(RandomizableTransform):
    """
    Random crop, flip, gain and gamma, the same for all frames of a clip; see :func:`draw_augmentation`.

    Args:
        size: rows and columns of the output; None: those of the input.
        scale: area of the crop as a share of the picture.
        ratio: width over height of the crop.
        flip: chance of a mirror image.
        gain: factor on the grey values.
        gamma: exponent of the grey values.
        jitter: each frame's own shift as a share of the output size.
        noise: each frame's own change of gain.
        shared: one crop, flip, gain and gamma for all frames; False: one for each frame.
        standardise: mean and standard deviation for :func:`standardise_frames`; None: values stay in [0, 1].
        prob: chance that the clip is augmented; otherwise it is only resized.

    Raises:
        ValueError: When a range is empty or out of bounds.

    Example:
        >>> clip = torch.randint(0, 256, (16, 1, 288, 288), dtype=torch.uint8)
        >>> RandClipAugmentation(size=256).set_random_state(0)(clip).shape
        torch.Size([16, 1, 256, 256])
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        size: int | tuple[int, int] | None = 256,
        scale: tuple[float, float] = (0.8, 1.0),
        ratio: tuple[float, float] = (0.8, 1.25),
        flip: float = 0.5,
        gain: tuple[float, float] = (0.75, 1.25),
        gamma: tuple[float, float] = (0.75, 1.25),
        jitter: float = 0.0,
        noise: float = 0.0,
        shared: bool = True,
        standardise: tuple[float, float] | None = None,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob)
        self.size = size
        self.standardise = standardise
        self.ranges: dict[str, Any] = {
            "scale": scale, "ratio": ratio, "flip": flip, "gain": gain, "gamma": gamma,
            "jitter": jitter, "noise": noise, "shared": shared,
        }  # fmt: skip
        draw_augmentation(np.random.RandomState(0), 1, **self.ranges)  # raises now for a wrong range
        self.params = identity_augmentation(1)
        """The record of the last clip."""

    def randomize(self, data: int) -> None:
        """Draw the record of a clip with ``data`` frames."""
        super().randomize(None)
        drawn = draw_augmentation(self.R, data, **self.ranges)
        self.params = drawn if self._do_transform else identity_augmentation(data)

    def __call__(self, frames: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """
        Augment a clip.

        Args:
            frames: ``[T, C, H, W]``, uint8 or floating point in [0, 1].
            randomize: draw a new record; False uses the last one again (its first ``T`` frames).

        Returns:
            float32 ``[T, C, size, size]``.

        Raises:
            ValueError: When the shape or type does not fit.
        """
        if frames.ndim != 4:
            raise ValueError(f"expected frames [T, C, H, W], got the shape {tuple(frames.shape)}")
        if randomize:
            self.randomize(frames.shape[0])
        params = {name: value[: frames.shape[0]] for name, value in self.params.items()}
        return apply_augmentation(frames, params, self.size, self.standardise)


class RandClipAugmentationd(Randomizable, MapTransform):
    """
    Dictionary version of :class:`RandClipAugmentation`: one record for all keys.

    Args:
        keys: keys of clips ``[T, C, H, W]``; where they differ in ``T``, the longest sets the record and each takes its
            first ``T`` entries.
        allow_missing_keys: do not raise when a key is missing.
        **settings: arguments of :class:`RandClipAugmentation`.

    Raises:
        ValueError: When a range is empty or out of bounds.
    """

    backend = RandClipAugmentation.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, **settings: Any) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.augmentation = RandClipAugmentation(**settings)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandClipAugmentationd:
        """Seed this transform and the array transform it holds."""
        super().set_random_state(seed, state)
        self.augmentation.set_random_state(state=self.R)
        return self

    def randomize(self, data: int) -> None:
        """Draw the record for clips of at most ``data`` frames."""
        self.augmentation.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with augmented clips."""
        d = dict(data)
        keys = list(self.key_iterator(d))
        if not keys:
            return d
        self.randomize(max(d[key].shape[0] for key in keys))
        for key in keys:
            d[key] = self.augmentation(d[key], randomize=False)
        return d


RandClipAugmentationD = RandClipAugmentationDict = RandClipAugmentationd
