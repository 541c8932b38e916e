# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
The views of a frame that contrastive and semi-supervised pretraining compare: drawn on the CPU, applied in one batch.

What is drawn is a record of six small arrays, each view with numbers of its own. The defaults are the augmentation of
HiCo's pretraining (Zhang et al., HiCo, ACCV 2022, released code): crops of 0.8 to 1 of the picture, mirror images, and
``ColorJitter(0.8, 0.8, 0.8, 0.2)``. Saturation and hue, the last two of these, leave a grey frame as it is, and so does
the greyscale of MoCo v2: none of them is here. Brightness comes before contrast; torchvision draws their order.

Settings of the other methods:

- MoCo v2 (Chen et al., 2020): ``scale=(0.2, 1), ratio=(0.75, 4 / 3), brightness=(0.6, 1.4), contrast=(0.6, 1.4),
  jitter_prob=0.8, blur_prob=0.5``.
- FixMatch (Sohn et al., NeurIPS 2020): ``jitter_prob=0`` for the weak view; with it ``strong=2, cutout=0.5`` for the
  strong one. Of RandAugment (Cubuk et al., 2020) only what a scan can look like takes part, see
  :data:`STRONG_OPERATIONS`; inverting, solarising or posterising an echo gives a picture that no scanner shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import NdarrayOrTensor
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from monai_usspeech.transforms.augmentation import (
    _between,
    _check_ranges,
    apply_augmentation,
    draw_augmentation,
    identity_augmentation,
    standardise_frames,
)

__all__ = [
    "STRONG_OPERATIONS",
    "VIEW_RECORD",
    "apply_view_augmentation",
    "draw_view_augmentation",
    "identity_view_augmentation",
]

STRONG_OPERATIONS = {
    "rotation": 30.0,
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translation_x": 0.3,
    "translation_y": 0.3,
    "brightness": math.log(2),
    "contrast": math.log(2),
    "gamma": math.log(2),
    "blur": 2.0,
}
"""
The operations of ``strong`` and the largest magnitude of each: degrees; tangent; share of the output's side; logarithm
of a factor (so half to double); Gaussian sigma in pixels of a 224-pixel image.
"""

VIEW_RECORD = ("affine", "gain", "gamma", "contrast", "blur", "cutout")
"""Names of the arrays of a record."""

BLUR_IMAGE = 224  # side of the image whose pixels blur is given in
EDGE = 1e-4  # of the picture's half side: rounding of a view that just reaches the border
LARGEST_BLUR = 4.0  # of such pixels; sets the kernel's size where the record lies on a device


def draw_view_augmentation(
    rng: np.random.RandomState,
    views: int,
    scale: tuple[float, float] = (0.8, 1.0),
    ratio: tuple[float, float] = (0.8, 1.25),
    flip: float = 0.5,
    brightness: tuple[float, float] = (0.2, 1.8),
    contrast: tuple[float, float] = (0.2, 1.8),
    gamma: tuple[float, float] = (1.0, 1.0),
    jitter_prob: float = 1.0,
    blur: tuple[float, float] = (0.1, 2.0),
    blur_prob: float = 0.0,
    strong: int = 0,
    cutout: float = 0.0,
) -> dict[str, np.ndarray]:
    """
    Draw the augmentation of ``views`` frames, each for itself.

    Args:
        rng: random source; the number of draws depends on ``views`` only.
        views: number of views ``V``.
        scale: area of the crop as a share of the picture.
        ratio: width over height of the crop relative to those of the picture, drawn uniformly in its logarithm.
        flip: chance of a mirror image, left and right.
        brightness: factor on the grey values.
        contrast: factor on the distance of the grey values from their mean over the frame.
        gamma: exponent of the grey values in [0, 1].
        jitter_prob: chance that brightness, contrast and gamma are changed at all.
        blur: sigma of a Gaussian in pixels of a 224-pixel image; it grows and shrinks with the output. At most 4.
        blur_prob: chance of that blur.
        strong: number of distinct operations of :data:`STRONG_OPERATIONS` on top, each of a magnitude drawn uniformly
            up to its largest, in either direction.
        cutout: longest side of a black square as a share of the output; its side is drawn uniformly from 0 to this, its
            centre anywhere in the output. 0: none.

    Returns:
        float32 arrays: ``affine [V, 2, 3]`` (``theta`` of :func:`torch.nn.functional.affine_grid`), ``gain [V]``,
        ``gamma [V]``, ``contrast [V]``, ``blur [V]`` (0: none) and ``cutout [V, 4]`` (top, left, bottom and right as
        shares of the output; zeros: none).

    Raises:
        ValueError: When a range is empty, reaches zero or is out of bounds.
    """
    _check_ranges(scale=scale, ratio=ratio, brightness=brightness, contrast=contrast, gamma=gamma, blur=blur)
    shares = {"jitter_prob": jitter_prob, "blur_prob": blur_prob, "cutout": cutout}
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
    if strong not in range(len(STRONG_OPERATIONS) + 1):
        raise ValueError(f"strong must be a whole number from 0 to {len(STRONG_OPERATIONS)}, got {strong}")
    if blur[1] > LARGEST_BLUR:
        raise ValueError(f"blur must not exceed {LARGEST_BLUR} pixels of a {BLUR_IMAGE}-pixel image, got {blur}")
    record = draw_augmentation(rng, views, scale, ratio, flip, gain=brightness, gamma=gamma, shared=False)
    jittered, tone, blurred, sigma, side, row, column = rng.uniform(size=(7, views))
    chosen, magnitude = rng.uniform(size=(2, views, len(STRONG_OPERATIONS)))

    for name in ("gain", "gamma"):
        record[name] = np.where(jittered < jitter_prob, record[name], 1)
    record["contrast"] = np.where(jittered < jitter_prob, _between(contrast, tone), 1)
    record["blur"] = np.where(blurred < blur_prob, _between(blur, sigma), 0)
    reach = np.stack([row - cutout * side / 2, column - cutout * side / 2])
    record["cutout"] = np.concatenate([reach, reach + cutout * side]).clip(0, 1).T if cutout else np.zeros((views, 4))
    if strong:
        taking_part = chosen.argsort(axis=1).argsort(axis=1) < strong
        _strengthen(record, taking_part * (2 * magnitude - 1) * list(STRONG_OPERATIONS.values()))
    return {name: record[name].astype(np.float32) for name in VIEW_RECORD}


