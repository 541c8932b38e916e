# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Short clips of SYNTHETIC scans, and the pictures of docs/hico.md made of them: what networks are given as views.

    python docs/make_figures_hico.py                 # the pictures, into docs/images
    python docs/make_figures_hico.py --clips clips   # the clips alone: clips/PLANE/SUBJECT/*.png, to try commands on
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from PIL import Image
from torch.utils.data import default_collate

from monai_usspeech.data import FrameViewDataset, build_image_set
from monai_usspeech.engines import PrepareViewBatch
from monai_usspeech.handlers.view_picture import draw_views_picture
from monai_usspeech.phantom import Phantom

PLANES = ("abdomen", "RVOT", "SpineCor", "4CH")
SECONDS, FRAME_RATE = 2.0, 6.0
SHOWN = {"hico": (0, 20), "uscl": (3, 12), "fixmatch": (1, 26)}  # items of 16 scans whose draws differ well
CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "hico"


def write_clips(folder: Path, scans: int, size: int) -> None:
    """The middle two seconds of each plane of ``PLANES`` in each scan, as a folder of PNG files."""
    phantom = Phantom(seed=0, size=size, frame_rate=FRAME_RATE, seconds=60.0)
    for index in range(scans):
        course = phantom.course(index)
        for interval in course.planes:
            if interval.plane not in PLANES:
                continue
            place = folder / interval.plane / course.subject
            place.mkdir(parents=True, exist_ok=True)
            begin = 0.5 * (interval.start + interval.end - SECONDS)
            course.times = begin + np.arange(round(SECONDS * FRAME_RATE)) / FRAME_RATE
            frames = np.concatenate([np.asarray(batch) for batch in course.frames()])
            for number, frame in enumerate(frames):
                Image.fromarray(frame).save(place / f"{number:03d}.png")


def views(clips: Path, method: str, size: int, items: tuple[int, ...]) -> Figure:
    """Some videos as the configuration of a method presents them."""
    given: dict[str, Any] = ConfigParser.load_config_files([CONFIGS / "hico.json", CONFIGS / f"{method}.json"])
    names = ("unit", "positive", "mix", "n_views", "channels", "augment", "augment_second")
    dataset = FrameViewDataset(build_image_set("folders", clips), size=size, **{name: given[name] for name in names})
    prepare = PrepareViewBatch(size=size, frame_mean=given["frame_mean"], frame_std=given["frame_std"])
    batch = default_collate([dataset[item] for item in items])
    figure = draw_views_picture(batch, dataset, prepare, len(items))
    figure.suptitle(f"{method}: frames as read (grey), and what the network gets (blue); synthetic scans", fontsize=9)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write with 64 colours: speckle compresses badly, and the eye does not miss the others."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Write the clips, or the pictures of clips in a folder that is removed again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="write clips into this folder, and no pictures")
    parser.add_argument("--scans", type=int, default=16, help="scans to cut clips of")
    parser.add_argument("--size", type=int, default=144, help="side of the clips' frames")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images")
    given = parser.parse_args()
    if given.clips is not None:
        write_clips(given.clips, given.scans, given.size)
        return
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_clips(Path(folder), given.scans, given.size)
        for method, items in SHOWN.items():
            save(views(Path(folder), method, given.size, items), given.output / f"views_{method}.png")


if __name__ == "__main__":
    main()
