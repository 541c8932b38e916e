# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the shipped HiCo configurations on an image set that takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigWorkflow
from PIL import Image

from monai_usspeech.data import ImageSetDatalist, LabelledImage
from tests.conftest import REPOSITORY

HICO = "configs/hico/hico.json"
CPU = "configs/presets/hico_cpu.json"
METHODS = (
    *("hico", "simclr", "vcl", "moco_v2", "uscl"),
    *("supervised", "pi_model", "temporal_ensembling", "fixmatch"),
)
PYRAMID = {"network_def#channels": 16, "network_def#embedding_dim": 16}  # of HiCo's network alone
# Smaller still than the CPU preset.
TINY: dict[str, Any] = {
    "batch_size": 8,
    "max_epochs": 2,
    "size": 32,
    "queue_size": 8,
    "network_def#backbone": "se_resnext_small",
}


def row(method: str) -> tuple[str, ...]:
    """The overlay of one method; HiCo itself is the base."""
    return () if method == "hico" else (f"configs/hico/{method}.json",)


def make_image_set(folder: Path, n_videos: int = 16, n_frames: int = 3) -> Path:
    """Videos as folders of pictures: bright bars, upright in class "a" and level in class "b"; moved by noise."""
    rng = np.random.RandomState(0)
    images = []
    for video in range(n_videos):
        label = "ab"[video % 2]
        bars = 60 + 120 * (np.arange(48) // 8 % 2)
        clean = np.tile(bars, (48, 1)) if label == "a" else np.tile(bars[:, None], (1, 48))
        for frame in range(n_frames):
            path = folder / f"v{video:02d}" / f"{frame}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(np.roll(clean, rng.randint(48), axis=rng.randint(2)) + rng.normal(0, 20, (48, 48)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            images.append(LabelledImage(path, label, f"v{video:02d}"))
    ImageSetDatalist("bars", ("a", "b"), tuple(images)).save(folder / "bars.json")
    return folder / "bars.json"


def workflow(method: str, data: Path, output: Path, *overlays: str, **settings: Any) -> ConfigWorkflow:
    """The training workflow, ready to run in this process."""
    sizes = {**TINY, **(PYRAMID if method == "hico" else {})}
    return ConfigWorkflow(
        config_file=[str(REPOSITORY / name) for name in (HICO, *row(method), CPU, *overlays)],
        workflow_type="train",
        run_id="training",
        logging_file=False,
        dataset_dir=str(data),
        output_dir=str(output),
        **{**sizes, **settings},
    )


def run(method: str, data: Path, output: Path, *overlays: str, **settings: Any) -> ConfigWorkflow:
    """Initialise and run it."""
    made = workflow(method, data, output, *overlays, **settings)
    made.initialize()
    made.run()
    return made


def command(
    method: str, data: Path, output: Path, *overlays: str, launcher: tuple[str, ...] = (), **settings: Any
) -> list[str]:
    """The same as a command line."""
    files = ",".join(f"'{name}'" for name in (HICO, *row(method), CPU, *overlays))
    given = {**TINY, **(PYRAMID if method == "hico" else {}), "dataset_dir": data, "output_dir": output, **settings}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    program = [sys.executable, "-m", *(launcher or ("monai.bundle",))]
    return [*program, "run", "training", "--config_file", f"[{files}]", *options]