def identity_view_augmentation(views: int) -> dict[str, np.ndarray]:
    """The record that changes nothing, for evaluation: the whole picture as it is; same keys and shapes."""
    return {
        **identity_augmentation(views),
        "contrast": np.ones(views, dtype=np.float32),
        "blur": np.zeros(views, dtype=np.float32),
        "cutout": np.zeros((views, 4), dtype=np.float32),
    }


def apply_view_augmentation(
    frames: NdarrayOrTensor,
    record: Mapping[str, NdarrayOrTensor],
    size: int | tuple[int, int] | None = None,
    standardise: tuple[float, float] | None = None,
) -> Tensor:
    """
    Apply a drawn record to all frames in one batch, on the device of ``frames``, in float32.

    In this order: crop and geometry, gamma, brightness, contrast, blur, black where the view reaches past the picture
    or is cut out. Steps that no frame needs are left out when the record lies on the CPU; of a record on a device all
    steps are done, as a look at its values would make the CPU wait.

    Args:
        frames: ``[..., C, H, W]``, uint8 or floating point in [0, 1], with at least one leading axis.
        record: ``affine [..., 2, 3]``, ``gain``, ``gamma``, ``contrast``, ``blur [...]`` and ``cutout [..., 4]`` with
            the leading axes of ``frames``.
        size: rows and columns of the output; None: those of ``frames``.
        standardise: mean and standard deviation for :func:`~monai_usspeech.transforms.standardise_frames`; None: values
            stay in [0, 1].

    Returns:
        float32 ``[..., C, h, w]``.

    Raises:
        ValueError: When the shapes of frames and record do not fit, or the type is neither uint8 nor floating point.
    """
    pixels: Tensor = convert_to_tensor(frames, track_meta=False)
    leading = tuple(pixels.shape[:-3])
    affine, contrast, blur, cutout = (
        _array(record, name, leading, ending)
        for name, ending in (("affine", (2, 3)), ("contrast", ()), ("blur", ()), ("cutout", (4,)))
    )
    pixels = apply_augmentation(pixels, record, size).flatten(end_dim=-4)
    with torch.autocast(device_type=pixels.device.type, enabled=False):
        if _asked(contrast != 1):
            pixels = _change_contrast(pixels, contrast.to(pixels.device))
        if _asked(blur != 0):
            pixels = _blur(pixels, blur)
        if _asked(_reach(affine) > 1 + EDGE):
            pixels = pixels * _inside_picture(affine.to(pixels.device), *pixels.shape[-2:])
        if _asked(cutout != 0):
            pixels = pixels * _outside_cutout(cutout.to(pixels.device), *pixels.shape[-2:])
        if standardise is not None:
            pixels = standardise_frames(pixels, *standardise)
    return pixels.reshape(*leading, *pixels.shape[1:])


