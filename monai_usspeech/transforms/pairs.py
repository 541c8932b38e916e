# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Video-speech pairs from a scan in memory, as MONAI transforms. The rule itself is in :mod:`.pair_sampling`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Randomizable, Transform
from monai.utils import convert_to_tensor
from monai.utils.enums import TransformBackends

from monai_usspeech.transforms.pair_sampling import (
    STEP,
    PairRecord,
    PairSettings,
    draw_pairs,
    frame_on_display,
    has_partner,
)
from monai_usspeech.transforms.voice_activity import clip_activity, window_activity

__all__ = [
    "PairRecord",
    "PairSettings",
    "SampleVideoSpeechPairs",
    "SampleVideoSpeechPairsD",
    "SampleVideoSpeechPairsDict",
    "SampleVideoSpeechPairsd",
    "draw_pairs",
    "frame_on_display",
    "has_partner",
]


class SampleVideoSpeechPairs(Randomizable, Transform):
    """Draw video-speech pairs from a scan in memory.

    For each of ``n_pairs`` triples: a frame of the clip, a speech window of the same clip (hard positive) and a
    speech window of an interval ``1 <= |q| < shift_range`` away in the same scan (hard negative). See
    :func:`draw_pairs` for the rule.

    Args:
        sample_rate: of the speech, in Hz.
        clip_seconds, window_seconds, n_pairs, shift_range, shift_unit, shift_sign, threshold: see :func:`draw_pairs`.
        gate: draw both windows only where there is enough voice; ``None``: when voice flags are given.

    Raises:
        ValueError: on an argument out of its range.

    Example::

        sample = SampleVideoSpeechPairs(n_pairs=2)
        pairs = sample(video, speech, fps=30.0, voice=VoiceActivity()(speech))
        pairs["frames"]  # [2, C, H, W]
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        sample_rate: int = 24000,
        clip_seconds: float = 2.0,
        window_seconds: float = 0.6,
        n_pairs: int = 2,
        shift_range: int = 5,
        shift_unit: str = "interval",
        shift_sign: str = "both",
        threshold: float = 0.5,
        gate: bool | None = None,
    ) -> None:
        self.sample_rate, self.gate = sample_rate, gate
        self.settings = PairSettings(
            clip_seconds, window_seconds, n_pairs, shift_range, shift_unit, shift_sign, threshold
        )
        self.record: PairRecord | None = None

    def randomize(self, data: tuple[int | None, int, np.ndarray, np.ndarray | None, bool, float]) -> None:
        """Draw :attr:`record` for ``(clip, n_clips, usable, activity, gate, frame_seconds)``."""
        clip, n_clips, usable, activity, gate, frame_seconds = data
        if clip is None:
            choices = np.flatnonzero(usable) if usable.any() else np.arange(n_clips)
            clip = int(choices[self.R.randint(len(choices))])
        arguments = {**vars(self.settings), "frame_seconds": frame_seconds}
        self.record = draw_pairs(self.R, clip, n_clips, gate=gate, usable=usable, activity=activity, **arguments)

    def __call__(  # type: ignore[override]
        self,
        video: NdarrayOrTensor,
        speech: NdarrayOrTensor,
        frame_times: Any = None,
        fps: float | None = None,
        voice: Any = None,
        clip: int | None = None,
        randomize: bool = True,
    ) -> dict[str, Any]:
        """Sample.

        Args:
            video: ``[C, T, H, W]``.
            speech: ``[N]``, on the video's time line: sample ``n`` lies at ``n / sample_rate`` seconds.
            frame_times: ``[T]`` seconds, from 0; or give ``fps``.
            fps: frames per second, when ``frame_times`` is not given.
            voice: voice activity, one bool per 10 ms ``[J]``.
            clip: number of the clip; ``None`` draws one, among those with enough voice when gated.
            randomize: ``False`` applies the last :attr:`record` again.

        Returns:
            ``frames [K, C, H, W]``, ``speech_pos``/``speech_neg [K, n]`` (zeros where there is no window),
            ``pair_valid`` and ``neg_valid`` bool ``[K]``, ``frame_times``, ``speech_pos_start``, ``speech_neg_start``,
            ``shift`` ``[K]``, and ``record``.

        Raises:
            ValueError: on shapes that do not agree, a scan shorter than one clip, or a gate without ``voice``.
        """
        images, wave = convert_to_tensor(video, track_meta=False), convert_to_tensor(speech, track_meta=False)
        if images.ndim != 4 or wave.ndim != 1:
            shapes = f"{tuple(images.shape)} and {tuple(wave.shape)}"
            raise ValueError(f"Expected video [C, T, H, W] and speech [N], got {shapes}.")
        times = self._times(images.shape[1], frame_times, fps)
        if randomize:
            self.randomize((clip, *self._scan(times, len(wave), voice)))
        if self.record is None:
            raise ValueError("randomize=False needs a record: call once with randomize=True, or set .record.")
        return self._apply(images, wave, times, self.record)

    @staticmethod
    def _times(n_frames: int, frame_times: Any, fps: float | None) -> np.ndarray:
        if (frame_times is None) == (fps is None):
            raise ValueError("Give frame_times or fps, one of the two.")
        times = np.asarray(frame_times, np.float64) if fps is None else np.arange(n_frames) / fps
        if times.shape != (n_frames,):
            raise ValueError(f"frame_times must be [{n_frames}], one per frame, got {list(times.shape)}.")
        return times

    def _scan(
        self, times: np.ndarray, n_samples: int, voice: Any
    ) -> tuple[int, np.ndarray, np.ndarray | None, bool, float]:
        """``(n_clips, usable, activity, gate, frame_seconds)`` of the scan."""
        s = self.settings
        step = float(np.median(np.diff(times))) if len(times) > 1 else s.frame_seconds
        n_clips = int((times[-1] + step) / s.clip_seconds + 1e-6)
        if n_clips == 0:
            raise ValueError(f"The video lasts {times[-1] + step:.2f} s, less than one clip of {s.clip_seconds} s.")
        gate = voice is not None if self.gate is None else self.gate
        usable = (np.arange(n_clips) + 1) * s.clip_seconds <= n_samples / self.sample_rate + 1e-6
        if voice is None:
            if gate:
                raise ValueError("gate=True needs voice, one bool per 10 ms. With gate=False windows are uniform.")
            return n_clips, usable, None, gate, step
        flags = np.asarray(voice, bool)
        if gate:
            high = clip_activity(flags, round(s.clip_seconds / STEP))[:n_clips] >= s.threshold
            usable &= np.pad(high, (0, n_clips - len(high)))
        return n_clips, usable, window_activity(flags, round(s.window_seconds / STEP)), gate, step

    def _apply(
        self, video: torch.Tensor, speech: torch.Tensor, times: np.ndarray, record: PairRecord
    ) -> dict[str, Any]:
        length = round(self.settings.window_seconds * self.sample_rate)
        shown = torch.from_numpy(frame_on_display(times, record.frame_times)).to(video.device)
        out: dict[str, Any] = {"frames": video.index_select(1, shown).movedim(1, 0)}
        for name, starts in (("speech_pos", record.positive_starts), ("speech_neg", record.negative_starts)):
            windows = speech.new_zeros(len(starts), length)
            for k in np.flatnonzero(~np.isnan(starts)):
                first = round(starts[k] * self.sample_rate)
                piece = speech[first : first + length]
                windows[k, : len(piece)] = piece
            out[name], out[f"{name}_start"] = windows, torch.from_numpy(starts)
        out["pair_valid"], out["neg_valid"] = torch.from_numpy(record.valid), torch.from_numpy(record.shifts != 0)
        out["frame_times"], out["shift"] = torch.from_numpy(record.frame_times), torch.from_numpy(record.shifts)
        return {**out, "record": record}


class SampleVideoSpeechPairsd(Randomizable, MapTransform):
    """Dictionary twin of :class:`SampleVideoSpeechPairs`: adds its results to the dictionary.

    Args:
        keys: the video ``[C, T, H, W]``; exactly one key.
        speech_key: the speech ``[N]``.
        frame_times_key: the frame times ``[T]``, or ``None`` when ``fps`` is given.
        fps: frames per second when there is no ``frame_times_key``.
        voice_key: voice flags ``[J]``; ``None``: not gated.
        clip_key: number of the clip; ``None`` draws one.
        prefix: put before the names of the results (``frames``, ``speech_pos``, ...).
        allow_missing_keys: leave a dictionary without the video as it is.
        kwargs: arguments of :class:`SampleVideoSpeechPairs`.

    Raises:
        ValueError: on several keys, or as the array transform does.
    """

    backend = SampleVideoSpeechPairs.backend

    def __init__(
        self,
        keys: KeysCollection = "video",
        speech_key: Hashable = "speech",
        frame_times_key: Hashable | None = None,
        fps: float | None = None,
        voice_key: Hashable | None = None,
        clip_key: Hashable | None = None,
        prefix: str = "",
        allow_missing_keys: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ValueError(f"SampleVideoSpeechPairsd takes one video key, got {self.keys}.")
        self.speech_key, self.prefix, self.fps = speech_key, prefix, fps
        self.optional = {"frame_times": frame_times_key, "voice": voice_key, "clip": clip_key}
        self.sampler = SampleVideoSpeechPairs(**kwargs)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> SampleVideoSpeechPairsd:
        """Set the random source of the sampler."""
        super().set_random_state(seed, state)
        self.sampler.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the pairs of ``data[video]`` and ``data[speech]``."""
        d = dict(data)
        for key in self.key_iterator(d):
            given = {name: d[source] for name, source in self.optional.items() if source is not None}
            pairs = self.sampler(d[key], d[self.speech_key], fps=self.fps, **given)
            d.update({f"{self.prefix}{name}": value for name, value in pairs.items()})
        return d


SampleVideoSpeechPairsD = SampleVideoSpeechPairsDict = SampleVideoSpeechPairsd
