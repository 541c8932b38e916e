# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The first training batch as a picture, so that a person can see what is being learnt from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, GridSpecFromSubplotSpec, SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.data.oracle import ORACLE
from monai_usspeech.data.store import STORE_SAMPLE_RATE
from monai_usspeech.handlers.first_batch_picture import FirstBatchPicture
from monai_usspeech.handlers.pair_timeline import COLOURS, draw_timeline, shown_flags
from monai_usspeech.transforms.augmentation import apply_augmentation
from monai_usspeech.transforms.order import order_members
from monai_usspeech.transforms.pair_sampling import STEP
from monai_usspeech.transforms.spectrogram import LogSpectrogram

__all__ = ["PairPictureHandler", "draw_pairs_picture"]

# Inches: a picture tile with its gap, the heading, and what a clip takes besides its tiles.
_TILE, _HEAD, _BLOCK = 1.6, 0.84, 2.05
_WIDTH, _LOW_TILE = 9.0, 1.9  # of a time line at least; of a tile where there are no spectrograms


class PairPictureHandler(FirstBatchPicture):
    """Draw the first batch of a run as a PNG, once for each run folder.

    Args:
        path: the file; left as it is when it exists, so a resumed run keeps its first picture.
        dataset: the dataset that the batches come from.
        max_clips: how many clips of the batch to draw.
    """

    def __init__(self, path: str | os.PathLike, dataset: ClipDataset, max_clips: int = 3) -> None:
        super().__init__(path)
        self.dataset, self.max_clips = dataset, max_clips

    def figure(self, batch: Mapping[str, Tensor]) -> Figure:
        """The picture of a collated batch of the dataset."""
        return draw_pairs_picture(batch, self.dataset, self.max_clips)


def draw_pairs_picture(batch: Mapping[str, Tensor], dataset: ClipDataset, max_clips: int = 3) -> Figure:
    """Draw clips of a batch: a time line, the frames with both their spectrograms, and the shuffled frames.

    Frames are shown as the network gets them (augmented, when the batch carries augmentation). All spectrograms share
    one colour scale; under each lies the voice activity of its window.

    Args:
        batch: a collated batch of ``dataset``.
        dataset: where it comes from; gives scan names and voice activity.
        max_clips: draw this many, clips with valid pairs first.

    Returns:
        The figure, to be saved with ``figure.savefig``.
    """
    chosen = _chosen(batch, max_clips)
    pairs, order = "speech_pos" in batch, "order_frames" in batch
    n_frames = batch["frames"].shape[1] if "frames" in batch else 0
    # a frame, its positive window and its negative one, as far as there are any
    blocks = n_frames * [1.0 + pairs + ("speech_neg" in batch)] + [4.0] * order
    width = max(_TILE * sum(blocks), _WIDTH)
    if not (pairs or order):
        blocks.append(max(width / _LOW_TILE - n_frames, 0.05))  # frames alone do not fill the width of a time line
    tile = width / sum(blocks) - 0.1 if pairs else _LOW_TILE
    figure = Figure(figsize=(width, _HEAD + len(chosen) * (tile + _BLOCK)))
    FigureCanvasAgg(figure)
    _draw_heading(figure, dataset, pairs, order, n_frames > 0)
    for row, item in enumerate(chosen):
        clip = {name: value[item].detach().cpu() for name, value in batch.items() if torch.is_tensor(value)}
        begin = _HEAD + row * (tile + _BLOCK)
        draw_timeline(figure.add_subplot(_rows(figure, begin + 0.22, 0.95)[0]), clip, dataset)
        places = GridSpecFromSubplotSpec(
            1, len(blocks), _rows(figure, begin + 1.58, tile + 0.14)[0], width_ratios=blocks, wspace=0.05
        )
        spectrograms = _spectrograms(clip, dataset) if pairs else np.zeros(0)
        for k in range(n_frames):
            if pairs:
                _draw_pair(figure, places[k], clip, k, spectrograms, dataset)
            else:
                _draw_frame(figure.add_subplot(places[k]), clip, k)
        if order:
            _draw_order(figure, places[len(blocks) - 1], clip, dataset.order_reversal)
    return figure


def _rows(figure: Figure, begin: float, height: float) -> GridSpec:
    """The full width of the figure from ``begin`` inches below its top, ``height`` inches high."""
    total = figure.get_figheight()
    side = 0.16 / figure.get_figwidth()
    return figure.add_gridspec(
        1, 1, left=side, right=1 - side, top=1 - begin / total, bottom=1 - (begin + height) / total
    )


