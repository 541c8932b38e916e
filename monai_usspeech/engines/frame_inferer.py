# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""An image network over the frames of a clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor

from monai_usspeech.transforms.augmentation import standardise_frames

__all__ = ["FrameInferer"]


class FrameInferer(Inferer):
    """Apply an image network to every frame of a clip, some frames at a time.

    MONAI's ``SliceInferer`` walks along an axis too, but puts pictures together; it has no form for a network that
    answers with one row of numbers for a frame.

    A clip of bytes stays one: only the frames at hand become floating point, by the standardisation of the training.
    So the memory for a long clip is that of its bytes and of one chunk's activations. Floating-point input is taken to
    be standardised already.

    Args:
        chunk_size: largest number of frames in one call of the network.
        frame_mean: subtracted from uint8 frames, scaled to ``[0, 1]``.
        frame_std: divides them after that.

    Raises:
        ValueError: for a chunk of less than one frame, or ``frame_std`` that is not positive.
    """

    def __init__(self, chunk_size: int = 64, frame_mean: float = 0.5, frame_std: float = 0.25) -> None:
        super().__init__()
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
        if frame_std <= 0:
            raise ValueError(f"frame_std must be positive, got {frame_std}.")
        self.chunk_size, self.frame_mean, self.frame_std = chunk_size, frame_mean, frame_std

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Run the network over all frames.

        Args:
            inputs: clips ``[B, C, T, H, W]`` or images ``[B, C, H, W]``; uint8, or standardised floating point.
            network: takes images ``[N, C, H, W]`` and answers ``[N, ...]``.
            args: further arguments of the network.
            kwargs: further arguments of the network by name.

        Returns:
            ``[B, T, ...]`` for clips, ``[B, ...]`` for images.

        Raises:
            ValueError: for another number of axes, another integer type than uint8, or a clip without frames.
        """
        # slicing a MetaTensor costs more than the network of a small frame
        frames = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        if frames.ndim not in (4, 5):
            raise ValueError(f"expected [B, C, T, H, W] or [B, C, H, W], got the shape {tuple(frames.shape)}.")
        if frames.dtype != torch.uint8 and not frames.dtype.is_floating_point:
            raise ValueError(f"expected uint8 or floating point frames, got {frames.dtype}.")
        leading: tuple[int, ...] = (frames.shape[0],)
        if frames.ndim == 5:
            leading = (frames.shape[0], frames.shape[2])
            frames = frames.transpose(1, 2).flatten(0, 1)
        if len(frames) == 0:
            raise ValueError(f"there is no frame in the shape {tuple(inputs.shape)}.")
        answers = [network(self._standardised(chunk), *args, **kwargs) for chunk in frames.split(self.chunk_size)]
        joined: Tensor = torch.cat(answers).unflatten(0, leading)
        return joined

    def _standardised(self, chunk: Tensor) -> Tensor:
        if chunk.dtype != torch.uint8:
            return chunk
        return standardise_frames(chunk.float() / 255, self.frame_mean, self.frame_std)
