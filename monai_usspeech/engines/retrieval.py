# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The weights that retrieval is measured on: both streams and the projections, every tensor of them."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor, nn

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.engines.initialise import initialise
from monai_usspeech.engines.weights import differing_tensors
from monai_usspeech.networks import VideoSpeechNet, read_checkpoint

__all__ = ["EMBEDDINGS", "embedding_network", "has_projection", "load_embedding", "projection_kind"]

EMBEDDINGS = ("projection", "features")
_OTHER_HEADS = ("correspondence.", "order.", "view_projection.")
_logger = logging.getLogger(__name__)


def has_projection(embedding: str) -> bool:
    """Whether an embedding is the projection of both streams, rather than the pooled features of the video stream.

    Raises:
        InputError: when it is neither.
    """
    if embedding not in EMBEDDINGS:
        hint = nearest_name(str(embedding), EMBEDDINGS)
        raise InputError(f'embedding: "{embedding}" is neither "projection" nor "features".{hint}')
    return embedding == "projection"


def embedding_network(network: VideoSpeechNet, embedding: str) -> nn.Module:
    """The network whose output is the embedding.

    Args:
        network: the network that the weights are loaded into.
        embedding: ``"projection"`` gives the network itself, which takes video and speech; ``"features"`` its video
            stream over the frames of a clip ``[B, 1, 1, H, W]``, giving ``[B, D]``.

    Raises:
        InputError: for another embedding.
    """
    return network if has_projection(embedding) else nn.Sequential(nn.Flatten(0, 1), network.video_stream)


def projection_kind(path: str | Path | None) -> str:
    """``"separate"`` when a checkpoint has a projection for each stream, else ``"shared"``.

    Raises:
        InputError: when the file cannot be read.
    """
    weights = {} if path is None else _read(path)
    return "separate" if any(name.startswith("speech_projection.") for name in weights) else "shared"


def load_embedding(network: nn.Module, path: str | Path | None, embedding: str = "projection") -> None:
    """Load what an embedding needs, or nothing.

    Args:
        network: a :class:`~monai_usspeech.networks.VideoSpeechNet`; with projections for ``"projection"``.
        path: the checkpoint. None leaves random weights, which is the control that retrieval must beat.
        embedding: ``"projection"``: every tensor of the network must be in the file with its shape, and the file may
            hold no others but the heads of other tasks. ``"features"``: the video stream alone, from any file that
            :func:`~monai_usspeech.networks.load_initialisation` reads.

    Raises:
        InputError: when the file cannot be read, has no projection, or is that of another network.
    """
    if not has_projection(embedding):
        initialise(network, path)
        return
    if path is None:
        _logger.warning("No initialisation is given: the network is random, and its ranks will be those of chance.")
        return
    weights = _read(path)
    if not any(name.startswith("video_projection.") for name in weights):
        raise InputError(
            f"initialisation: {path} has no projection, which this comparison needs. The methods cm_contra,"
            " cm_contra_filter, cm_contra_order, ours and plus have one; for a picture of other weights run retrieval"
            " with --embedding features."
        )
    wrong = differing_tensors(network, weights, ignored=_OTHER_HEADS)
    if wrong:
        raise InputError(
            f"initialisation: {path} holds the weights of another network ({len(wrong)} tensors differ, the first is"
            f" {wrong[0]}); give what it was trained with, such as --network_def#backbone se_resnext_small."
        )
    network.load_state_dict({name: weights[name] for name in network.state_dict()})


def _read(path: str | Path) -> dict[str, Tensor]:
    try:
        return read_checkpoint(path)
    except ValueError as error:
        raise InputError(f"initialisation: {error}") from error
