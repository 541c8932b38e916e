# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How well the narration of a clip fits its pictures, in the eyes of a network that was pretrained on such pairs.

Windows of speech with enough voice are compared with the frame on display in their middle. What the number means by
itself is hard to say: some narrators are near to every picture. The margin takes that away: it is the same less the
similarity with frames of the clip at other times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_usspeech.data._media import open_container
from monai_usspeech.data.files import InputError
from monai_usspeech.data.speech import is_digital_silence, read_speech, speech_on_video_time, speech_origin
from monai_usspeech.data.store import STORE_SAMPLE_RATE
from monai_usspeech.data.video import VideoInfo, open_video
from monai_usspeech.label.score_files import sound_beside
from monai_usspeech.networks.video_speech import VideoSpeechNet
from monai_usspeech.transforms.pair_sampling import frame_on_display
from monai_usspeech.transforms.spectrogram import LogSpectrogram, spectrogram_statistics
from monai_usspeech.transforms.voice_activity import FRAME_SECONDS, voice_activity, window_activity

__all__ = [
    "WINDOW_SECONDS",
    "ClipSound",
    "SpeechAffinity",
    "affinity_and_margin",
    "clip_affinity",
    "read_clip_sound",
    "voiced_windows",
]

WINDOW_SECONDS = 0.6
"""Length of a speech window, as in the pretraining."""

_GRID = 0.5  # seconds from one window to the next
_VOICE = 0.5  # least share of active voice of a window, as in the pretraining
_APART = 2.0  # seconds from which on frame and window do not belong together: the length of a training clip
_MOST = 240  # windows of a clip; of longer ones, as many spread over it
_CHUNK = 64
_FLAG_SAMPLES = round(STORE_SAMPLE_RATE * FRAME_SECONDS)


@dataclass(frozen=True, eq=False)
class ClipSound:
    """The speech of a clip on the clock of its frames.

    Attributes:
        samples: int16 ``[N]``, 24 kHz, sample 0 at the first frame.
        flags: bool ``[J]``, voice activity of each 10 ms.
        statistics: levels of the recording, see :func:`~monai_usspeech.transforms.spectrogram_statistics`.
    """

    samples: np.ndarray
    flags: np.ndarray
    statistics: Mapping[str, Any]


@dataclass(frozen=True)
class SpeechAffinity:
    """How well narration and pictures fit.

    Attributes:
        affinity: mean cosine of the windows with voice and their frames, in [-1, 1]; None without such a window.
        margin: mean of the same less the mean cosine of the window with the frames of other windows at least 2 s away;
            None when the clip is too short for one.
        speech_share: share of the clip with active voice; None without speech.
        why: why there is no affinity; empty when there is one.
    """

    affinity: float | None = None
    margin: float | None = None
    speech_share: float | None = None
    why: str = ""


def read_clip_sound(
    path: str | Path, name: str, duration: float, fps: float | None = None
) -> tuple[ClipSound | None, str]:
    """The speech of a clip: the file NAME.wav or NAME.flac beside it, or else its own sound track.

    Args:
        path: the clip.
        name: its name without the suffixes.
        duration: seconds of it.
        fps: for files without a clock.

    Returns:
        The sound and an empty sentence, or None and why there is none.
    """
    path = Path(path)
    beside = sound_beside(path, name)
    try:
        with open_video(path, fps) as source:
            video = source.info
        if beside is None and not _has_sound_track(video):
            return None, f"no speech: the file has no sound track, and there is no {name}.wav beside it"
        track = read_speech(beside or path, STORE_SAMPLE_RATE)
        if is_digital_silence(track):
            return None, "no speech: the recording is silent"
        origin = speech_origin(video, track, same_file=beside is None)
        samples, (first, last) = speech_on_video_time(track, origin, duration)
        covered = samples[round(first * STORE_SAMPLE_RATE) : round(last * STORE_SAMPLE_RATE)]
        if last - first < WINDOW_SECONDS:
            return None, f"no speech: the recording covers {last - first:.2f} s of the clip"
        statistics = spectrogram_statistics(covered, STORE_SAMPLE_RATE)
    except InputError as error:
        return None, f"no speech: {str(error).replace(f'{path.parent}/', '')}"
    return ClipSound(samples, _flags(samples, first, last), statistics), ""


def _has_sound_track(video: VideoInfo) -> bool:
    if video.kind != "media":
        return False
    with open_container(video.path) as container:
        return bool(container.streams.audio)


