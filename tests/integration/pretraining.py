# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the shipped pretraining configurations on a store that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tests.integration.shipped import shipped_command, shipped_workflow

TRAIN = "bundle/configs/train.json"
CPU = "configs/presets/cpu.json"
# Smaller still than the CPU preset.
TINY: dict[str, Any] = {"batch_size": 4, "max_epochs": 2, "size": 32}


def row(method: str) -> str:
    """The overlay of one method."""
    return f"configs/pretrain/{method}.json"


def workflow(store: Path, output: Path, *overlays: str, **settings: Any) -> ConfigWorkflow:
    """The training workflow, ready to run in this process."""
    return shipped_workflow((TRAIN, *overlays), "training", _settings(store, output, settings))


def command(store: Path, output: Path, *overlays: str, launcher: tuple[str, ...] = ("monai.bundle",), **settings: Any):
    """The same as a command line."""
    return shipped_command((TRAIN, *overlays), "training", _settings(store, output, settings), launcher)


def _settings(store: Path, output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    return {**TINY, "dataset_dir": store, "output_dir": output, **settings}
