# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Draw images/gaze_maps.png of docs/downstream_data.md: python docs/make_figures_downstream.py [folder]"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from monai_usspeech.data.gaze_frames import GazeDataset
from monai_usspeech.data.store import ScanStore, ScanStoreWriter
from monai_usspeech.phantom import Phantom
from monai_usspeech.transforms.augmentation import apply_augmentation
from monai_usspeech.transforms.fan import FanCrop

PHANTOM = Phantom(seed=0, size=256, frame_rate=30.0, seconds=60.0)
SCANS, FRAMES, SIDE = (2, 5), 20, 256
AUGMENT = {"scale": (0.5, 0.6), "flip": 1.0}
GAZE, BOX = "#FF9F1C", "#2EC4B6"


def write_scan(store: Path, index: int) -> np.ndarray:
    """Prepare some frames of a scan's first plane without a video file; returns one frame of the screen [H, W]."""
    course = PHANTOM.course(index)
    plane = course.planes[0]
    gaze, start = course.gaze(), 0.5 * (plane.start + plane.end)
    course.times = start + np.arange(FRAMES) / 30
    screen = np.concatenate(list(course.frames()))
    crop = FanCrop(size=SIDE)
    kept = crop(torch.from_numpy(screen)[None])[0].numpy().astype(np.uint8)
    with ScanStoreWriter(store, f"scan{index}", codec="raw") as writer:
        for number, frame in enumerate(kept):
            writer.add_frame(frame, number / 30, number)
        writer.set_gaze(gaze.time - start, gaze.x, gaze.y)
        places = {"fan_box": list(crop.box), "source_size": list(screen.shape[1:])}
        planes = [[0.0, FRAMES / 30, str(plane.plane)]]
        writer.finish({"subject": f"p{index}", "duration": FRAMES / 30, "planes": planes, **places})
    return screen[FRAMES // 2]


def show(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def overlay(axes: Axes, saliency: np.ndarray) -> None:
    """The map over the picture: the stronger, the less see-through."""
    share = saliency / saliency.max()
    axes.imshow(share, cmap="inferno", alpha=0.75 * np.sqrt(share), extent=(-0.5, SIDE - 0.5, SIDE - 0.5, -0.5))


def draw_row(row: np.ndarray, screen: np.ndarray, store: ScanStore, index: int) -> None:
    """Screen, stored frame with its cells, its map, and the augmented frame with its map, of the middle frame."""
    scan, settings = store[f"scan{index}"], {"subjects": [f"p{index}"], "interval": 1 / 30}
    plain, augmented = GazeDataset(store, **settings), GazeDataset(store, augment=AUGMENT, **settings)
    number = int(np.argmin(np.abs(plain.frames - FRAMES // 2)))
    sample, points = plain[number], plain.item_points(number)
    top, left, bottom, right = scan.fan_box
    show(row[0], screen, f"screen ({scan.planes[0].plane}): gaze of ±1 frame, fan box")
    row[0].add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=BOX, linewidth=1.5))
    column, line = left + points[:, 1] * (right - left) - 0.5, top + points[:, 0] * (bottom - top) - 0.5
    row[0].plot(column, line, "o", color=GAZE, markersize=3)
    image = sample["image"][0].numpy()
    show(row[1], image, f"stored frame: {int(sample['fixations'].sum())} of 64 × 64 cells fixated")
    for r, c in sample["fixations"].nonzero().tolist():
        row[1].add_patch(Rectangle((4 * c - 0.5, 4 * r - 0.5), 4, 4, color=GAZE, linewidth=0))
    show(row[2], image, "saliency: sigma 2 % of the width, sum 1")
    overlay(row[2], sample["saliency"].numpy())
    drawn = augmented[(1, number)]
    params = {name: drawn[f"image_{name}"][None] for name in ("affine", "gain", "gamma")}
    kind = "cropped" if drawn["image_affine"][1, 1] < 1 else "a crop had lost the gaze"
    show(row[3], 255 * apply_augmentation(drawn["image"][None], params)[0, 0].numpy(), f"augmented: mirrored; {kind}")
    overlay(row[3], drawn["saliency"].numpy())


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("images")
    figure = Figure(figsize=(13, 6.9))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(SCANS), 4)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "store"
        screens = [write_scan(root, index) for index in SCANS]
        store = ScanStore(root)
        for row, screen, index in zip(axes, screens, SCANS):
            draw_row(row, screen, store, index)
    figure.tight_layout(pad=0.6, h_pad=1.4)
    figure.savefig(folder / "gaze_maps.png", dpi=90)


if __name__ == "__main__":
    main()
