# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Embeddings of frames and of speech windows that are not paired yet, some at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

__all__ = ["TwoStreamInferer"]


class TwoStreamInferer(Inferer):
    """Send frames and spectrograms through a :class:`~monai_usspeech.networks.VideoSpeechNet` one after the other.

    In training a frame comes with its window. To try offsets, an utterance gives so many frames and so many windows, of
    different number, and which belongs to which is the question.

    Args:
        chunk_size: pictures in one call of the network; it bounds the memory and changes no result.

    Raises:
        ValueError: for a chunk of less than one.
    """

    def __init__(self, chunk_size: int = 64) -> None:
        super().__init__()
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
        self.chunk_size = chunk_size

    def __call__(
        self, inputs: Tensor, network: Callable[..., dict[str, Tensor]], *args: Any, speech_pos: Tensor, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Run both streams.

        Args:
            inputs: frames ``[B, F, C, H, W]``, standardised.
            network: answers ``{"video": [B, n, D]}`` to frames and ``{"speech": [B, n, D]}`` to ``speech_pos=``.
            args: further arguments of the network, after the frames.
            speech_pos: spectrograms ``[B, W, C, H, W]``.
            kwargs: further arguments of the network by name.

        Returns:
            ``"video" [B, F, D]`` and ``"speech" [B, W, D]``.
        """
        video = [network(chunk, *args, **kwargs)["video"] for chunk in inputs.split(self.chunk_size, dim=1)]
        windows = speech_pos.split(self.chunk_size, dim=1)
        speech = [network(None, *args, speech_pos=chunk, **kwargs)["speech"] for chunk in windows]
        return {"video": torch.cat(video, dim=1), "speech": torch.cat(speech, dim=1)}
