# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Networks: backbones, heads, the two-stream pretraining network, and weights to start from."""

from __future__ import annotations

from monai_usspeech.networks.backbones import BACKBONES, create_backbone, se_resnext50, se_resnext_small
from monai_usspeech.networks.heads import CorrespondenceHead, OrderHead, ProjectionHead
from monai_usspeech.networks.initialisation import InitialisationReport, load_initialisation, read_checkpoint
from monai_usspeech.networks.video_speech import VideoSpeechNet

__all__ = [
    "BACKBONES",
    "CorrespondenceHead",
    "InitialisationReport",
    "OrderHead",
    "ProjectionHead",
    "VideoSpeechNet",
    "create_backbone",
    "load_initialisation",
    "read_checkpoint",
    "se_resnext50",
    "se_resnext_small",
]
