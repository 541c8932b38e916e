# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Frames drawn from a video, and sample pairs mixed of three of them, as transforms; see ``sample_pairs``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from monai_usspeech.transforms.sample_pairs import (
    PAIR_FRAMES,
    draw_mixing_coefficient,
    draw_video_frames,
    mix_sample_pair,
)

__all__ = [
    "RandSamplePair",
    "RandSamplePairD",
    "RandSamplePairDict",
    "RandSamplePaird",
    "RandVideoFrames",
    "RandVideoFramesD",
    "RandVideoFramesDict",
    "RandVideoFramesd",
]


class RandVideoFrames(Randomizable, Transform):
    """
    Draw frames of a video; see :func:`draw_video_frames`.

    Args:
        count: frames to draw.

    Raises:
        ValueError: When ``count`` is below 1.

    Example:
        >>> video = torch.zeros(30, 1, 64, 64, dtype=torch.uint8)
        >>> RandVideoFrames(2).set_random_state(0)(video).shape
        torch.Size([2, 1, 64, 64])
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(self, count: int = 2) -> None:
        draw_video_frames(np.random.RandomState(0), 1, count)  # raises now for a wrong count
        self.count = count
        self.numbers = np.zeros(count, dtype=np.int64)
        """Numbers of the frames that were drawn last."""

    def randomize(self, data: int) -> None:
        """Draw from a video of ``data`` frames."""
        self.numbers = draw_video_frames(self.R, data, self.count)

    def __call__(self, frames: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """
        Draw.

        Args:
            frames: ``[T, C, H, W]`` of any type.
            randomize: draw anew; False takes the numbers of the last video again.

        Returns:
            ``[count, C, H, W]`` of the same type.

        Raises:
            ValueError: When the shape does not fit, or the last numbers reach beyond these frames.
        """
        _check_video(frames)
        if randomize:
            self.randomize(frames.shape[0])
        if self.numbers.max() >= frames.shape[0]:
            raise ValueError(f"frame {self.numbers.max()} was drawn, but there are {frames.shape[0]} frames")
        return frames[torch.from_numpy(self.numbers) if isinstance(frames, Tensor) else self.numbers]


class RandSamplePair(Randomizable, Transform):
    """
    Draw three frames of a video and mix them to a sample pair; see :func:`mix_sample_pair`.

    USCL mixes frames after their augmentation: augment the video's frames each for itself before this transform, or
    draw three with :class:`RandVideoFrames`, augment these and mix them here.

    Args:
        alpha: both parameters of the Beta distribution of the coefficient.

    Raises:
        ValueError: When ``alpha`` is not positive.

    Example:
        >>> video = torch.zeros(30, 1, 64, 64, dtype=torch.uint8)
        >>> RandSamplePair().set_random_state(0)(video).shape
        torch.Size([2, 1, 64, 64])
    """

    backend = [TransformBackends.TORCH]

    def __init__(self, alpha: float = 0.5) -> None:
        draw_mixing_coefficient(np.random.RandomState(0), PAIR_FRAMES, alpha)  # raises now for a wrong alpha
        self.alpha = alpha
        self.draw = RandVideoFrames(PAIR_FRAMES)
        self.coefficient = 1.0
        """The coefficient that was drawn last."""

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandSamplePair:
        """Seed this transform and the one that draws its frames."""
        super().set_random_state(seed, state)
        self.draw.set_random_state(state=self.R)
        return self

    def randomize(self, data: int) -> None:
        """Draw frames and coefficient for a video of ``data`` frames."""
        self.draw.randomize(data)
        self.coefficient = draw_mixing_coefficient(self.R, data, self.alpha)

    def __call__(self, frames: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """
        Draw and mix.

        Args:
            frames: ``[T, C, H, W]``, uint8 or floating point.
            randomize: draw anew; False takes frames and coefficient of the last video again.

        Returns:
            ``[2, C, H, W]`` in the floating point type of ``frames``; uint8 becomes float32 in [0, 1].

        Raises:
            ValueError: When the shape or type does not fit.
        """
        _check_video(frames)
        if randomize:
            self.randomize(frames.shape[0])
        drawn: Tensor = convert_to_tensor(self.draw(frames, randomize=False), track_meta=False)
        return mix_sample_pair(drawn.float() / 255 if drawn.dtype == torch.uint8 else drawn, self.coefficient)


def _check_video(frames: NdarrayOrTensor) -> None:
    if frames.ndim != 4:
        raise ValueError(f"expected frames [T, C, H, W], got the shape {tuple(frames.shape)}")


class _OfVideo(Randomizable, MapTransform):
    """What the dictionary forms share: one draw for all keys, from videos of equal length."""

    transform: RandVideoFrames | RandSamplePair

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> _OfVideo:
        """Seed this transform and the array transform it holds."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: int) -> None:
        """Draw for videos of ``data`` frames."""
        self.transform.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with what was drawn of each video."""
        d = dict(data)
        lengths = {key: d[key].shape[0] for key in self.key_iterator(d)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"one draw for all keys needs videos of equal length, got {lengths}")
        if lengths:
            self.randomize(next(iter(lengths.values())))
        for key in lengths:
            d[key] = self.transform(d[key], randomize=False)
        return d


class RandVideoFramesd(_OfVideo):
    """
    Dictionary version of :class:`RandVideoFrames`: the same frames for all keys.

    Args:
        keys: keys of videos ``[T, C, H, W]`` of equal ``T``.
        count: frames to draw.
        allow_missing_keys: do not raise when a key is missing.

    Raises:
        ValueError: When ``count`` is below 1.
    """

    backend = RandVideoFrames.backend

    def __init__(self, keys: KeysCollection, count: int = 2, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = RandVideoFrames(count)


class RandSamplePaird(_OfVideo):
    """
    Dictionary version of :class:`RandSamplePair`: the same frames and coefficient for all keys.

    Args:
        keys: keys of videos ``[T, C, H, W]`` of equal ``T``.
        alpha: both parameters of the Beta distribution of the coefficient.
        allow_missing_keys: do not raise when a key is missing.

    Raises:
        ValueError: When ``alpha`` is not positive.
    """

    backend = RandSamplePair.backend

    def __init__(self, keys: KeysCollection, alpha: float = 0.5, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = RandSamplePair(alpha)


RandVideoFramesD = RandVideoFramesDict = RandVideoFramesd
RandSamplePairD = RandSamplePairDict = RandSamplePaird
