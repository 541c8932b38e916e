# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Losses: pure functions and their ``_Loss`` twins."""

from __future__ import annotations

from monai_usspeech.losses.consistency import (
    FixMatchLoss,
    PiModelLoss,
    TemporalEnsemblingLoss,
    consistency_distance,
    pseudo_label_loss,
    ramp_down,
    ramp_up,
)
from monai_usspeech.losses.contrastive import CrossModalContrastiveLoss, cross_modal_contrastive, hard_negative_penalty
from monai_usspeech.losses.hico import HiCoLoss, hico_contrastive, softened_cross_entropy
from monai_usspeech.losses.moco import MoCoLoss, moco_loss
from monai_usspeech.losses.nt_xent import NTXentLoss, nt_xent_loss
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
    "FixMatchLoss",
    "FrameOrderLoss",
    "HiCoLoss",
    "MoCoLoss",
    "NTXentLoss",
    "PiModelLoss",
    "SaliencyKLLoss",
    "SigLIPLoss",
    "TemporalEnsemblingLoss",
    "VideoSpeechLoss",
    "consistency_distance",
    "correspondence_loss",
    "cross_modal_contrastive",
    "frame_order_loss",
    "hard_negative_penalty",
    "hico_contrastive",
    "moco_loss",
    "nt_xent_loss",
    "pseudo_label_loss",
    "ramp_down",
    "ramp_up",
    "saliency_kl_loss",
    "siglip_loss",
    "softened_cross_entropy",
]
