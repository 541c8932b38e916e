# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From a collated batch of clips to the tensors the network reads, on the training device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import PrepareBatch

from monai_usspeech.transforms.augmentation import apply_augmentation, identity_augmentation
from monai_usspeech.transforms.spectrogram import LogSpectrogram

__all__ = ["PrepareVideoSpeechBatch", "drawn_augmentation"]

_TARGETS = (
    *("pair_valid", "neg_valid", "negative_clip_index", "affinity"),
    *("order_valid", "order_label"),
    *("scan_index", "clip_index"),
)


def drawn_augmentation(batch: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The record that was drawn for ``batch[name]``, or the one that changes nothing where none was drawn.

    Args:
        batch: ``name [..., C, H, W]`` and, when the data are augmented, ``name_affine [..., 2, 3]``, ``name_gain`` and
            ``name_gamma [...]``.
        name: the key of the frames.

    Returns:
        What :func:`~monai_usspeech.transforms.apply_augmentation` takes.
    """
    if f"{name}_affine" in batch:
        return {key: batch[f"{name}_{key}"] for key in ("affine", "gain", "gamma")}
    leading = batch[name].shape[:-3]
    same = identity_augmentation(leading.numel())
    return {key: torch.from_numpy(value).unflatten(0, leading) for key, value in same.items()}


class PrepareVideoSpeechBatch(PrepareBatch):
    """Finish a batch of :class:`~monai_usspeech.data.ClipDataset` samples on the device.

    The loader hands over what is small: ``uint8`` frames, ``int16`` speech, and the numbers that were drawn for the
    augmentation. Here they become what the network reads, in one batch each: augmented frames and log-spectrograms.

    Args:
        size: side of the square frames that the network reads, in pixels.
        spectrogram: the transform from speech to log-spectrogram; default :class:`LogSpectrogram` with ``size``.
        frame_mean: subtracted from the frames, whose values lie in ``[0, 1]``.
        frame_std: divides the frames after that.
        valid_speech_only: make spectrograms of the speech of valid pairs alone. The others then do not pass through the
            speech stream, which saves its time and keeps silence out of its batch statistics.
        shared_window: all pairs of a clip have the same window (``shared_window`` of the dataset): it is read once.
        max_windows: read so many windows of a batch at most, those of its first clips; the pairs of the others are then
            not valid. Needs ``valid_speech_only``. None: all.

    Raises:
        ValueError: when ``max_windows`` is less than 1, or given without ``valid_speech_only``.
    """

    def __init__(
        self,
        size: int = 256,
        spectrogram: LogSpectrogram | None = None,
        frame_mean: float = 0.5,
        frame_std: float = 0.25,
        valid_speech_only: bool = False,
        shared_window: bool = False,
        max_windows: int | None = None,
    ) -> None:
        if max_windows is not None and not (valid_speech_only and max_windows >= 1):
            raise ValueError(f"max_windows must be at least 1 and needs valid_speech_only, got {max_windows}.")
        self.size, self.valid_speech_only = size, valid_speech_only
        self.shared_window, self.max_windows = shared_window, max_windows
        self.spectrogram = LogSpectrogram(size=(size, size)) if spectrogram is None else spectrogram
        self.standardise = (frame_mean, frame_std)

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor | None, dict[str, torch.Tensor], tuple, dict[str, torch.Tensor]]:
        """Prepare one batch.

        Args:
            batchdata: a collated batch; see DESIGN "Training sample" or :class:`~monai_usspeech.data.ClipDataset` for
                its keys.
            device: where the network lies.
            non_blocking: as for :meth:`torch.Tensor.to`.
            kwargs: other arguments of :meth:`torch.Tensor.to`.

        Returns:
            ``(frames, targets, (), network arguments)``, the form that MONAI's trainers take: ``frames [B, K, 1, S,
            S]`` (or ``None`` without pairs), the loss's targets, and ``speech_pos``/``speech_neg [B, W, 1, S, S]`` and
            ``order_frames [B, 4, 1, S, S]`` as far as the batch has them, with ``W = K`` windows, or one with
            ``shared_window``. With ``valid_speech_only`` speech is ``[n, 1, S, S]``, and ``speech_used`` bool ``[B,
            W]`` says which windows.
        """
        batch = {
            name: value.to(device=device, non_blocking=non_blocking, **kwargs)
            for name, value in batchdata.items()
            if torch.is_tensor(value) and value.dtype != torch.float64  # times stay behind: they are for people
        }
        if self.shared_window:
            batch.update({name: batch[name][:, :1] for name in ("speech_pos", "speech_neg") if name in batch})
        frames = self._frames(batch, "frames") if "frames" in batch else None
        arguments: dict[str, torch.Tensor] = {}
        used = self._used(batch)
        for name in ("speech_pos", "speech_neg"):
            if name in batch:
                arguments[name] = self._speech(batch, name, used)
        if used is not None:
            arguments["speech_used"] = used
        if "order_frames" in batch:
            arguments["order_frames"] = self._frames(batch, "order_frames")
        targets = {name: batch[name] for name in _TARGETS if name in batch}
        if self.max_windows is not None and used is not None:
            targets["pair_valid"] = batch["pair_valid"] & used
        # A clip is known by its scan and its place in it; two numbers become one that no other clip shares.
        targets["clip_id"] = batch["scan_index"] * (1 << 32) + batch["clip_index"]
        return frames, targets, (), arguments

    def _frames(self, batch: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        """Augment ``batch[name] [B, n, 1, H, W]`` as was drawn for it, and standardise: ``[B, n, 1, size, size]``."""
        return apply_augmentation(batch[name], drawn_augmentation(batch, name), self.size, self.standardise)

    def _used(self, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """The windows to be read, bool ``[B, W]``; None for all."""
        if not self.valid_speech_only or "speech_pos" not in batch:
            return None
        used = batch["pair_valid"][:, : batch["speech_pos"].shape[1]].clone()
        if self.max_windows is not None:
            used &= (used.flatten().cumsum(0) <= self.max_windows).view_as(used)
        # One at least: a speech stream that reads nothing has no gradient, which distributed training does not allow.
        used[0, 0] |= ~used.any()
        return used

    def _speech(self, batch: dict[str, torch.Tensor], name: str, used: torch.Tensor | None) -> torch.Tensor:
        """Log-spectrograms ``[B, W, 1, S, S]`` of ``batch[name] [B, W, N]`` by the statistics of each clip's scan, or
        ``[n, 1, S, S]`` of the windows that are used."""
        statistics = {key: batch[f"speech_{key}"] for key in ("max_db", "mean", "std")}
        if used is None:
            return self.spectrogram(batch[name], statistics)
        clips = used.nonzero()[:, 0]
        return self.spectrogram(batch[name][used], {key: value[clips] for key, value in statistics.items()})
