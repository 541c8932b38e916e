# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Training engines and what they are configured with."""

from __future__ import annotations

from monai_usspeech.engines.configuration import (
    check_command_line,
    command_line_configuration,
    report_input_errors,
    write_configuration,
)
from monai_usspeech.engines.initialise import initialise
from monai_usspeech.engines.prepare_batch import PrepareVideoSpeechBatch
from monai_usspeech.engines.trainer import MultiTermTrainer, iteration_output, step_is_due

__all__ = [
    "MultiTermTrainer",
    "PrepareVideoSpeechBatch",
    "check_command_line",
    "command_line_configuration",
    "initialise",
    "iteration_output",
    "report_input_errors",
    "step_is_due",
    "write_configuration",
]
