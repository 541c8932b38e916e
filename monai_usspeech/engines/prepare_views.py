# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From a collated batch of drawn frames to the views that a contrastive or semi-supervised method compares."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.utils import ensure_tuple_rep

from monai_usspeech.transforms.sample_pairs import mix_sample_pair
from monai_usspeech.transforms.view_augmentation import (
    VIEW_RECORD,
    apply_view_augmentation,
    identity_view_augmentation,
)

__all__ = ["PrepareViewBatch"]

_TARGETS = ("label", "item", "video")


class PrepareViewBatch(PrepareBatch):
    """Finish a batch of :class:`~monai_usspeech.data.FrameViewDataset` samples on the device.

    The loader hands over bytes and the numbers that were drawn. Here all frames of the batch are augmented, resized and
    standardised in one go, and, where the batch has coefficients, three frames of each video become the two mixed
    frames of a sample pair (USCL: Chen et al., MICCAI 2021): mixed after augmentation and standardisation, as in the
    authors' code. The views come first, so that each is one batch for the network.

    Args:
        size: side of the images that the network reads, or rows and columns, in pixels.
        frame_mean: subtracted from the grey values, which lie in ``[0, 1]``.
        frame_std: divides them after that.

    Raises:
        ValueError: When ``size`` or ``frame_std`` is not positive.
    """

    def __init__(self, size: int | tuple[int, int] = 224, frame_mean: float = 0.5, frame_std: float = 0.25) -> None:
        self.size: tuple[int, int] = ensure_tuple_rep(size, 2)  # a list from JSON, or one number
        if not (min(self.size) > 0 and frame_std > 0):
            raise ValueError(f"size and frame_std must be positive, got {size}, {frame_std}.")
        self.frame_mean, self.frame_std = float(frame_mean), float(frame_std)

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Prepare one batch.

        Args:
            batchdata: a collated batch: ``image [B, F, C, H, W]``, uint8 or floating point in [0, 1]; the record of its
                augmentation, ``image_affine [B, F, 2, 3]``, ``image_gain [B, F]``, ... (what is absent changes
                nothing); with mixing, ``mix [B]`` in 0..1 and F = 3; and the targets.
            device: where the network lies.
            non_blocking: as for :meth:`torch.Tensor.to`.
            kwargs: other arguments of :meth:`torch.Tensor.to`.

        Returns:
            ``(image float32 [V, B, C, h, w], targets)`` with V = F, or 2 with mixing, and of ``label [B]`` (-1: none),
            ``item [B]`` and ``video [B]`` what the batch has.

        Raises:
            KeyError: When the batch has no image.
            ValueError: When the image has another number of axes, or mixing does not have three frames.
        """
        if "image" not in batchdata:
            raise KeyError(f"the batch has no 'image'; it has {sorted(batchdata)}")
        batch = {
            name: batchdata[name].to(device=device, non_blocking=non_blocking, **kwargs)
            for name in ("image", "mix", *_TARGETS)
            if name in batchdata
        }
        # The record stays where it is: on the CPU it can be looked at, and what no frame needs is left out.
        record = {name: batchdata[f"image_{name}"] for name in VIEW_RECORD if f"image_{name}" in batchdata}
        if batch["image"].ndim != 5:
            raise ValueError(f"expected image [B, F, C, H, W], got the shape {tuple(batch['image'].shape)}")
        if "mix" in batch and batch["image"].shape[1] != 3:
            raise ValueError(f"mixing takes three frames of each video, got {batch['image'].shape[1]}")
        return self._views(batch, record), {name: batch[name] for name in _TARGETS if name in batch}

    def _views(self, batch: dict[str, torch.Tensor], record: dict[str, torch.Tensor]) -> torch.Tensor:
        """Augmented, standardised, mixed: ``[V, B, C, h, w]``."""
        frames = batch["image"].transpose(0, 1)  # turned round while they are small: bytes, before they are resized
        drawn = {name: value.transpose(0, 1) for name, value in record.items()}
        same = {} if len(drawn) == len(VIEW_RECORD) else _unchanged(frames.shape[:2])
        views = apply_view_augmentation(frames, {**same, **drawn}, self.size, (self.frame_mean, self.frame_std))
        if "mix" in batch:
            views = mix_sample_pair(views.transpose(0, 1), batch["mix"]).transpose(0, 1).contiguous()
        return views


def _unchanged(leading: torch.Size) -> dict[str, torch.Tensor]:
    """The record that changes nothing, with these leading axes."""
    same = identity_view_augmentation(leading.numel())
    return {name: torch.from_numpy(value).unflatten(0, leading) for name, value in same.items()}
