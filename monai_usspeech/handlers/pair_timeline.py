# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""One clip's sampling as a time line: clip, intervals, voice, windows, shifts, order frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor

from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.transforms.pair_sampling import STEP

__all__ = ["COLOURS", "draw_timeline", "shown_flags"]

COLOURS = {
    "frame": "#0072B2",
    "positive": "#00815D",
    "negative": "#C14F00",
    "order": "#7B4FA0",
    "voice": "#4D4D4D",
    "ground": "#FFF0C2",
    "masked": "#A6A6A6",
}
"""Told apart by people with any colour vision (after Okabe and Ito), on white and in print."""

_VOICE = (0.0, 0.15)


def draw_timeline(axes: Axes, clip: Mapping[str, Tensor], dataset: ClipDataset) -> None:
    """Draw where the parts of a sample come from.

    Args:
        axes: where to draw; its limits, ticks and spines are set.
        clip: one sample of ``dataset`` (CPU tensors).
        dataset: gives the scan's name, length and voice activity.
    """
    settings = dataset.settings
    scan_index, number = int(clip["scan_index"]), int(clip["clip_index"])
    length = settings.clip_seconds
    reach = math.ceil((settings.shift_range - 1) * settings.shift_seconds / length) if "shift" in clip else 1
    n_clips = int(np.diff(dataset.index.offsets)[scan_index])
    first, last = max(number - reach, 0), min(number + reach + 1, n_clips)
    axes.set(xlim=(first * length - 0.02 * length, last * length + 0.02 * length), ylim=(0, 1), yticks=[])
    axes.set_xticks(np.arange(first, last + 1) * length, [f"{t * length:g} s" for t in range(first, last + 1)])
    axes.tick_params(axis="x", labelsize=7.5, length=2, pad=1.5, colors="#555555")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")
    other = "" if dataset.speech_source is None else f", CONTROL: speech of {dataset.voices[scan_index].id}"
    axes.set_title(dataset.clip_name(scan_index, number) + other, loc="left", fontsize=9, weight="bold", pad=3)
    _draw_intervals(axes, clip, dataset, range(first, last))
    _draw_flags(axes, dataset, scan_index, first, last)
    axes.add_patch(_box(number * length, length, facecolor="none", edgecolor=COLOURS["frame"], linewidth=1.3))
    if "speech_pos_start" in clip:
        _draw_pairs(axes, clip, settings.window_seconds)
    elif "frame_times" in clip:
        for k, time in enumerate(clip["frame_times"].tolist()):
            _draw_frame(axes, time, 0.62)
            axes.text(time, 0.5, f"{k + 1}", fontsize=7, color=COLOURS["frame"], ha="center", va="top")
    if "order_times" in clip:
        for shown, time in enumerate(clip["order_times"].tolist()):
            axes.plot(time, 0.93, "v", color=COLOURS["order"], markersize=3.5, clip_on=False)
            axes.text(time, 0.86, "abcd"[shown], color=COLOURS["order"], fontsize=7.5, ha="center", va="top")


def _draw_intervals(axes: Axes, clip: Mapping[str, Tensor], dataset: ClipDataset, clips: range) -> None:
    """A light ground under the intervals that may give pairs."""
    if "speech_pos_start" not in clip:
        return
    threshold = dataset.settings.threshold if dataset.gate else None
    usable = dataset.index.usable(threshold, int(clip["scan_index"]))
    length = dataset.settings.clip_seconds
    for number in clips:
        if usable[number]:
            axes.add_patch(_box(number * length, length, facecolor=COLOURS["ground"], edgecolor="white", linewidth=1.5))


def _box(begin: float, length: float, **style: Any) -> Rectangle:
    """An interval of the time line, at its full height."""
    return Rectangle((begin, 0), length, 1, **style)


def shown_flags(dataset: ClipDataset, scan_index: int) -> np.ndarray:
    """The voice activity of a scan to be drawn: what the filter goes by, else what the store has.

    Args:
        dataset: with or without a filter.
        scan_index: which of its scans.

    Returns:
        bool ``[J]``, one per 10 ms of the scan; empty where nothing is known.
    """
    if dataset.index.activity is not None:
        return dataset.index.flags(scan_index, 0, int(np.diff(dataset.index.offsets)[scan_index]))[1]
    scan = dataset.scans[scan_index]
    known = dataset.speech_source is None and dataset.voice_activity in scan.voice_activity_methods
    return scan.voice_activity(dataset.voice_activity) if known else np.zeros(0, bool)


def _draw_flags(axes: Axes, dataset: ClipDataset, scan_index: int, first: int, last: int) -> None:
    """Voice activity along the bottom."""
    per_clip = round(dataset.settings.clip_seconds / STEP)
    flags = shown_flags(dataset, scan_index)[first * per_clip : last * per_clip]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))) * STEP
    begins, ends = edges[::2] + first * per_clip * STEP, edges[1::2] + first * per_clip * STEP
    axes.broken_barh(list(zip(begins, ends - begins)), _VOICE, facecolors=COLOURS["voice"], linewidth=0)


def _draw_frame(axes: Axes, time: float, y: float) -> None:
    axes.plot(time, y, "o", color=COLOURS["frame"], markeredgecolor="white", markersize=5, zorder=5)


def _draw_pairs(axes: Axes, clip: Mapping[str, Tensor], seconds: float) -> None:
    """Frames, windows and shifts; the triples one below the other."""
    count = len(clip["frame_times"])
    step = 0.5 / max(count, 2)
    for k in range(count):
        y = 0.62 - k * step
        valid = bool(clip["pair_valid"][k])
        positive = float(clip["speech_pos_start"][k])
        negative = float(clip["speech_neg_start"][k]) if "speech_neg_start" in clip else np.nan
        _draw_frame(axes, float(clip["frame_times"][k]), y)
        for start, kind in ((positive, "positive"), (negative, "negative")):
            if np.isnan(start):
                continue
            colour = COLOURS[kind if valid else "masked"]
            axes.add_patch(Rectangle((start, y - 0.055), seconds, 0.11, color=colour, linewidth=0, zorder=4))
            middle = start + seconds / 2
            axes.text(middle, y, f"{k + 1}", fontsize=7, color="white", ha="center", va="center_baseline", zorder=6)
        if np.isnan(negative):
            continue
        tail, head = (positive, negative + seconds) if negative < positive else (positive + seconds, negative)
        colour = COLOURS["negative" if valid else "masked"]
        axes.add_patch(FancyArrowPatch((tail, y), (head, y), arrowstyle="-|>", mutation_scale=7, linewidth=1, zorder=3,
                                       color=colour, shrinkA=1, shrinkB=1))  # fmt: skip
