# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Whether the SYNTHETIC phantom's speckle moves with the tissue: ``python -m benchmarks.phantom_speckle [--scans 6]``.

Prints, for some times between two frames of a plane, the mean over blocks of 13 x 13 pixels of the best correlation
within 5 pixels, and the same for frames of different scans.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from monai_usspeech.phantom import Phantom

LAGS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.2)
INSIDE = np.s_[:, 45:105, 34:94]  # of a canvas of 128 pixels: nothing but the fan


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-9))


def block_match(first: np.ndarray, second: np.ndarray, block: int = 13, reach: int = 5) -> float:
    """Mean over blocks of the best correlation within a few pixels."""
    best = []
    for row in range(reach, first.shape[0] - block - reach, block):
        for column in range(reach, first.shape[1] - block - reach, block):
            piece = first[row : row + block, column : column + block]
            if piece.std() > 8:
                best.append(
                    max(
                        correlation(piece, second[row + i : row + i + block, column + j : column + j + block])
                        for i in range(-reach, reach + 1)
                        for j in range(-reach, reach + 1)
                    )
                )
    return float(np.mean(best))


def middle_frames(phantom: Phantom, index: int, lags: Sequence[float]) -> np.ndarray:
    """Frames ``[1 + lags, 128, 128]`` of the first plane of a scan: at its middle, and so many seconds later."""
    course = phantom.course(index)
    plane = course.planes[0]
    course.times = 0.5 * (plane.start + min(plane.end, phantom.seconds)) + np.array([0.0, *lags])
    return np.concatenate(list(course.frames())).astype(float)


def speckle_matches(scans: int, lags: Sequence[float] = LAGS, seed: int = 3) -> tuple[np.ndarray, float]:
    """How well blocks are found again after each lag ``[lags]``, and in another scan's frame; means over scans."""
    phantom = Phantom(seed=seed, size=128, frame_rate=10.0, seconds=20.0, grid=(72, 144), freeze_share=0.0)
    later, other, before = [], [], None
    for index in range(scans):
        first, *rest = middle_frames(phantom, index, lags)[INSIDE]
        later.append([block_match(first, frame) for frame in rest])
        if before is not None:
            other.append(block_match(first, before))
        before = first
    return np.mean(later, axis=0), float(np.mean(other))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=6)
    parser.add_argument("--seed", type=int, default=3)
    arguments = parser.parse_args()
    matches, other = speckle_matches(arguments.scans, seed=arguments.seed)
    print("| seconds between the frames | " + " | ".join(f"{lag:g}" for lag in LAGS) + " | another scan |")
    print("|---|" + "---|" * (len(LAGS) + 1))
    print("| correlation of the best match | " + " | ".join(f"{m:.2f}" for m in matches) + f" | {other:.2f} |")


if __name__ == "__main__":
    main()
