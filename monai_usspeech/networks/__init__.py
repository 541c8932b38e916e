# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Networks: backbones, heads, the two-stream pretraining network, downstream networks, and weights to start from."""

from __future__ import annotations

from monai_usspeech.networks.backbones import (
    BACKBONES,
    create_backbone,
    resnet18_backbone,
    se_resnext50,
    se_resnext_small,
)
from monai_usspeech.networks.checkpoints import read_checkpoint
from monai_usspeech.networks.contrastive import ContrastiveNet
from monai_usspeech.networks.downstream import FrameClassifier, SaliencyNet, spatial_softmax
from monai_usspeech.networks.heads import CorrespondenceHead, OrderHead, ProjectionHead
from monai_usspeech.networks.hico import HICO_CODE_FORM, HICO_LEVELS, HiCoNet
from monai_usspeech.networks.initialisation import InitialisationReport, load_initialisation
from monai_usspeech.networks.pyramid_classifier import PyramidClassifier
from monai_usspeech.networks.resnet_fpn import FeaturePyramid, PyramidNet, resnet18_fpn
from monai_usspeech.networks.sononet import SonoNet, SonoNetFeatures
from monai_usspeech.networks.video_speech import VideoSpeechNet

__all__ = [
    "BACKBONES",
    "ContrastiveNet",
    "CorrespondenceHead",
    "FeaturePyramid",
    "FrameClassifier",
    "HICO_CODE_FORM",
    "HICO_LEVELS",
    "HiCoNet",
    "InitialisationReport",
    "OrderHead",
    "ProjectionHead",
    "PyramidClassifier",
    "PyramidNet",
    "SaliencyNet",
    "SonoNet",
    "SonoNetFeatures",
    "VideoSpeechNet",
    "create_backbone",
    "load_initialisation",
    "read_checkpoint",
    "resnet18_backbone",
    "resnet18_fpn",
    "se_resnext50",
    "se_resnext_small",
    "spatial_softmax",
]
