# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Losses: pure functions and their ``_Loss`` twins."""

from __future__ import annotations

from monai_usspeech.losses.contrastive import CrossModalContrastiveLoss, cross_modal_contrastive, hard_negative_penalty
from monai_usspeech.losses.saliency import SaliencyKLLoss, saliency_kl_loss
from monai_usspeech.losses.siglip import SigLIPLoss, siglip_loss
from monai_usspeech.losses.video_speech import (
    CorrespondenceLoss,
    FrameOrderLoss,
    VideoSpeechLoss,
    correspondence_loss,
    frame_order_loss,
)

__all__ = [
    "CorrespondenceLoss",
    "CrossModalContrastiveLoss",
    "FrameOrderLoss",
    "SaliencyKLLoss",
    "SigLIPLoss",
    "VideoSpeechLoss",
    "correspondence_loss",
    "cross_modal_contrastive",
    "frame_order_loss",
    "hard_negative_penalty",
    "saliency_kl_loss",
    "siglip_loss",
]
