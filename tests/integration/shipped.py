# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The shipped configurations in a test: as a workflow in this process, and as the command that a user types."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from monai.bundle import ConfigWorkflow

from monai_usspeech.data.files import InputError
from tests.conftest import REPOSITORY

MULTI_GPU = "bundle/configs/multi_gpu_train.json"
TWO_PROCESSES = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle")


def shipped_workflow(files: Sequence[str], run_id: str, settings: dict[str, Any]) -> ConfigWorkflow:
    """The workflow of configuration files of the repository, laid over one another, before ``initialize``."""
    given = {**settings, **{name: str(settings[name]) for name in ("dataset_dir", "output_dir")}}
    return ConfigWorkflow(
        config_file=[str(REPOSITORY / name) for name in files],
        workflow_type="train",
        run_id=run_id,
        logging_file=False,
        **given,
    )


def run_through(workflow: ConfigWorkflow) -> ConfigWorkflow:
    """Initialise and run it."""
    workflow.initialize()
    workflow.run()
    return workflow


def shipped_command(
    files: Sequence[str], run_id: str, settings: dict[str, Any], launcher: Sequence[str] = ("monai.bundle",)
) -> list[str]:
    """The same as a command line, to be run in the repository; ``launcher`` is what follows ``python -m``."""
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    listed = ",".join(f"'{name}'" for name in files)
    return [sys.executable, "-m", *launcher, "run", run_id, "--config_file", f"[{listed}]", *options]


def input_error(error: BaseException) -> str:
    """The sentence that the command line would print; MONAI wraps it in errors of its own."""
    while not isinstance(error, InputError):
        assert error.__cause__ is not None, f"no InputError behind {error!r}"
        error = error.__cause__
    return str(error)
