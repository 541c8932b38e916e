# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A small image set: pictures of several groups, in two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage


def make_image_set(folder: Path, groups: int = 10, per_group: int = 4, size: int = 40, prefix: str = "g") -> Path:
    """Write grey pictures and their datalist; even groups are "dark", odd ones "bright"."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    images = []
    for number in range(groups):
        for picture in range(per_group):
            path = folder / f"{prefix}{number}_{picture}.png"
            pixels = random.randint(0, 120, (size, size)) + 120 * (number % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            images.append(LabelledImage(path, ("dark", "bright")[number % 2], f"{prefix}{number}"))
    ImageSetDatalist("small", ("dark", "bright"), tuple(images)).save(folder / "images.json")
    return folder / "images.json"
