# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The weights that a run starts from, as a configuration names them."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from timm import create_model

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.networks.initialisation import InitialisationReport, load_initialisation

__all__ = ["IMAGENET_MODELS", "INITIALISATION_WORDS", "initialise"]

_logger = logging.getLogger(__name__)

IMAGENET_MODELS = {"se_resnext50": "seresnext50_32x4d.racm_in1k", "resnet18": "resnet18.tv_in1k"}
"""timm's ImageNet-1k weights of the two papers' backbones, ``timm/<name>`` on the Hugging Face hub.

The video-speech paper's backbone is SE-ResNeXt-50; HiCo's is ResNet18, whose weights here are torchvision's.
"""

INITIALISATION_WORDS = ("random", "imagenet")
"""What may stand where a weights file is named: weights as they are drawn, and weights that are fetched."""


def initialise(
    network: torch.nn.Module, path: str | Path | None, stream: str = "video", source: str = "auto"
) -> InitialisationReport | None:
    """Load weights into a network that is about to be trained, or leave it as it is.

    Args:
        network: a :class:`~monai_usspeech.networks.VideoSpeechNet`, :class:`~monai_usspeech.networks.FrameClassifier`,
            :class:`~monai_usspeech.networks.SaliencyNet`, backbone, or any network with a ``video_stream``.
        path: a local checkpoint (of this package, ImageNet or SonoNet); the word ``"imagenet"``, which takes the
            backbone's entry of :data:`IMAGENET_MODELS` from timm's hub; None or the word ``"random"`` for weights as
            they were drawn.
        stream: ``"video"``, ``"speech"`` or ``"both"``.
        source: which kind of file it is; see :func:`~monai_usspeech.networks.load_initialisation`.

    Returns:
        What was loaded; None for random weights.

    Raises:
        InputError: when the checkpoint cannot be read, fetched, or does not fit.
    """
    if path is None or path == "random":
        return None
    try:
        if path == "imagenet":
            return load_initialisation(network, _imagenet_weights(network), source="imagenet", stream=stream)
        return load_initialisation(network, path, source=source, stream=stream)
    except InputError:
        raise
    except ValueError as error:
        hint = ""
        if Path(path).is_dir():
            hint = " It is a folder; give the file in it, such as model.pt."
        elif not Path(path).exists():
            hint = nearest_name(str(path).lower(), INITIALISATION_WORDS) or " Correct the path."
        raise InputError(f"initialisation: {error}{hint}") from error


def _imagenet_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that timm has for the network's backbone, from its cache or the hub."""
    model = _imagenet_model(network)
    try:
        weights = create_model(model, pretrained=True).state_dict()
    except Exception as error:  # hub, cache and network each raise their own kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f'initialisation: "imagenet" needs {model} from the hub, which cannot be reached ({reason}); fetch'
            f" model.safetensors from https://huggingface.co/timm/{model} on a machine that can, and give its"
            " path as the initialisation."
        ) from error
    _logger.info("initialisation: %s from timm's hub", model)
    return dict(weights)


def _imagenet_model(network: torch.nn.Module) -> str:
    """The entry of :data:`IMAGENET_MODELS` whose network has the tensors of this backbone."""
    backbone = getattr(network, "video_stream", network)
    names = set(backbone.state_dict())
    for model in IMAGENET_MODELS.values():
        with torch.device("meta"):  # nothing is downloaded for a network that could not take it
            known = set(create_model(model.split(".")[0], num_classes=0).state_dict())
        if names == known:
            return model
    backbones = " and ".join(f'backbone="{name}"' for name in IMAGENET_MODELS)
    raise InputError(
        f'initialisation: "imagenet" weights exist for {backbones} alone, and this network has another one'
        f" ({type(backbone).__name__} with {len(names)} tensors)."
    )
