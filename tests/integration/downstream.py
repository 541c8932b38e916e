# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the shipped downstream configurations on a store that takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tests.conftest import REPOSITORY

PLANES = "configs/downstream/standard_plane.json"
GAZE = "configs/downstream/gaze_saliency.json"
CPU = "configs/presets/downstream_cpu.json"
# Smaller still than the CPU preset.
TINY: dict[str, Any] = {"batch_size": 8, "max_epochs": 2, "size": 32}


def workflow(task: str, store: Path, output: Path, run_id: str = "run", **settings: Any) -> ConfigWorkflow:
    """A downstream workflow, ready to run in this process."""
    return ConfigWorkflow(
        config_file=[str(REPOSITORY / name) for name in (task, CPU)],
        workflow_type="train",
        run_id=run_id,
        logging_file=False,
        dataset_dir=str(store),
        output_dir=str(output),
        **{**TINY, **settings},
    )


def run(task: str, store: Path, output: Path, run_id: str = "run", **settings: Any) -> ConfigWorkflow:
    """Initialise and run it."""
    made = workflow(task, store, output, run_id, **settings)
    made.initialize()
    made.run()
    return made


def command(task: str, store: Path, output: Path, run_id: str = "run", **settings: Any) -> list[str]:
    """The same as a command line."""
    given = {**TINY, "dataset_dir": store, "output_dir": output, **settings}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", f"['{task}','{CPU}']", *options]
