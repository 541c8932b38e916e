# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The weights that a run starts from, as a configuration names them."""

from __future__ import annotations

from pathlib import Path

import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.networks.initialisation import InitialisationReport, load_initialisation

__all__ = ["initialise"]


def initialise(
    network: torch.nn.Module, path: str | Path | None, stream: str = "video"
) -> InitialisationReport | None:
    """Load weights into a network that is about to be trained, or leave it as it is.

    Args:
        network: usually a :class:`~monai_usspeech.networks.VideoSpeechNet`.
        path: the checkpoint, or None for random weights.
        stream: ``"video"``, ``"speech"`` or ``"both"``.

    Returns:
        What was loaded; None without a path.

    Raises:
        InputError: when the checkpoint cannot be read or does not fit (see
            :func:`~monai_usspeech.networks.load_initialisation`).
    """
    if path is None:
        return None
    try:
        return load_initialisation(network, path, stream=stream)
    except ValueError as error:
        raise InputError(f"initialisation: {error}") from error
