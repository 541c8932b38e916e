# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Small image sets for tests: pictures unlike one another, and lists of pictures whose pattern tells their class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from tests.data.media_factory import make_video

PATTERNS = {"upright": (0, 1), "level": (1, 0), "plain": (0, 0)}
"""The classes: bars along an axis, or none; how much the phase of the bars grows with row and column."""

_NUMBER = count()


def picture(path: Path) -> Path:
    """A picture of 8 x 8 grey values unlike any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.RandomState(next(_NUMBER)).randint(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return path


def pictures(folder: Path, *names: str) -> None:
    """Several of them."""
    for name in names:
        picture(folder / name)


def make_image_set(
    folder: Path,
    n_groups: int = 10,
    per_group: int = 4,
    size: int = 40,
    classes: Sequence[str] = ("upright", "level"),
    prefix: str = "g",
    video: bool = False,
) -> Path:
    """Write noisy pictures of groups, which take turns in the classes, and their datalist ``images.json``.

    Args:
        folder: where; ``<prefix><group>_<picture>.png``.
        n_groups: groups, named by prefix and number.
        per_group: pictures of each, with the bars moved by chance.
        size: side in pixels.
        classes: some of :data:`PATTERNS`.
        prefix: of the groups' names.
        video: also two frames of a video, a group of its own, in the last class.

    Returns:
        The datalist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(0)
    images = []
    for group in range(n_groups):
        label = classes[group % len(classes)]
        for number in range(per_group):
            path = folder / f"{prefix}{group}_{number}.png"
            along = np.tensordot(PATTERNS[label], np.indices((size, size)), 1) + rng.randint(size)
            pixels = 60 + 120 * (along // 8 % 2) + rng.normal(0, 20, (size, size))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
            images.append(LabelledImage(path, label, f"{prefix}{group}"))
    if video:
        make_video(folder / "clip.mp4", n_frames=30)
        images += [LabelledImage(folder / "clip.mp4", classes[-1], "clip", time) for time in (0.0, 0.5)]
    ImageSetDatalist("patterns", tuple(classes), tuple(images)).save(folder / "images.json")
    return folder / "images.json"
