# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the shipped configurations on a store that takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tests.conftest import REPOSITORY

TRAIN = "bundle/configs/train.json"
CPU = "configs/presets/cpu.json"
MULTI_GPU = "bundle/configs/multi_gpu_train.json"
# Smaller still than the CPU preset.
TINY: dict[str, Any] = {"batch_size": 4, "max_epochs": 2, "size": 32}


def row(method: str) -> str:
    """The overlay of one method."""
    return f"configs/pretrain/{method}.json"


def workflow(store: Path, output: Path, *overlays: str, **settings: Any) -> ConfigWorkflow:
    """The training workflow, ready to run in this process."""
    return ConfigWorkflow(
        config_file=[str(REPOSITORY / name) for name in (TRAIN, *overlays)],
        workflow_type="train",
        run_id="training",
        logging_file=False,
        dataset_dir=str(store),
        output_dir=str(output),
        **{**TINY, **settings},
    )


def command(store: Path, output: Path, *overlays: str, launcher: tuple[str, ...] = (), **settings: Any) -> list[str]:
    """The same as a command line."""
    files = ",".join(f"'{name}'" for name in (TRAIN, *overlays))
    given = {**TINY, "dataset_dir": store, "output_dir": output, **settings}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    program = [sys.executable, "-m", *(launcher or ("monai.bundle",))]
    return [*program, "run", "training", "--config_file", f"[{files}]", *options]
