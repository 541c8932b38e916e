# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Speed of the SYNTHETIC phantom, and how much its narration says about the picture.

``python benchmarks/phantom.py`` prints the processor time of one thread for each stage, the wall time of writing the
demo's 12 scans, and the share of 0.6 s windows that hold the word for the plane on the screen.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np

from monai_usspeech.data.annotations import PLANES, plane_at
from monai_usspeech.phantom import NarrationStyle, Phantom, generate_phantom
from monai_usspeech.phantom.lexicon import PLANE_WORDS


def stages() -> None:
    """Processor time per frame and per minute of sound."""
    print("canvas  grid (beams x depth)  ms/frame")
    for size, grid in ((128, (72, 144)), (160, (96, 192)), (256, (96, 192)), (256, (128, 224))):
        course = Phantom(size=size, grid=grid, frame_rate=15.0, seconds=20.0).course(0)
        start = time.process_time()
        count = sum(len(batch) for batch in course.frames())
        print(f"{size:6d}  {grid[0]:8d} x {grid[1]:<9d}  {(time.process_time() - start) / count * 1e3:8.2f}")
    start = time.process_time()
    course = Phantom().course(0)
    course.speech()
    course.gaze()
    print(f"sound, gaze and labels of 60 s: {time.process_time() - start:.2f} s")


def demo(scans: int, workers: int | None) -> None:
    """Wall time of the demo's scans."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        settings = {"size": 160, "frame_rate": 15.0, "grid": (96, 192)}
        generate_phantom(folder, n_scans=scans, workers=workers, progress=False, **settings)
        seconds = time.perf_counter() - start
        size = sum(entry.stat().st_size for entry in os.scandir(folder)) / 2**20
    print(f"{scans} scans of 60 s, 160 px, 15 frames/s: {seconds:.1f} s wall, {size:.0f} MB")


def density(scans: int = 40) -> None:
    """Share of windows that hold at least 0.2 s of the right plane's word."""
    sparse = NarrationStyle(gap=1.4, plane_share=0.55, organ_share=0.27, quiet_share=0.3)
    for name, style in (("default", NarrationStyle()), ("sparse", sparse)):
        phantom = Phantom(narration=style)
        right, spoken, background, visits = [], [], [], []
        for index in range(scans):
            course = phantom.course(index)
            times = np.arange(0, phantom.seconds - 0.6, 0.2)
            labels = plane_at(course.planes, times + 0.3)
            background.append(np.mean(labels == len(PLANES) - 1))
            visits.append(len({str(interval.plane) for interval in course.planes}))
            for start, label in zip(times, labels):
                held = {True: 0.0, False: 0.0}
                for word in course.narration.words:
                    overlap = max(0.0, min(word.end, start + 0.6) - max(word.start, start))
                    held[word.word == PLANE_WORDS.get(PLANES[label], ("",))[0]] += overlap
                right.append(held[True] >= 0.2)
                spoken.append(sum(held.values()) >= 0.2)
        share = np.mean(right) / np.mean(spoken)
        print(f"{name}: windows with the right word {np.mean(right):.3f} (of those with speech {share:.3f}), "
              f"with speech {np.mean(spoken):.3f}; background {np.mean(background):.2f}, "
              f"planes per scan {np.mean(visits):.1f}")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--workers", type=int, default=None)
    arguments = parser.parse_args()
    stages()
    demo(arguments.scans, arguments.workers)
    density()