def _strengthen(record: dict[str, np.ndarray], magnitude: np.ndarray) -> None:
    """Put operations of magnitudes ``[V, 9]``, 0 for those that take no part, on top of a record."""
    drawn = dict(zip(STRONG_OPERATIONS, magnitude.T))
    angle = np.radians(drawn["rotation"])
    ones = np.ones_like(angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[ones, drawn["shear_x"]], [drawn["shear_y"], ones]])
    shift = 2 * np.stack([drawn["translation_x"], drawn["translation_y"]])  # the output runs from -1 to 1
    # geometry acts in the output's coordinates, the crop carries those into the picture: what the crop left out shows
    # where the picture is moved, and black only beyond the picture
    linear, offset = np.split(record["affine"].astype(np.float64), [2], axis=2)
    record["affine"] = np.concatenate(
        [
            np.einsum("vij,jkv,klv->vil", linear, turn, shear),
            offset + np.einsum("vij,jv->vi", linear, shift)[..., None],
        ],
        axis=2,
    )
    for name, operation in (("gain", "brightness"), ("contrast", "contrast"), ("gamma", "gamma")):
        record[name] = record[name] * np.exp(drawn[operation])
    record["blur"] = np.minimum(np.hypot(record["blur"], drawn["blur"]), LARGEST_BLUR)  # variances of Gaussians add


def _array(
    record: Mapping[str, NdarrayOrTensor], name: str, leading: tuple[int, ...], ending: tuple[int, ...]
) -> Tensor:
    """One array of the record as float32 ``[n, *ending]``, left on its device."""
    if name not in record:
        raise ValueError(f"the augmentation record lacks {name!r}; it has {sorted(record)}")
    value = torch.as_tensor(record[name], dtype=torch.float32)
    if tuple(value.shape) != (*leading, *ending):
        raise ValueError(
            f"{name} has the shape {tuple(value.shape)}; frames of leading axes {leading} need {(*leading, *ending)}"
        )
    return value.reshape(-1, *ending)


def _asked(needed: Tensor) -> bool:
    """Whether any frame needs a step; on a device always, see :func:`apply_view_augmentation`."""
    return needed.device.type != "cpu" or bool(needed.any())


def _change_contrast(pixels: Tensor, contrast: Tensor) -> Tensor:
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, pixels, contrast.reshape(-1, 1, 1, 1)).clamp(0, 1)


def _blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of frames ``[N, C, H, W]``, each with its own sigma ``[N]``, along columns and then along rows."""
    if sigma.device.type == "cpu":
        chosen = sigma.nonzero()[:, 0]
        widest, sigma = float(sigma.max()), sigma[chosen].to(pixels.device)
        blurred = _blur_all(pixels[chosen.to(pixels.device)], sigma, widest)
        return pixels.index_copy(0, chosen.to(pixels.device), blurred)
    return _blur_all(pixels, sigma.to(pixels.device), LARGEST_BLUR)


def _blur_all(pixels: Tensor, sigma: Tensor, widest: float) -> Tensor:
    for axis in (2, 3):
        unit = pixels.shape[axis] / BLUR_IMAGE
        radius = max(1, math.ceil(3 * widest * unit))
        distance = torch.arange(-radius, radius + 1, device=pixels.device, dtype=torch.float32)
        # far below a pixel the kernel is a single one: a sigma of 0 changes nothing
        kernel = torch.exp(-0.5 * (distance / (sigma * unit).clamp(min=1e-3)[:, None]) ** 2)
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(pixels.shape[1], 0)
        padding = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        padded = F.pad(pixels, padding, mode="replicate")
        weight = kernel[:, None, :, None] if axis == 2 else kernel[:, None, None, :]
        # one group for each channel of each frame, so that every frame has a kernel of its own
        padded = padded.reshape(1, -1, *padded.shape[2:])
        pixels = F.conv2d(padded, weight, groups=len(weight)).reshape(pixels.shape)
    return pixels


def _reach(affine: Tensor) -> Tensor:
    """How far from the picture's middle a view reaches on each axis, ``[N, 2]``; 1 is the picture's border."""
    return affine[..., :2].abs().sum(-1) + affine[..., 2].abs()


def _inside_picture(affine: Tensor, height: int, width: int) -> Tensor:
    """1 where a pixel of the view lies in the picture and 0 where it does not, ``[N, 1, height, width]``."""
    grid = F.affine_grid(affine, [len(affine), 1, height, width], align_corners=False)
    return (grid.abs() <= 1 + EDGE).all(-1)[:, None].float()


def _outside_cutout(cutout: Tensor, height: int, width: int) -> Tensor:
    """0 where a pixel's centre lies in the rectangle and 1 elsewhere, ``[N, 1, height, width]``."""
    rows = ((torch.arange(height, device=cutout.device) + 0.5) / height)[:, None]
    columns = ((torch.arange(width, device=cutout.device) + 0.5) / width)[None]
    top, left, bottom, right = cutout.reshape(-1, 4, 1, 1).unbind(1)
    hidden = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return (~hidden)[:, None].float()