def _flags(samples: np.ndarray, first: float, last: float) -> np.ndarray:
    """Voice activity, by what was recorded alone: padding would lower the detector's idea of the noise."""
    flags = np.zeros(len(samples) // _FLAG_SAMPLES, np.bool_)
    begin, end = int(np.ceil(first / FRAME_SECONDS)), min(int(last / FRAME_SECONDS), len(flags))
    wave = samples[begin * _FLAG_SAMPLES : end * _FLAG_SAMPLES]
    found = np.asarray(voice_activity(wave, STORE_SAMPLE_RATE, "energy"), np.bool_)
    flags[begin : begin + len(found)] = found
    return flags


def voiced_windows(flags: np.ndarray, duration: float) -> np.ndarray:
    """Starts in seconds of the windows that have enough voice: every half second, at most 240 spread over the clip.

    Args:
        flags: bool ``[J]``, voice activity of each 10 ms.
        duration: seconds; a window ends within it.

    Returns:
        float64 ``[n]``, growing.
    """
    count = int((duration - WINDOW_SECONDS) / _GRID + 1e-6) + 1 if duration >= WINDOW_SECONDS else 0
    starts = np.arange(count) * _GRID
    shares = window_activity(flags, round(WINDOW_SECONDS / FRAME_SECONDS))
    cells = np.rint(starts / FRAME_SECONDS).astype(int)
    inside = cells < len(shares)
    starts, cells = starts[inside], cells[inside]
    starts = np.asarray(starts[shares[cells] >= _VOICE - 1e-9])
    if len(starts) > _MOST:
        starts = starts[np.linspace(0, len(starts) - 1, _MOST).astype(int)]
    return starts


def affinity_and_margin(
    video: np.ndarray, speech: np.ndarray, times: np.ndarray, apart: float = _APART
) -> tuple[float, float | None]:
    """Mean similarity of frames and windows that belong together, and how much more it is than of those that do not.

    ``a_i = cos(v_i, s_i)``; ``m_i = a_i - mean of cos(v_j, s_i) over j with |t_j - t_i| >= apart``.

    Args:
        video: ``[n, D]``, embeddings of the frames.
        speech: ``[n, D]``, embeddings of the windows, in the same order.
        times: ``[n]``, seconds.
        apart: seconds.

    Returns:
        Mean of ``a_i``; mean of ``m_i`` over the windows that have such a j, None when none has.

    Raises:
        ValueError: when the shapes differ, or there is no window.
    """
    if video.ndim != 2 or video.shape != speech.shape or times.shape != video.shape[:1] or len(video) == 0:
        raise ValueError(
            f"video, speech and times must be [n, D], [n, D] and [n], n > 0, got {video.shape}, {speech.shape} and"
            f" {times.shape}."
        )
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (video, speech)]
    cosine = unit[0] @ unit[1].T  # frame, window
    matched = np.diagonal(cosine)
    far = np.abs(times[:, None] - times[None]) >= apart - 1e-9
    has_far = far.any(axis=0)
    if not has_far.any():
        return float(matched.mean()), None
    others = (cosine * far).sum(axis=0)[has_far] / far.sum(axis=0)[has_far]
    return float(matched.mean()), float((matched[has_far] - others).mean())


@torch.no_grad()
def clip_affinity(
    network: VideoSpeechNet,
    spectrogram: LogSpectrogram,
    features: Tensor,
    times: np.ndarray,
    sound: ClipSound | None,
    duration: float,
    why: str = "",
) -> SpeechAffinity:
    """Compare the speech of a clip with its frames.

    Args:
        network: with projections, in evaluation mode.
        spectrogram: as in its training.
        features: ``[T, F]``, pooled features of the frames from its video stream, on the network's device.
        times: ``[T]``, seconds of the frames from the first.
        sound: the speech; None without.
        duration: seconds of the clip.
        why: why there is no sound.
    """
    if sound is None:
        return SpeechAffinity(why=why or "no speech")
    share = float(sound.flags.mean()) if len(sound.flags) else 0.0
    starts = voiced_windows(sound.flags, duration)
    if len(starts) == 0:
        needed = f"a window of {WINDOW_SECONDS:g} s with voice in {_VOICE:.0%} of it"
        return SpeechAffinity(speech_share=share, why=f"too little voice: there is not {needed}")
    middles = starts + WINDOW_SECONDS / 2
    shown = torch.as_tensor(frame_on_display(times, middles), device=features.device)
    video = network.project(features[shown], "video")
    speech = _embed_windows(network, spectrogram, sound, starts, features.device)
    affinity, margin = affinity_and_margin(video.double().cpu().numpy(), speech.double().cpu().numpy(), middles)
    return SpeechAffinity(affinity, margin, share)


def _embed_windows(
    network: VideoSpeechNet, spectrogram: LogSpectrogram, sound: ClipSound, starts: np.ndarray, device: torch.device
) -> Tensor:
    """Embeddings ``[n, D]`` of the windows that begin at ``starts``."""
    length = round(WINDOW_SECONDS * STORE_SAMPLE_RATE)
    waves = np.zeros((len(starts), length), np.int16)
    for row, start in zip(waves, starts):
        begin = round(start * STORE_SAMPLE_RATE)
        found = sound.samples[begin : begin + length]
        row[: len(found)] = found
    rows = []
    for chunk in torch.from_numpy(waves).split(_CHUNK):
        pictures = spectrogram(chunk.to(device), sound.statistics)
        rows.append(network(None, speech_pos=pictures[None])["speech"][0])
    return torch.cat(rows)
