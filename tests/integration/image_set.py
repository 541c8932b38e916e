# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Make an image set of seconds, and run the shipped configuration on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigWorkflow
from PIL import Image

from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from tests.conftest import REPOSITORY
from tests.data.media_factory import make_video

IMAGE_SET = "configs/downstream/image_set.json"
CPU = "configs/presets/image_set_cpu.json"
HICO_CODE = "configs/downstream/hico_code.json"
CODE_PYRAMID = "configs/downstream/hico_code_pyramid.json"
OWN_HEADS = "configs/downstream/pyramid_heads.json"
# Smaller still than the CPU preset.
TINY: dict[str, Any] = {
    "n_folds": 2,
    "batch_size": 8,
    "max_epochs": 2,
    "size": 64,
    "network_def#backbone": "se_resnext_small",
}
SMALL_PYRAMID: dict[str, Any] = {"network_def#channels": 16, "network_def#embedding_dim": 8}


def make_image_set(folder: Path) -> Path:
    """Pictures whose texture tells the class, three of each of eight groups, and two frames of a video."""
    rng = np.random.RandomState(0)
    classes, images = ("coarse", "fine", "plain"), []
    for group in range(8):
        label = classes[group % 3]
        for number in range(3):
            side = {"coarse": 8, "fine": 32, "plain": 1}[label]
            noise = rng.randint(0, 256, (side, side), dtype=np.uint8)
            path = folder / f"{label}_{group}_{number}.png"
            Image.fromarray(noise).resize((48, 40), Image.Resampling.NEAREST).save(path)
            images.append(LabelledImage(path, label, f"patient {group}"))
    make_video(folder / "clip.mp4", n_frames=30)
    images += [LabelledImage(folder / "clip.mp4", "plain", "clip", time) for time in (0.0, 0.5)]
    path = folder / "images.json"
    ImageSetDatalist("textures", classes, tuple(images)).save(path)
    return path


def workflow(images: Path, output: Path, *overlays: str, run_id: str = "run", **settings: Any) -> ConfigWorkflow:
    """The workflow, ready to run in this process."""
    return ConfigWorkflow(
        config_file=[str(REPOSITORY / name) for name in (IMAGE_SET, *overlays, CPU)],
        workflow_type="train",
        run_id=run_id,
        logging_file=False,
        dataset_dir=str(images),
        output_dir=str(output),
        **{**TINY, **settings},
    )


def run(images: Path, output: Path, *overlays: str, run_id: str = "run", **settings: Any) -> ConfigWorkflow:
    """Initialise and run it."""
    made = workflow(images, output, *overlays, run_id=run_id, **settings)
    made.initialize()
    made.run()
    return made


def command(images: Path, output: Path, *overlays: str, run_id: str = "run", **settings: Any) -> list[str]:
    """The same as a command line."""
    given = {**TINY, "dataset_dir": images, "output_dir": output, **settings}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    files = ",".join(f"'{name}'" for name in (IMAGE_SET, *overlays, CPU))
    return [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", f"[{files}]", *options]
