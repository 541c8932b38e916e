# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Transforms for ultrasound video and speech: array forms, dictionary forms, and the pure functions behind them."""

from __future__ import annotations

from monai_usspeech.transforms.augmentation import (
    RandClipAugmentation,
    RandClipAugmentationD,
    RandClipAugmentationd,
    RandClipAugmentationDict,
    apply_augmentation,
    draw_augmentation,
    identity_augmentation,
    standardise_frames,
)
from monai_usspeech.transforms.fan import FanCrop, FanCropD, FanCropd, FanCropDict
from monai_usspeech.transforms.fan_geometry import FanGeometry, detect_fan, largest_rectangle
from monai_usspeech.transforms.gaze_map import (
    GazeMap,
    GazeMapD,
    GazeMapd,
    GazeMapDict,
    augmented_points,
    blur_fixations,
    fixation_map,
    inside_picture,
)
from monai_usspeech.transforms.order import (
    ORDERS,
    TIME_ORDERS,
    FrameShuffle,
    FrameShuffleD,
    FrameShuffled,
    FrameShuffleDict,
    draw_order,
    draw_order_times,
    order_decidable,
    order_label,
    order_members,
    shuffle_frames,
)
from monai_usspeech.transforms.pair_sampling import PairRecord, PairSettings, draw_pairs
from monai_usspeech.transforms.pairs import (
    SampleVideoSpeechPairs,
    SampleVideoSpeechPairsD,
    SampleVideoSpeechPairsd,
    SampleVideoSpeechPairsDict,
)
from monai_usspeech.transforms.spectrogram import (
    LogSpectrogram,
    LogSpectrogramD,
    LogSpectrogramd,
    LogSpectrogramDict,
    log_spectrogram,
    spectrogram_statistics,
)
from monai_usspeech.transforms.voice_activity import (
    VoiceActivity,
    VoiceActivityD,
    VoiceActivityd,
    VoiceActivityDict,
    clip_activity,
    energy_voice_activity,
    silero_voice_activity,
    voice_activity,
    window_activity,
)

__all__ = [
    "FanCrop",
    "FanCropD",
    "FanCropDict",
    "FanCropd",
    "FanGeometry",
    "FrameShuffle",
    "FrameShuffleD",
    "FrameShuffleDict",
    "FrameShuffled",
    "GazeMap",
    "GazeMapD",
    "GazeMapDict",
    "GazeMapd",
    "LogSpectrogram",
    "LogSpectrogramD",
    "LogSpectrogramDict",
    "LogSpectrogramd",
    "ORDERS",
    "TIME_ORDERS",
    "PairRecord",
    "PairSettings",
    "RandClipAugmentation",
    "RandClipAugmentationD",
    "RandClipAugmentationDict",
    "RandClipAugmentationd",
    "SampleVideoSpeechPairs",
    "SampleVideoSpeechPairsD",
    "SampleVideoSpeechPairsDict",
    "SampleVideoSpeechPairsd",
    "VoiceActivity",
    "VoiceActivityD",
    "VoiceActivityDict",
    "VoiceActivityd",
    "apply_augmentation",
    "augmented_points",
    "blur_fixations",
    "clip_activity",
    "detect_fan",
    "draw_augmentation",
    "draw_order",
    "draw_order_times",
    "draw_pairs",
    "energy_voice_activity",
    "fixation_map",
    "identity_augmentation",
    "inside_picture",
    "largest_rectangle",
    "log_spectrogram",
    "order_decidable",
    "order_label",
    "order_members",
    "shuffle_frames",
    "silero_voice_activity",
    "spectrogram_statistics",
    "standardise_frames",
    "voice_activity",
    "window_activity",
]
