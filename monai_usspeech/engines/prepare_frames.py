# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From a collated batch of frames to the image and target that a downstream network is trained on."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.utils import ensure_tuple_rep

from monai_usspeech.engines.prepare_batch import drawn_augmentation
from monai_usspeech.transforms.augmentation import apply_augmentation, standardise_frames

__all__ = ["PrepareFrameBatch", "standardise_images"]

SMALLEST_STD = 1e-3  # a quarter of one grey value of 255: below it an image is of one grey, and becomes zero


def standardise_images(images: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """Subtract each image's own mean, divide by its own standard deviation, multiply by ``scale``.

    SonoNet's weights (Baumgartner et al., IEEE TMI 2017) expect this with a scale of 255.

    Args:
        images: floating point ``[B, C, h, w]``; an image of one grey becomes zero.
        scale: factor after that.

    Returns:
        ``[B, C, h, w]``.
    """
    std, mean = torch.std_mean(images, dim=(-3, -2, -1), correction=0, keepdim=True)
    return scale * (images - mean) / std.clamp_min(SMALLEST_STD)


class PrepareFrameBatch(PrepareBatch):
    """Finish a batch of :class:`~monai_usspeech.data.FrameDataset` samples on the device.

    Augments and resizes as was drawn for each frame (a batch without ``image_affine`` is only resized), and
    standardises the grey values.

    Args:
        size: side of the images that the network reads, or rows and columns, in pixels.
        target: key of the batch that is the target: ``"label"``, ``"saliency"``; None: no target.
        frame_mean: subtracted from the grey values, which lie in ``[0, 1]`` (``standardise="fixed"``).
        frame_std: divides them after that.
        standardise: ``"fixed"``: by the two numbers; ``"image"``: by each image's own mean and standard deviation.
        frame_scale: factor after that; SonoNet's weights expect ``standardise="image"`` and 255.

    Raises:
        ValueError: When ``standardise`` is unknown, or a number is not positive that must be.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 256,
        target: str | None = "label",
        frame_mean: float = 0.5,
        frame_std: float = 0.25,
        standardise: str = "fixed",
        frame_scale: float = 1.0,
    ) -> None:
        if standardise not in ("fixed", "image"):
            raise ValueError(f'standardise must be "fixed" or "image", got "{standardise}"')
        self.size: tuple[int, int] = ensure_tuple_rep(size, 2)  # a list from JSON, or one number
        if not (min(self.size) > 0 and frame_std > 0 and frame_scale > 0):
            raise ValueError(
                f"size, frame_std and frame_scale must be positive, got {size}, {frame_std}, {frame_scale}"
            )
        self.target, self.standardise, self.frame_scale = target, standardise, frame_scale
        self.frame_mean, self.frame_std = frame_mean, frame_std

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Prepare one batch.

        Args:
            batchdata: a collated batch with ``image [B, 1, H, W]``, uint8 or floating point in [0, 1], and the target.
            device: where the network lies.
            non_blocking: as for :meth:`torch.Tensor.to`.
            kwargs: other arguments of :meth:`torch.Tensor.to`.

        Returns:
            ``(image [B, 1, h, w], target)``, the form that MONAI's trainers and evaluators take.

        Raises:
            KeyError: When the batch has no image or not the target.
        """
        wanted = ["image", *([] if self.target is None else [self.target])]
        missing = [name for name in wanted if name not in batchdata]
        if missing:
            raise KeyError(f"the batch has no {missing[0]!r}; it has {sorted(batchdata)}")
        drawn = [name for name in ("image_affine", "image_gain", "image_gamma") if name in batchdata]
        batch = {
            name: batchdata[name].to(device=device, non_blocking=non_blocking, **kwargs) for name in [*wanted, *drawn]
        }
        image = self._image(batch)
        return image, None if self.target is None else batch[self.target]

    def _image(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        image = apply_augmentation(batch["image"], drawn_augmentation(batch, "image"), self.size)
        if self.standardise == "image":
            return standardise_images(image, self.frame_scale)
        return self.frame_scale * standardise_frames(image, self.frame_mean, self.frame_std)
