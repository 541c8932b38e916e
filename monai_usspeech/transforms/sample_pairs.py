# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Frames of a video as positives, and the sample pairs of USCL that are mixed of three of them.

Two frames of one video show the same organ in the same patient and make a positive pair. USCL (Chen et al., MICCAI
2021) mixes each of two frames with a third one, the anchor::

    I1 --- c ---.                          c drawn from Beta(0.5, 0.5): close to 0 or 1 more often than between
                 x1 = c I1 + (1 - c) I2
    I2 - 1 - c -<                          the smaller c, the more both views have in common
                 x2 = c I3 + (1 - c) I2
    I3 --- c ---'

One coefficient serves both, as in the code of USCL and of HiCo; the paper of USCL draws two. Frames are mixed after
augmentation and standardisation. A video of two frames gives these two, a video of one frame gives it twice: the
coefficient is then 1, nothing is mixed.
"""

from __future__ import annotations

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

__all__ = ["PAIR_FRAMES", "draw_mixing_coefficient", "draw_video_frames", "mix_sample_pair"]

PAIR_FRAMES = 3
"""Frames that one sample pair is mixed of."""


def draw_video_frames(rng: np.random.RandomState, n_frames: int, count: int = 2) -> np.ndarray:
    """
    Draw frames of a video in random order, distinct ones as long as there are enough.

    Of fewer frames than asked for each is given about equally often, equal ones side by side. First and last are thus
    two frames whenever the video has two: with ``count=3`` these are the pair, the anchor between them repeats one.

    Args:
        rng: random source.
        n_frames: frames of the video.
        count: frames to draw.

    Returns:
        int64 ``[count]``: frame numbers from 0 to ``n_frames - 1``.

    Raises:
        ValueError: When the video has no frame, or none is asked for.
    """
    if n_frames < 1 or count < 1:
        raise ValueError(f"need at least one frame to draw and one to draw from, got {count} of {n_frames}")
    order = rng.permutation(n_frames)
    places = np.arange(count) * min(n_frames, count) // count
    return order[places].astype(np.int64)


def draw_mixing_coefficient(rng: np.random.RandomState, n_frames: int, alpha: float = 0.5) -> float:
    """
    Draw the coefficient ``c`` of a sample pair.

    Args:
        rng: random source; one draw whatever the video's length.
        n_frames: frames of the video.
        alpha: both parameters of the Beta distribution.

    Returns:
        A number in [0, 1]; 1, so that nothing is mixed, for a video of fewer than three frames.

    Raises:
        ValueError: When ``alpha`` is not positive.
    """
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha must be a positive number, got {alpha}")
    drawn = float(rng.beta(alpha, alpha))
    return drawn if n_frames >= PAIR_FRAMES else 1.0


def mix_sample_pair(frames: NdarrayOrTensor, coefficient: NdarrayOrTensor | float) -> Tensor:
    """
    Mix three frames to a sample pair: ``x1 = c I1 + (1 - c) I2`` and ``x2 = c I3 + (1 - c) I2``.

    Args:
        frames: floating point ``[..., 3, C, H, W]``; the anchor ``I2`` is the middle one.
        coefficient: ``c [...]`` in [0, 1], with the leading axes of ``frames``.

    Returns:
        ``[..., 2, C, H, W]`` in the type of ``frames``.

    Raises:
        ValueError: When the shapes do not fit, or the frames are not floating point.
    """
    images: Tensor = convert_to_tensor(frames, track_meta=False)
    if images.ndim < 4 or images.shape[-4] != PAIR_FRAMES or not images.dtype.is_floating_point:
        raise ValueError(
            f"expected floating point frames [..., {PAIR_FRAMES}, C, H, W], got {tuple(images.shape)} of {images.dtype}"
        )
    share = torch.as_tensor(coefficient, device=images.device).to(images.dtype)
    if share.shape != images.shape[:-4]:
        raise ValueError(
            f"coefficient has the shape {tuple(share.shape)}; frames of the shape {tuple(images.shape)} "
            f"need {tuple(images.shape[:-4])}"
        )
    anchor, outer = images[..., 1:2, :, :, :], images[..., ::2, :, :, :]
    return torch.lerp(anchor, outer, share[..., None, None, None, None])
