# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the shipped image-set configuration in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tests.integration.shipped import run_through, shipped_command, shipped_workflow

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


def workflow(images: Path, output: Path, *overlays: str, run_id: str = "run", **settings: Any) -> ConfigWorkflow:
    """The workflow, ready to run in this process."""
    return shipped_workflow((IMAGE_SET, *overlays, CPU), run_id, _settings(images, output, settings))


def run(images: Path, output: Path, *overlays: str, run_id: str = "run", **settings: Any) -> ConfigWorkflow:
    """Initialise and run it."""
    return run_through(workflow(images, output, *overlays, run_id=run_id, **settings))


def command(images: Path, output: Path, *overlays: str, run_id: str = "run", **settings: Any) -> list[str]:
    """The same as a command line."""
    return shipped_command((IMAGE_SET, *overlays, CPU), run_id, _settings(images, output, settings))


def _settings(images: Path, output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    return {**TINY, "dataset_dir": images, "output_dir": output, **settings}
