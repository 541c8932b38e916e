# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Run the shipped HiCo configurations in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow

from tests.integration.shipped import run_through, shipped_command, shipped_workflow

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


def workflow(method: str, data: Path, output: Path, *overlays: str, **settings: Any) -> ConfigWorkflow:
    """The training workflow, ready to run in this process."""
    return shipped_workflow(_files(method, overlays), "training", _settings(method, data, output, settings))


def run(method: str, data: Path, output: Path, *overlays: str, **settings: Any) -> ConfigWorkflow:
    """Initialise and run it."""
    return run_through(workflow(method, data, output, *overlays, **settings))


def command(
    method: str,
    data: Path,
    output: Path,
    *overlays: str,
    launcher: tuple[str, ...] = ("monai.bundle",),
    **settings: Any,
) -> list[str]:
    """The same as a command line."""
    given = _settings(method, data, output, settings)
    return shipped_command(_files(method, overlays), "training", given, launcher)


def _files(method: str, overlays: tuple[str, ...]) -> tuple[str, ...]:
    """HiCo itself is the base, the other methods are overlays."""
    own = () if method == "hico" else (f"configs/hico/{method}.json",)
    return (HICO, *own, CPU, *overlays)


def _settings(method: str, data: Path, output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    small = {**TINY, **(PYRAMID if method == "hico" else {})}
    return {**small, "dataset_dir": data, "output_dir": output, **settings}
