# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Draw the pictures of docs/downstream.md: python docs/make_figures_study.py STUDY PLANE_RUN [folder]

STUDY is the folder of a finished study with gaze saliency, PLANE_RUN that of a finished run of standard plane detection
(``make bundle-model``).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from monai_usspeech.data.files import read_json
from monai_usspeech.handlers.figures import figure_bytes
from monai_usspeech.handlers.saliency_picture import saliency_figure

EXAMPLES = [0, 3, 4]
WIDTH, QUALITY = 960, 85


def save_small(picture: Image.Image, path: Path) -> None:
    """Write a picture for a page, at most ``WIDTH`` pixels wide; speckle is smaller as JPEG."""
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    picture.convert("RGB").save(path, quality=QUALITY, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} KB")


def overlays(study: Path) -> Image.Image:
    """What each method of the study predicts on three frames of the first fold and seed."""
    record = read_json(study / "study.json")
    predictions, first = [], None
    for name, method in record["methods"].items():
        run = next(iter(sorted((study / "gaze_saliency" / name).glob("fold*-seed*"))))
        with np.load(run / "examples.npz") as examples:
            shown = {key: examples[key][EXAMPLES] for key in examples.files}
        predictions.append((method["title"], shown["prediction"]))
        first = first or shown
    assert first is not None, f"{study} has no methods"
    figure = saliency_figure(first["images"], first["fixations"], first["target"], predictions, list(first["names"]))
    return Image.open(io.BytesIO(figure_bytes(figure)))


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    study, plane_run = Path(sys.argv[1]), Path(sys.argv[2])
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(__file__).with_name("images")
    save_small(overlays(study), folder / "gaze_overlays.jpg")
    save_small(Image.open(plane_run / "grad_cam.png"), folder / "grad_cam.jpg")
    save_small(Image.open(plane_run / "confusion.png"), folder / "confusion.png")


if __name__ == "__main__":
    main()
