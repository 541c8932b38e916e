# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The clips of a scan store as a pretrained network sees them: what the experiment on strategies works with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monai_usspeech.data.annotations import plane_at
from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import STORE_SAMPLE_RATE, ScanStore, StoredScan
from monai_usspeech.engines.prepare_frames import PrepareFrameBatch
from monai_usspeech.label.clip_scores import clip_embedding
from monai_usspeech.label.model_files import PretrainedSpec
from monai_usspeech.label.speech_affinity import ClipSound, SpeechAffinity, clip_affinity
from monai_usspeech.networks.video_speech import VideoSpeechNet
from monai_usspeech.transforms.pair_sampling import frame_on_display
from monai_usspeech.transforms.spectrogram import LogSpectrogram
from monai_usspeech.transforms.voice_activity import FRAME_SECONDS

__all__ = ["PoolClip", "StoreReader"]

_CHUNK = 256


@dataclass(frozen=True, eq=False)
class PoolClip:
    """A clip of a scan.

    Attributes:
        id: scan and second of its beginning.
        features: ``[n, F]``, pooled features of its sampled frames.
        labels: int64 ``[n]``, the true plane of each.
        embedding: ``[F]``, see :func:`~monai_usspeech.label.clip_scores.clip_embedding`.
        speech: how well its narration fits.
    """

    id: str
    features: np.ndarray
    labels: np.ndarray
    embedding: np.ndarray
    speech: SpeechAffinity


class StoreReader:
    """Reads scans by a pretrained network.

    Args:
        network: in evaluation mode.
        spec: how pictures and speech are prepared for it.
        interval: seconds from one sampled frame to the next.
        voice_activity: which of a store's flags say where somebody speaks.
    """

    def __init__(
        self, network: VideoSpeechNet, spec: PretrainedSpec, interval: float, voice_activity: str = "energy"
    ) -> None:
        self.network, self.interval, self.voice_activity = network, interval, voice_activity
        self.prepare = PrepareFrameBatch(spec.size, None, spec.frame_mean, spec.frame_std)
        self.spectrogram = LogSpectrogram(
            size=(spec.size, spec.size), hop_length=spec.hop_length, normalise=spec.statistics
        )

    def frames(self, store: ScanStore) -> tuple[np.ndarray, np.ndarray]:
        """Features ``[N, F]`` and planes int64 ``[N]`` of the sampled frames of all labelled scans.

        Raises:
            InputError: when no scan has plane labels.
        """
        features, labels = [], []
        for scan in _labelled(store):
            chosen = frame_on_display(scan.times, self._sampled(0.0, scan.duration))
            features.append(self._features(scan, chosen).numpy())
            labels.append(plane_at(scan.planes, scan.times[chosen]))
        return np.concatenate(features), np.concatenate(labels)

    def clips(self, store: ScanStore, seconds: float) -> list[PoolClip]:
        """The clips of all labelled scans that have speech, each of so many seconds; the rest of a scan is left out.

        Raises:
            InputError: when no scan has plane labels and speech, or none lasts one clip.
        """
        found = [clip for scan in _labelled(store) if scan.has_speech for clip in self._clips_of(scan, seconds)]
        if not found:
            raise InputError(f"{store.root}: no labelled scan with speech lasts a clip of {seconds:g} s.")
        return found

    def _clips_of(self, scan: StoredScan, seconds: float) -> list[PoolClip]:
        features = self._features(scan, np.arange(scan.n_frames))
        flags = scan.voice_activity(self.voice_activity)
        clips = []
        for number in range(int((scan.duration + 1e-3) / seconds)):
            begin = number * seconds
            first, last = np.searchsorted(scan.times, [begin - 1e-6, begin + seconds - 1e-6])
            here, times = features[first:last], scan.times[first:last]
            if last == first:
                continue
            cells = [round(at / FRAME_SECONDS) for at in (begin, begin + seconds)]
            samples = scan.read_speech(begin, round(seconds * STORE_SAMPLE_RATE))
            sound = ClipSound(samples, flags[slice(*cells)], scan.speech_statistics or {})
            speech = clip_affinity(self.network, self.spectrogram, here, times - begin, sound, seconds)
            sampled = np.unique(frame_on_display(times, self._sampled(begin, seconds)))
            clips.append(
                PoolClip(
                    id=f"{scan.id}-{begin:05.1f}",
                    features=here[sampled].numpy(),
                    labels=plane_at(scan.planes, times[sampled]),
                    embedding=clip_embedding(here).numpy(),
                    speech=speech,
                )
            )
        return clips

    def _sampled(self, begin: float, seconds: float) -> np.ndarray:
        """Times of the sampled frames: the middles of the intervals."""
        return begin + (np.arange(int(seconds / self.interval + 1e-6)) + 0.5) * self.interval

    @torch.no_grad()
    def _features(self, scan: StoredScan, frames: np.ndarray) -> Tensor:
        rows = []
        for first in range(0, len(frames), _CHUNK):
            pictures = torch.from_numpy(scan.read_frames(frames[first : first + _CHUNK])[:, None])
            rows.append(self.network.video_stream(self.prepare({"image": pictures})[0]))
        return torch.cat(rows)


def _labelled(store: ScanStore) -> list[StoredScan]:
    found = [scan for scan in store if scan.planes]
    if not found:
        raise InputError(f"{store.root}: no scan has plane labels, which the experiment takes for the annotator's.")
    return found
