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
    ramped_rate,
)
from monai_usspeech.losses.contrastive import CrossModalContrastiveLoss, cross_modal_contrastive, hard_negative_penalty
from monai_usspeech.losses.hico import HiCoLoss
from monai_usspeech.losses.hico_terms import hico_contrastive, softened_cross_entropy
from monai_usspeech.losses.moco import MoCoLoss, moco_loss
from monai_usspeech.losses.nt_xent import NTXentLoss, nt_xent_loss
from monai_usspeech.losses.saliency import SaliencyKLLoss, saliency_kl_loss
from monai_usspeech.losses.siglip import SigLIPLoss, siglip_loss
from monai_usspeech.losses.supervised import SupervisedLoss
from monai_usspeech.losses.uscl import USCLLoss
from monai_usspeech.losses.video_speech import (
    CorrespondenceLoss,
    FrameOrderLoss,
    VideoSpeechLoss,
    correspondence_loss,
    frame_order_loss,
)
from monai_usspeech.losses.view_loss import ViewLoss

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
    "SupervisedLoss",
    "TemporalEnsemblingLoss",
    "USCLLoss",
    "VideoSpeechLoss",
    "ViewLoss",
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
    "ramped_rate",
    "saliency_kl_loss",
    "siglip_loss",
    "softened_cross_entropy",
]
