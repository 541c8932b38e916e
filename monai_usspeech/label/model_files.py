# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Weights files that the server works with: which network is in them, how pictures are prepared for it, and new ones.

What a network is stands in JSON beside its weights, and only plain values are taken from there; nothing in it is
evaluated.

==================================  =====================================================================
weights                             described by
==================================  =====================================================================
``model.pt`` of a downstream run    ``settings`` of ``model.json``
``model.pt`` of a bundle            ``configs/inference.json`` (or ``.yaml``) of the bundle
``model.pt`` of a pretraining run   ``settings`` of ``model.json``; without them ``config.json`` of the run
==================================  =====================================================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_usspeech.data.drawn_items import as_input_error
from monai_usspeech.data.files import InputError, read_json
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.engines.initialise import initialise
from monai_usspeech.engines.retrieval import load_embedding, projection_kind
from monai_usspeech.engines.weights import freezes_backbone, load_trained, provenance_path, write_weights
from monai_usspeech.label._model_values import (
    MODEL_TASKS,
    bundle_values,
    configuration_values,
    facts_file,
    model_fields,
    pretrained_fields,
    run_values,
)
from monai_usspeech.networks import FrameClassifier, SaliencyNet, VideoSpeechNet, create_backbone
from monai_usspeech.networks.checkpoints import read_checkpoint

__all__ = [
    "MODEL_TASKS",
    "ModelSpec",
    "PretrainedSpec",
    "load_model",
    "load_pretrained",
    "load_stream",
    "pretrained_stream",
    "publish",
    "read_facts",
]

_IN_BUNDLE = "models/model.pt"
_TRIES = 5


@dataclass(frozen=True)
class ModelSpec:
    """A trained network of a downstream task and how pictures are prepared for it.

    The pictures are grey, ``size`` pixels a side, standardised as ``(grey / 255 - frame_mean) / frame_std``.

    Attributes:
        weights: the file.
        task: ``"standard_plane"`` or ``"gaze_saliency"``.
        backbone: a name in :data:`~monai_usspeech.networks.BACKBONES`.
        output_stride: of the backbone.
        size: side of the pictures, pixels.
        frame_mean: subtracted from grey values in [0, 1].
        frame_std: divides them after that.
        mode: how it was trained, ``"finetune"``, ``"last_layers"`` or ``"probe"``; a probe has a layer that the others
            lack.
        classes: names of the outputs, of a plane classifier :data:`~monai_usspeech.data.PLANES`; else empty.
        map_size: rows and columns of the maps of a gaze network; else None.
        backbone_options: further arguments of the backbone.
    """

    weights: Path
    task: str
    backbone: str
    output_stride: int
    size: int
    frame_mean: float = 0.5
    frame_std: float = 0.25
    mode: str = "finetune"
    classes: tuple[str, ...] = ()
    map_size: tuple[int, int] | None = None
    backbone_options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike, task: str | None = None) -> ModelSpec:
        """What is in a weights file; the weights themselves are not looked at.

        Args:
            path: the file, or the folder of a bundle.
            task: the task that it must be for; None takes either.

        Raises:
            InputError: when the file is not there, nothing says which network it holds, or it is one that the server
                cannot use; with the mend.
        """
        weights = _weights_file(path)
        values = run_values(weights) or bundle_values(weights)
        if values is None:
            raise InputError(
                f"{weights}: nothing says which network it holds; copy {provenance_path(weights).name} of its run"
                " beside it, or give the folder of a bundle with configs/inference.json and models/model.pt."
            )
        spec = cls(weights=weights, **model_fields(weights, values))
        if task is not None and spec.task != task:
            raise InputError(f"{weights}: is a model for {spec.task}, and one for {task} is needed here.")
        with torch.device("meta"):  # what is wrong with its arguments shows now
            spec.network()
        return spec

    def network(self, mode: str | None = None) -> nn.Module:
        """The network, with random weights.

        Args:
            mode: build it for this way of training; None for that of the weights.

        Raises:
            InputError: when there is no such network.
        """
        mode = self.mode if mode is None else mode
        options: dict[str, Any] = {
            "backbone": self.backbone,
            "output_stride": self.output_stride,
            "freeze": freezes_backbone(mode, last_layers=self.task == "standard_plane"),
            "backbone_options": dict(self.backbone_options),
        }
        with as_input_error(str(self.weights)):
            if self.task == "gaze_saliency":
                return SaliencyNet(map_size=self.map_size or (64, 64), **options)
            last = mode == "last_layers"
            return FrameClassifier(num_classes=len(self.classes), train_last_block=last, **options)

    def settings(self) -> dict[str, Any]:
        """The same as the ``settings`` of a downstream run: written beside weights, :meth:`read` finds it there."""
        return {
            "task": self.task,
            "mode": self.mode,
            "size": self.size,
            "frame_mean": self.frame_mean,
            "frame_std": self.frame_std,
            "standardise": "fixed",
            "frame_scale": 1.0,
            "backbone": self.backbone,
            "output_stride": self.output_stride,
            **({"backbone_options": dict(self.backbone_options)} if self.backbone_options else {}),
            **({"map_size": list(self.map_size)} if self.map_size else {}),
        }