def _draw_heading(figure: Figure, dataset: ClipDataset, pairs: bool, order: bool, frames: bool) -> None:
    """What the picture shows, and what its colours mean."""
    width, height = figure.get_size_inches()
    figure.text(0.16 / width, 1 - 0.1 / height, "First training batch", va="top", fontsize=11, weight="bold")
    figure.text(0.16 / width, 1 - 0.33 / height, _rule(dataset, pairs, order), va="top", fontsize=8.5)
    handles: list[Any] = []
    if frames:
        handles.append(Line2D([], [], marker="o", linestyle="", color=COLOURS["frame"], label="frame"))
    if pairs:
        handles += [
            Patch(color=COLOURS["positive"], label="speech that matches"),
            *([Patch(color=COLOURS["negative"], label="speech that does not")] if dataset.hard_negatives else []),
            Patch(color=COLOURS["masked"], label="masked: not in the pair losses"),
            Patch(color=COLOURS["ground"], label="enough voice for pairs" if dataset.gate else "covered by speech"),
        ]
    if order:
        words = "frames to put in order: letter = place shown, number = true place"
        handles.append(Line2D([], [], marker="v", linestyle="", color=COLOURS["order"], label=words))
    handles.append(Patch(color=COLOURS["voice"], label="voice activity"))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.06 / width, 1 - 0.52 / height), ncols=len(handles),
        fontsize=8, frameon=False, handlelength=1.2, handletextpad=0.5, columnspacing=1.6, borderaxespad=0.1,
    )  # fmt: skip


def _chosen(batch: Mapping[str, Tensor], max_clips: int) -> list[int]:
    """Numbers of the items to draw: those with a valid pair first."""
    count = len(batch["scan_index"])
    valid = batch["pair_valid"].any(1).tolist() if "pair_valid" in batch else [True] * count
    return sorted(range(count), key=lambda item: not valid[item])[:max_clips]


def _gate(dataset: ClipDataset) -> str:
    share = dataset.settings.threshold if dataset.window_threshold is None else dataset.window_threshold
    windows = "both windows" if dataset.hard_negatives else "the window"
    windows = windows if dataset.gate_on is None else "CONTROL: the positive window alone"
    voice = "voice" if dataset.voice_activity != ORACLE else "words that name what is shown (CONTROL)"
    moved = "" if dataset.affinity_control is None else " (CONTROL: voice activity of other clips)"
    return f"{windows} at least {share:.0%} {voice}{moved}"


def _rule(dataset: ClipDataset, pairs: bool, order: bool) -> str:
    if not pairs:
        shuffled = "Four frames of a clip are shuffled; the network tells their order."
        return shuffled if order else "The first and the last frame of a clip match, the frames of other clips do not."
    s = dataset.settings
    gate = _gate(dataset) if dataset.gate else "windows drawn without the voice gate"
    others = f"from up to {s.shift_range - 1} {s.shift_unit}s away" if dataset.hard_negatives else "of other clips"
    return (
        f"A frame and {s.window_seconds:g} s of speech from the same {s.clip_seconds:g} s clip match; speech {others}"
        f" does not; {gate}."
    )


def _frames(clip: dict[str, Tensor], name: str) -> np.ndarray:
    """The frames as the network gets them: float ``[n, H, W]`` in [0, 1]."""
    parameters = {key: clip[f"{name}_{key}"] for key in ("affine", "gain", "gamma") if f"{name}_{key}" in clip}
    frames = clip[name]
    shown = apply_augmentation(frames, parameters, frames.shape[-1]) if parameters else frames.float() / 255
    return np.asarray(shown[:, 0])


def _spectrograms(clip: dict[str, Tensor], dataset: ClipDataset) -> np.ndarray:
    """Standardised log-spectrograms ``[1 or 2, K, 128, 128]`` of positive and negative windows; low tones first."""
    speech = torch.stack([clip[name] for name in ("speech_pos", "speech_neg") if name in clip])
    statistics = {name: clip[f"speech_{name}"] for name in ("max_db", "mean", "std")}
    transform = LogSpectrogram(STORE_SAMPLE_RATE, (128, 128), normalise=dataset.statistics)
    return np.asarray(transform(speech, statistics)[..., 0, :, :])


def _bare(axes: Axes, colour: str = "#bbbbbb", width: float = 0.8) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=width)


