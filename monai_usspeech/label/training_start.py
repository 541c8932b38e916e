# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the training of the plane classifier begins with, and whom those weights know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.initialise import initialise
from monai_usspeech.engines.weights import load_trained
from monai_usspeech.label.model_files import ModelSpec, pretrained_stream, read_facts
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.label.training_request import TrainingRequest

__all__ = ["TrainingStart", "choose_start", "load_start"]

_TASK = "standard_plane"


@dataclass(frozen=True)
class TrainingStart:
    """What training begins with.

    Attributes:
        kind: ``"model"`` or ``"pretrained"``.
        spec: the weights to begin with, and the network to train: its mode is that of the training.
        whole: whether the weights are those of such a network, with its last layer; else their backbone is taken.
        trained: on whose labels the weights have been trained.
        validated: who judged them.
        subjects: everybody they have seen; None where nothing says.
    """

    kind: str
    spec: ModelSpec
    whole: bool
    trained: tuple[str, ...] = ()
    validated: tuple[str, ...] = ()
    subjects: tuple[str, ...] | None = None


def choose_start(folder: ServerFolder, request: TrainingRequest) -> TrainingStart:
    """What a request starts from: the model in use, else the one the server was given, else pretrained weights.

    Raises:
        InputError: when there is nothing, or not what was asked for.
    """
    model, pretrained = folder.weights(_TASK), folder.pretrained
    kind = request.start or ("model" if model is not None else "pretrained")
    if kind == "pretrained":
        if pretrained is None:
            raise InputError("start: the server has no pretrained weights; start it again with --pretrained.")
        spec = pretrained_stream(pretrained).plane_model(request.mode)
        return TrainingStart(kind, spec, False, subjects=_names(read_facts(spec.weights).get("subjects")))
    if model is None:
        raise InputError('start: there is no model yet; train with "start": "pretrained".')
    spec = ModelSpec.read(model, _TASK)
    facts = read_facts(spec.weights)
    settings = facts.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    return TrainingStart(
        kind,
        replace(spec, mode=request.mode),
        (spec.mode == "probe") == (request.mode == "probe"),  # a probe's head reads standardised features
        _names(settings.get("train_subjects", facts.get("subjects"))) or (),
        _names(settings.get("validation_subjects")) or (),
        _names(facts.get("subjects")),
    )


def _names(value: Any) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) else None


def load_start(network: nn.Module, start: TrainingStart) -> None:
    """Everything from a model of the same form; else its backbone, under a new last layer."""
    if start.whole:
        load_trained(network, start.spec.weights)
    else:
        initialise(network, start.spec.weights)