@dataclass(frozen=True)
class PretrainedSpec:
    """The video stream of a self-supervised network, and how pictures and speech are prepared for it.

    Attributes:
        weights: the file.
        method: what it was trained with; None where nothing says.
        backbone, output_stride, size, frame_mean, frame_std, backbone_options: as in :class:`ModelSpec`.
        statistics: how spectrograms are standardised, ``"scan"`` or ``"band"`` (``normalise`` of
            :class:`~monai_usspeech.transforms.LogSpectrogram`).
        hop_length: of the spectrogram; None for its default.
    """

    weights: Path
    method: str | None
    backbone: str
    output_stride: int
    size: int
    frame_mean: float = 0.5
    frame_std: float = 0.25
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    statistics: str = "scan"
    hop_length: int | None = None

    def plane_model(self, mode: str) -> ModelSpec:
        """A plane classifier on this stream, to be trained in a ``mode`` of :class:`ModelSpec`."""
        same = ("weights", "backbone", "output_stride", "size", "frame_mean", "frame_std", "backbone_options")
        fields = {name: getattr(self, name) for name in same}
        return ModelSpec(task="standard_plane", mode=mode, classes=PLANES, **fields)


def load_model(path: str | os.PathLike, task: str | None = None) -> tuple[nn.Module, ModelSpec]:
    """The network in a weights file, in evaluation mode, on the CPU, and what it is.

    Weights and facts are two files. Should they be replaced while they are read, they are read again, so that those of
    two trainings are never mixed.

    Args:
        path: the file, or the folder of a bundle.
        task: as for :meth:`ModelSpec.read`.

    Raises:
        InputError: as :meth:`ModelSpec.read`, and when a tensor is missing or has another shape.
    """
    for tried in range(_TRIES):
        before = _stamps(path)
        try:
            spec = ModelSpec.read(path, task)
            network = spec.network()
            load_trained(network, spec.weights)
        except InputError:
            if _stamps(path) == before or tried == _TRIES - 1:
                raise
            continue
        if _stamps(path) == before:
            return network.eval(), spec
    raise InputError(f"{path}: was replaced again and again while it was read; try again.")


def publish(path: str | os.PathLike, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Put new weights and their facts in the place of the old ones.

    Both are written whole beside their places, and then renamed one after the other. Whatever goes wrong before that
    leaves the old ones as they were.

    Args:
        path: the weights file; the facts lie beside it as JSON.
        network: whose weights.
        facts: plain values; ``"settings"`` (:meth:`ModelSpec.settings`) is needed to load the file again.
    """
    target = Path(path)
    staged = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        write_weights(staged, network.state_dict(), facts)
        os.replace(provenance_path(staged), provenance_path(target))
        os.replace(staged, target)
    finally:
        staged.unlink(missing_ok=True)
        provenance_path(staged).unlink(missing_ok=True)


def read_facts(path: str | os.PathLike) -> dict[str, Any]:
    """What lies beside weights as JSON; empty when there is nothing.

    Raises:
        InputError: when it is there and cannot be read.
    """
    place = facts_file(Path(path))
    facts = None if place is None else read_json(place)
    return facts if isinstance(facts, dict) else {}


def pretrained_stream(path: str | os.PathLike) -> PretrainedSpec:
    """What is in a weights file of pretraining; the weights themselves are not looked at.

    Raises:
        InputError: when the file is not there, or nothing says which network it holds.
    """
    weights = _weights_file(path)
    values = run_values(weights) or configuration_values(weights)
    if values is None:
        raise InputError(
            f"{weights}: nothing says which network it holds; copy config.json of the pretraining run beside it."
        )
    return PretrainedSpec(weights=weights, **pretrained_fields(weights, values))


def load_pretrained(path: str | os.PathLike) -> tuple[VideoSpeechNet, PretrainedSpec]:
    """Both streams of a pretrained network with their projections, in evaluation mode, on the CPU.

    Raises:
        InputError: as :func:`pretrained_stream`, and when the method has no projection or the weights do not fit.
    """
    spec = pretrained_stream(path)
    kind = projection_kind(spec.weights)
    last = read_checkpoint(spec.weights).get("video_projection.out.weight")
    with as_input_error(str(spec.weights)):
        network = VideoSpeechNet(
            spec.backbone,
            spec.output_stride,
            embedding_dim=128 if last is None else len(last),
            projection=kind,
            order=False,
            correspondence=False,
            backbone_options=spec.backbone_options,
        )
    load_embedding(network, spec.weights)
    return network.eval(), spec


def load_stream(path: str | os.PathLike) -> tuple[nn.Module, PretrainedSpec]:
    """The video stream alone of a pretrained network, in evaluation mode, on the CPU: images to pooled features.

    Raises:
        InputError: as :func:`pretrained_stream`, and when the weights do not fit.
    """
    spec = pretrained_stream(path)
    options = {"in_channels": 1, "output_stride": spec.output_stride, **spec.backbone_options}
    with as_input_error(str(spec.weights)):
        stream: nn.Module = create_backbone(spec.backbone, **options)
    initialise(stream, spec.weights)
    return stream.eval(), spec


def _weights_file(path: str | os.PathLike) -> Path:
    given = Path(path)
    weights = given / _IN_BUNDLE if given.is_dir() else given
    if not weights.is_file():
        mend = "Give model.pt of a run, or the folder of a bundle." if given.is_dir() else "Correct the path."
        raise InputError(f"{weights}: no such file. {mend}")
    return weights


def _stamps(path: str | os.PathLike) -> list[tuple[int, int, int] | None]:
    """What tells whether the two files are still those that they were."""
    found: list[tuple[int, int, int] | None] = []
    weights = Path(path) / _IN_BUNDLE if Path(path).is_dir() else Path(path)
    for file in (weights, provenance_path(weights)):
        try:
            facts = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((facts.st_ino, facts.st_mtime_ns, facts.st_size))
    return found