def _draw_frame(axes: Axes, clip: dict[str, Tensor], k: int) -> None:
    axes.imshow(_frames(clip, "frames")[k], cmap="gray", vmin=0, vmax=1, aspect="auto")
    axes.set_title(f"frame {k + 1} at {float(clip['frame_times'][k]):.2f} s", fontsize=8, color=COLOURS["frame"])
    _bare(axes, COLOURS["frame"], 1.6)


def _draw_pair(
    figure: Figure, place: SubplotSpec, clip: dict[str, Tensor], k: int, spectrograms: np.ndarray, dataset: ClipDataset
) -> None:
    """One triple: its frame, the positive and, where there is one, the negative spectrogram."""
    columns = 1 + len(spectrograms)
    grid = GridSpecFromSubplotSpec(2, columns, place, height_ratios=[1, 0.07], hspace=0.03, wspace=0.05)
    _draw_frame(figure.add_subplot(grid[0, 0]), clip, k)
    valid = bool(clip["pair_valid"][k])
    known = [("match" if valid else "masked", "positive", clip["speech_pos_start"][k], spectrograms[0, k])]
    if "shift" in clip:
        shift = int(clip["shift"][k])
        label = f"{'no match' if valid else 'masked'}: {abs(shift)} {'later' if shift > 0 else 'earlier'}"
        known.append((label, "negative", clip["speech_neg_start"][k], spectrograms[1, k]))
    for column, (label, kind, start, picture) in enumerate(known, start=1):
        axes, voice = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        _bare(axes, COLOURS[kind] if valid else COLOURS["masked"], 1.6)
        _bare(voice)
        if np.isnan(float(start)):
            axes.text(0.5, 0.5, "no window", transform=axes.transAxes, ha="center", fontsize=8, color="#777777")
            continue
        axes.set_title(label, fontsize=8, color=COLOURS[kind] if valid else "#777777")
        strength = 1.0 if valid else 0.45
        axes.imshow(picture, origin="lower", cmap="magma", vmin=-1.5, vmax=3, aspect="auto", alpha=strength)
        _draw_voice(voice, clip, float(start), dataset)


def _draw_voice(axes: Axes, clip: dict[str, Tensor], start: float, dataset: ClipDataset) -> None:
    """The voice activity flags of one window, as a strip."""
    seconds = dataset.settings.window_seconds
    axes.set(xlim=(0, seconds), ylim=(0, 1))
    flags = shown_flags(dataset, int(clip["scan_index"]))
    first = int(start / STEP)
    for j in range(first, min(first + round(seconds / STEP) + 1, len(flags))):
        if flags[j]:
            axes.add_patch(Rectangle((j * STEP - start, 0), STEP * 1.02, 1, color=COLOURS["voice"], linewidth=0))


def _draw_order(figure: Figure, place: SubplotSpec, clip: dict[str, Tensor], reversal: str) -> None:
    """The four frames in the order shown, each with its true place in time."""
    grid = GridSpecFromSubplotSpec(2, 4, place, height_ratios=[1, 0.07], hspace=0.03, wspace=0.05)
    true_places = clip["order_times"].argsort().argsort().tolist()
    colour = COLOURS["order"] if bool(clip["order_valid"]) else "#999999"
    label = int(clip["order_label"])
    for shown, (frame, true_place) in enumerate(zip(_frames(clip, "order_frames"), true_places)):
        axes = figure.add_subplot(grid[0, shown])
        axes.imshow(frame, cmap="gray", vmin=0, vmax=1, aspect="auto")
        axes.set_title("abcd"[shown], fontsize=8, color=colour)
        _bare(axes, colour, 1.6)
        axes.text(0.05, 0.05, str(true_place + 1), transform=axes.transAxes, fontsize=9, weight="bold", color="white",
                  bbox={"boxstyle": "circle,pad=0.25", "facecolor": colour, "edgecolor": "none"})  # fmt: skip
    caption = figure.add_subplot(grid[1, :])
    caption.axis("off")
    order, other = (" ".join(str(p + 1) for p in member) for member in order_members(label, reversal))
    words = f"order class {label} of 0-11: {order}, or {other} ({reversal} backwards)"
    if not bool(clip["order_valid"]):
        words += " (masked: too still)"
    caption.text(0.5, 0.4, words, fontsize=8, color=colour, ha="center", va="center", transform=caption.transAxes)
