# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How hard the SYNTHETIC phantom's presets are, in numbers: ``python -m benchmarks.phantom_difficulty``.

Prints one Markdown table with a column for each preset. Nothing is trained but a linear classifier of raw pixels.
Clips are 2 s, speech windows 0.6 s, and a window holds a word when it holds 0.2 s of it.
"""

from __future__ import annotations

import argparse

from benchmarks.phantom_pictures import picture_measures
from benchmarks.phantom_words import word_measures
from monai_usspeech.phantom import Phantom
from monai_usspeech.phantom.difficulty import DIFFICULTIES

SMALL = {"size": 96, "frame_rate": 5.0, "grid": (72, 144)}


def measures(difficulty: str, scans: int, seed: int, seconds: float) -> dict[str, float]:
    """All rows of one preset."""
    phantom = Phantom(seed=seed, seconds=seconds, difficulty=difficulty, **SMALL)
    return {**word_measures(phantom, scans), **picture_measures(phantom, scans)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--difficulty", nargs="+", default=list(DIFFICULTIES), choices=list(DIFFICULTIES))
    parser.add_argument("--scans", type=int, default=26)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    columns = [measures(name, arguments.scans, arguments.seed, arguments.seconds) for name in arguments.difficulty]
    print(f"| {arguments.scans} scans of {arguments.seconds:g} s | {' | '.join(arguments.difficulty)} |")
    print("|---|" + "---|" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column.get(name, float('nan')):.2f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
