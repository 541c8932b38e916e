# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Draw images/pair_sampling.png, the time line of docs/pairs.md: python docs/make_figures_pairs.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from monai_usspeech.handlers.pair_timeline import COLOURS
from monai_usspeech.transforms.order import draw_order_times
from monai_usspeech.transforms.pair_sampling import PairRecord, draw_pairs
from monai_usspeech.transforms.voice_activity import clip_activity, window_activity

CLIP, N_CLIPS, LENGTH = 5, 11, 2.0
FIRST, LAST = CLIP - 4, CLIP + 4
VOICE = [(0.2, 1.1), (2.3, 3.5), (3.7, 4.4), (5.6, 6.1), (7.9, 9.3), (10.2, 10.9), (11.05, 12.1), (12.6, 13.9),
         (15.3, 15.8), (16.4, 17.7), (18.2, 18.8)]  # fmt: skip
ROWS = {"clips": 5.1, "starts": 4.15, 1: 3.1, 2: 2.2, "order": 1.25, "voice": 0.35}


def label(axes: Axes, row: str | int, text: str) -> None:
    x = FIRST * LENGTH - 0.25
    axes.text(x, ROWS[row], text, ha="right", va="center", fontsize=8.5, color="#333333", linespacing=1.25)


def box(axes: Axes, begin: float, end: float, row: str | int, height: float, **style: object) -> None:
    axes.add_patch(Rectangle((begin, ROWS[row] - height / 2), end - begin, height, **style))  # type: ignore[arg-type]


def draw_clips(axes: Axes, usable: np.ndarray) -> None:
    label(axes, "clips", "intervals of\none scan")
    for clip in range(FIRST, LAST + 1):
        begin, shift = clip * LENGTH, clip - CLIP
        kind = "frame" if shift == 0 else "negative"
        colour = COLOURS[kind] if usable[clip] else "#9A9A9A"
        axes.add_patch(Rectangle((begin, 0), LENGTH, 4.7, linewidth=0, alpha=0.55 if usable[clip] else 0.0,
                                 facecolor=COLOURS["ground"], zorder=-2))  # fmt: skip
        box(axes, begin + 0.04, begin + LENGTH - 0.04, "clips", 0.62, facecolor="white", edgecolor=colour,
            linewidth=2.0 if shift == 0 else 1.0, linestyle="-" if usable[clip] else (0, (3, 2)))  # fmt: skip
        text = "clip T" if shift == 0 else f"q = {shift:+d}".replace("-", "−")
        text += "" if usable[clip] else "\ntoo little voice"
        middle = begin + LENGTH / 2
        axes.text(middle, ROWS["clips"], text, ha="center", va="center", fontsize=8, color=colour, linespacing=1.1)
    axes.add_patch(Rectangle((CLIP * LENGTH, 0), LENGTH, 4.7, fill=False, edgecolor=COLOURS["frame"], linewidth=1.4))


def draw_starts(axes: Axes, usable: np.ndarray, activity: np.ndarray) -> None:
    label(axes, "starts", "starts of windows with\nat least half voice")
    allowed = (activity[:-1] >= 0.5) & (activity[1:] >= 0.5)
    for clip in np.flatnonzero(usable):
        if not FIRST <= clip <= LAST:
            continue
        colour = COLOURS["positive"] if clip == CLIP else COLOURS["negative"]
        for cell in range(200 * clip, 200 * clip + 140):
            if allowed[cell]:
                box(axes, cell / 100, (cell + 1) / 100, "starts", 0.26, color=colour, linewidth=0)


def draw_triple(axes: Axes, record: PairRecord, k: int) -> None:
    row = k + 1
    label(axes, row, f"triple {row}")
    positive, negative, frame = record.positive_starts[k], record.negative_starts[k], record.frame_times[k]
    for start, kind, word in ((positive, "positive", "s"), (negative, "negative", "s′")):
        box(axes, start, start + 0.6, row, 0.42, color=COLOURS[kind], linewidth=0, zorder=3)
        axes.text(start + 0.3, ROWS[row], word, color="white", ha="center", va="center", zorder=4, style="italic")
    tail, head = (positive, negative + 0.6) if negative < positive else (positive + 0.6, negative)
    axes.add_patch(FancyArrowPatch((tail, ROWS[row]), (head, ROWS[row]), arrowstyle="-|>", mutation_scale=11,
                                   color=COLOURS["negative"], linewidth=1.2, zorder=2))  # fmt: skip
    axes.plot(frame, ROWS[row] + 0.42, "o", color=COLOURS["frame"], markersize=6.5, zorder=5)
    axes.text(frame + 0.12, ROWS[row] + 0.44, "v", color=COLOURS["frame"], va="center", style="italic")


def main() -> None:
    flags = np.zeros(round(N_CLIPS * LENGTH * 100), bool)
    for begin, end in VOICE:
        flags[round(begin * 100) : round(end * 100)] = True
    usable, activity = clip_activity(flags) >= 0.5, window_activity(flags)
    record = draw_pairs(np.random.RandomState(11), CLIP, N_CLIPS, gate=True, usable=usable, activity=activity)
    figure = Figure(figsize=(11, 4.3))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.14, 0.085, 0.852, 0.905))
    axes.set(xlim=(FIRST * LENGTH - 0.05, (LAST + 1) * LENGTH + 0.05), ylim=(0, 5.55), yticks=[])
    draw_clips(axes, usable)
    draw_starts(axes, usable, activity)
    for k in range(2):
        draw_triple(axes, record, k)
    label(axes, "order", "four frames, shown\nin a drawn order")
    shown = np.random.RandomState(2).permutation(4)
    for place, time in zip(np.argsort(shown), draw_order_times(np.random.RandomState(3), CLIP * LENGTH)):
        axes.plot(time, ROWS["order"] + 0.14, "v", color=COLOURS["order"], markersize=6)
        axes.text(time, ROWS["order"] - 0.22, "abcd"[place], color=COLOURS["order"], ha="center", va="center")
    label(axes, "voice", "voice activity")
    for begin, end in VOICE:
        box(axes, begin, end, "voice", 0.34, color=COLOURS["voice"], linewidth=0)
    ticks = np.arange(FIRST, LAST + 2) * LENGTH
    axes.set_xticks(ticks, [f"{t:g} s" for t in ticks], fontsize=8, color="#555555")
    axes.spines[["left", "right", "top"]].set_visible(False)
    figure.savefig(Path(__file__).with_name("images") / "pair_sampling.png", dpi=130)


if __name__ == "__main__":
    main()
