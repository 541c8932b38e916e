# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The parts of a training sample that are drawn or read for one clip; :mod:`clips` puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from monai_usspeech.data.pair_controls import FoldedSpeech
from monai_usspeech.data.store import STORE_SAMPLE_RATE, StoredScan
from monai_usspeech.transforms.augmentation import draw_augmentation
from monai_usspeech.transforms.order import draw_order_times, order_decidable
from monai_usspeech.transforms.pair_sampling import PairRecord, PairSettings, frame_on_display

__all__ = [
    "ORDER_FRAMES",
    "clip_augmentation",
    "clip_order_times",
    "order_visible",
    "pair_values",
    "speech_level",
]

ORDER_FRAMES = 4


def clip_order_times(
    rng: np.random.RandomState, times: np.ndarray, begin: float, length: float, gap: tuple[float, float]
) -> tuple[np.ndarray, bool]:
    """Draw the moments of the frames to be put in order.

    Args:
        rng: random source.
        times: presentation times of the scan's frames ``[F]``, in seconds.
        begin: start of the clip, in seconds.
        length: length of the clip, in seconds.
        gap: shortest and longest time between neighbouring frames, in seconds; raised to the scan's frame interval.

    Returns:
        Four increasing times of the clip, and whether four different frames are on display then.
    """
    here = np.searchsorted(times, (begin, begin + length))
    interval = float(np.median(np.diff(times[slice(*here)]))) if here[1] - here[0] >= ORDER_FRAMES else length
    shortest, longest = (max(bound, interval * (1 + 1e-6)) for bound in gap)
    if shortest * (ORDER_FRAMES - 1) >= length:
        return begin + length * (np.arange(ORDER_FRAMES) + 0.5) / ORDER_FRAMES, False
    drawn = draw_order_times(rng, begin, length, (shortest, longest))
    return drawn, len(np.unique(frame_on_display(times, drawn))) == ORDER_FRAMES


def order_visible(frames: np.ndarray, threshold: float) -> bool:
    """Whether the order of ``frames [4, 1, H, W]`` can be seen: neighbours differ by at least ``threshold``."""
    step = max(1, frames.shape[-1] // 96)  # a mean over some 10,000 pixels is as good as one over all of them
    return order_decidable(np.ascontiguousarray(frames[..., ::step, ::step]), threshold)


def pair_values(
    scan: StoredScan | FoldedSpeech,
    record: PairRecord,
    affinity: bool,
    settings: PairSettings,
    negatives: bool = True,
) -> dict[str, Any]:
    """Read the speech of a clip's pairs, and put what was drawn beside it.

    Args:
        scan: where to read.
        record: the drawn pairs.
        affinity: whether the clip's affinity is high.
        settings: of the drawing.
        negatives: whether the hard negatives, and what belongs to them, are wanted.

    Returns:
        The pair keys of a sample but frames and level.
    """
    length = round(settings.window_seconds * STORE_SAMPLE_RATE)
    values: dict[str, Any] = {}
    windows = {"speech_pos": record.positive_starts}
    if negatives:
        windows["speech_neg"] = record.negative_starts
    for name, starts in windows.items():
        silence = np.zeros(length, np.int16)
        values[name] = np.stack([silence if np.isnan(s) else scan.read_speech(float(s), length) for s in starts])
        values[f"{name}_start"] = starts
    values.update(frame_times=record.frame_times, pair_valid=record.valid, affinity=np.float32(affinity))
    if not negatives:
        return values
    # The smallest part of a clip is added because a window may begin just where a clip does.
    negative_clip = np.floor(record.negative_starts / settings.clip_seconds + 1e-9)
    return {
        **values,
        "shift": record.shifts,
        "negative_clip_index": np.nan_to_num(negative_clip, nan=-1).astype(np.int64),
        "neg_valid": record.shifts != 0,
    }


def speech_level(scan: StoredScan | FoldedSpeech, statistics: str) -> dict[str, Any]:
    """The scan's level statistics for :class:`~monai_usspeech.transforms.LogSpectrogram`.

    Args:
        scan: a scan; one without speech gets neutral numbers.
        statistics: ``"scan"`` for one mean, ``"band"`` for one for each of 256 bands.

    Returns:
        ``speech_max_db``, ``speech_mean`` and ``speech_std``, float32.
    """
    shape = (256,) if statistics == "band" else ()
    known = scan.speech_statistics
    if known is None:
        mean, std, max_db = np.zeros(shape), np.ones(shape), 0.0
    else:
        band = "band_" if statistics == "band" else ""
        mean, std, max_db = np.asarray(known[f"{band}mean"]), np.asarray(known[f"{band}std"]), known["max_db"]
    return {
        "speech_max_db": np.float32(max_db),
        "speech_mean": mean.astype(np.float32),
        "speech_std": std.astype(np.float32),
    }


def clip_augmentation(
    rng: np.random.RandomState, augment: Mapping[str, Any], n_pairs: int, order: bool
) -> dict[str, np.ndarray]:
    """Draw the augmentation of a clip's frames.

    Args:
        rng: random source.
        augment: arguments of :func:`~monai_usspeech.transforms.augmentation.draw_augmentation`; ``jitter`` and
            ``noise`` (5/256 and 0.02 unless given) act on the order frames only.
        n_pairs: frames of pairs; 0 for none.
        order: whether there are order frames.

    Returns:
        ``frames_*`` and ``order_frames_*``, as far as there are such frames.
    """
    out: dict[str, np.ndarray] = {}
    if n_pairs:
        shared = {name: value for name, value in augment.items() if name not in ("jitter", "noise")}
        drawn = draw_augmentation(rng, n_pairs, **shared)
        out.update({f"frames_{name}": value for name, value in drawn.items()})
    if order:
        drawn = draw_augmentation(rng, ORDER_FRAMES, **{"jitter": 5 / 256, "noise": 0.02, **augment})
        out.update({f"order_frames_{name}": value for name, value in drawn.items()})
    return out
