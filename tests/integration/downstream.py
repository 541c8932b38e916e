# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the shipped downstream configurations on a store that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tests.integration.shipped import run_through, shipped_command, shipped_workflow

PLANES = "configs/downstream/standard_plane.json"
GAZE = "configs/downstream/gaze_saliency.json"
CPU = "configs/presets/downstream_cpu.json"
# Smaller still than the CPU preset.
TINY: dict[str, Any] = {"batch_size": 8, "max_epochs": 2, "size": 32}


def workflow(task: str, store: Path, output: Path, run_id: str = "run", **settings: Any) -> ConfigWorkflow:
    """A downstream workflow, ready to run in this process."""
    return shipped_workflow((task, CPU), run_id, _settings(store, output, settings))


def run(task: str, store: Path, output: Path, run_id: str = "run", **settings: Any) -> ConfigWorkflow:
    """Initialise and run it."""
    return run_through(workflow(task, store, output, run_id, **settings))


def command(task: str, store: Path, output: Path, run_id: str = "run", **settings: Any) -> list[str]:
    """The same as a command line."""
    return shipped_command((task, CPU), run_id, _settings(store, output, settings))


def _settings(store: Path, output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    return {**TINY, "dataset_dir": store, "output_dir": output, **settings}
