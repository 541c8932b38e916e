# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Training engines and what they are configured with."""

from __future__ import annotations

from monai_usspeech.engines.bundle_root import find_bundle_root
from monai_usspeech.engines.configuration import (
    check_command_line,
    command_line_configuration,
    report_input_errors,
    software_versions,
    write_configuration,
)
from monai_usspeech.engines.frame_inferer import FrameInferer
from monai_usspeech.engines.initialise import initialise
from monai_usspeech.engines.key_queue import queue_within_epoch
from monai_usspeech.engines.prepare_batch import PrepareVideoSpeechBatch
from monai_usspeech.engines.prepare_frames import PrepareFrameBatch
from monai_usspeech.engines.prepare_views import PrepareViewBatch
from monai_usspeech.engines.retrieval import embedding_network, has_projection, load_embedding, projection_kind
from monai_usspeech.engines.selection import selects_on_test
from monai_usspeech.engines.trainer import MultiTermTrainer, iteration_output, step_is_due, step_number
from monai_usspeech.engines.two_stream_inferer import TwoStreamInferer
from monai_usspeech.engines.view_inferer import ViewInferer
from monai_usspeech.engines.weights import (
    check_unseen,
    freezes_backbone,
    load_trained,
    seen_subjects,
    trained_with,
    write_weights,
)

__all__ = [
    "FrameInferer",
    "MultiTermTrainer",
    "PrepareFrameBatch",
    "PrepareVideoSpeechBatch",
    "PrepareViewBatch",
    "TwoStreamInferer",
    "ViewInferer",
    "check_command_line",
    "check_unseen",
    "command_line_configuration",
    "embedding_network",
    "find_bundle_root",
    "freezes_backbone",
    "has_projection",
    "initialise",
    "iteration_output",
    "load_embedding",
    "load_trained",
    "projection_kind",
    "queue_within_epoch",
    "report_input_errors",
    "seen_subjects",
    "selects_on_test",
    "software_versions",
    "step_is_due",
    "step_number",
    "trained_with",
    "write_configuration",
    "write_weights",
]
