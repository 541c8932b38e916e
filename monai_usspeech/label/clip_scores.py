# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What networks can say of a clip before anybody labels it: how unsure, how unlike others, how well speech fits."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.data.files import InputError
from monai_usspeech.engines.frame_inferer import FrameInferer
from monai_usspeech.label.model_files import ModelSpec, PretrainedSpec
from monai_usspeech.label.score_files import ClipScore, clip_stamp
from monai_usspeech.label.speech_affinity import SpeechAffinity, clip_affinity, read_clip_sound
from monai_usspeech.networks.video_speech import VideoSpeechNet
from monai_usspeech.transforms.spectrogram import LogSpectrogram

__all__ = ["clip_embedding", "frame_uncertainty", "score_clip"]

_DIGITS = 6


def frame_uncertainty(probabilities: Tensor) -> Tensor:
    """Entropy of each row over that of equal probabilities: ``-sum p log p / log C``, in [0, 1].

    Args:
        probabilities: ``[T, C]``, rows that sum to 1.

    Returns:
        ``[T]``.
    """
    entropy: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return entropy / math.log(probabilities.shape[1])


def clip_embedding(features: Tensor) -> Tensor:
    """Mean over frames of their features, each scaled to length 1 before: ``[T, F]`` to ``[F]``."""
    return nn.functional.normalize(features, dim=1).mean(dim=0)


@torch.no_grad()
def score_clip(
    name: str,
    path: str | os.PathLike,
    reader: Mapping[str, Any],
    plane: tuple[nn.Module, ModelSpec] | None = None,
    pretrained: tuple[nn.Module, PretrainedSpec] | None = None,
    models: Mapping[str, str | None] | None = None,
    device: str | torch.device = "cpu",
) -> ClipScore:
    """Score one clip.

    Args:
        name: the clip's id; its speech may lie beside it as NAME.wav.
        path: its file.
        reader: ``fan_crop``, ``frame_rate`` and ``fps`` of :class:`~monai_usspeech.data.fan_video.FanVideoReader`.
        plane: the classifier, on the device and in evaluation mode, and what it is.
        pretrained: likewise a :class:`~monai_usspeech.networks.VideoSpeechNet` with projections, which gives the
            affinity and the embedding, or a video stream alone, which gives the embedding. Its embedding is taken where
            there is one: it stays as it is when the classifier is trained anew.
        models: stamps of the two.
        device: where the networks are.

    Raises:
        InputError: when the clip cannot be read, or neither network is given.
    """
    if plane is None and pretrained is None:
        raise InputError("scoring needs a plane model or a pretrained network; start the server with one of them.")
    source = clip_stamp(path, name)
    uncertainty, frame, speech = None, None, SpeechAffinity(why="there is no pretrained network to hear with")
    features, count = torch.zeros(0), 0
    if plane is not None:
        network, spec = plane
        video, meta = _read(path, spec.size, reader)
        features = _features(video, cast(Any, network).features, spec.frame_mean, spec.frame_std, device)
        shares = frame_uncertainty(_plane_probabilities(network, features)).cpu()
        uncertainty, count = float(shares.mean()), len(shares)
        frame = int(meta["frame_indices"][int(shares.argmax())])
    if pretrained is not None:
        other, known = pretrained
        if plane is None or plane[1].size != known.size:
            video, meta = _read(path, known.size, reader)
        stream = other.video_stream if isinstance(other, VideoSpeechNet) else other
        features = _features(video, stream, known.frame_mean, known.frame_std, device)
        count = len(features)
        speech = _speech(name, path, other, known, features, meta["frame_times"], reader.get("fps"))
    return ClipScore(
        id=name,
        source=source,
        models={"plane": None, "pretrained": None, **(models or {})},
        reader=dict(reader),
        frames=count,
        uncertainty=_rounded(uncertainty),
        uncertain_frame=frame,
        embedding=tuple(round(float(value), _DIGITS) for value in clip_embedding(features).cpu()),
        affinity=_rounded(speech.affinity),
        affinity_margin=_rounded(speech.margin),
        speech_share=_rounded(speech.speech_share),
        why=speech.why,
    )


def _read(path: str | os.PathLike, size: int, reader: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    loader = FanVideoReader(size=size, **reader)
    return loader.get_data(loader.read(path))


def _features(video: np.ndarray, network: Any, mean: float, std: float, device: str | torch.device) -> Tensor:
    """Pooled features ``[T, F]`` of a clip uint8 ``[1, T, H, W]``."""
    inferer = FrameInferer(frame_mean=mean, frame_std=std)
    found: Tensor = inferer(torch.from_numpy(video)[None].to(device), network)[0].float()
    return found


def _plane_probabilities(network: nn.Module, features: Tensor) -> Tensor:
    """The classifier's probabilities from its pooled features: its forward pass after them."""
    classifier = cast(Any, network)
    logits: Tensor = classifier.head(classifier.standardise(features))
    return logits.softmax(dim=1)


def _speech(
    name: str,
    path: str | os.PathLike,
    network: nn.Module,
    spec: PretrainedSpec,
    features: Tensor,
    times: np.ndarray,
    fps: float | None,
) -> SpeechAffinity:
    if not isinstance(network, VideoSpeechNet):
        return SpeechAffinity(why="the pretrained network has not learnt to compare pictures with speech")
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    duration = float(times[-1]) + step
    sound, why = read_clip_sound(Path(path), name, duration, fps)
    spectrogram = LogSpectrogram(size=(spec.size, spec.size), hop_length=spec.hop_length, normalise=spec.statistics)
    return clip_affinity(network, spectrogram, features, times, sound, duration, why)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
