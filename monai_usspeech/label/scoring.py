# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Scores of all clips, as a scoring method of MONAI Label."""

from __future__ import annotations

import time
from typing import Any

import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import ImageNotFoundException
from monailabel.interfaces.tasks.scoring import ScoringMethod
from torch import nn

from monai_usspeech.data.files import InputError
from monai_usspeech.label.clip_scores import score_clip
from monai_usspeech.label.model_files import ModelSpec, PretrainedSpec, load_model, load_pretrained, load_stream
from monai_usspeech.label.score_files import (
    ClipScore,
    ScoreFolder,
    clip_stamp,
    weights_stamp,
)
from monai_usspeech.label.server_folder import ServerFolder

__all__ = ["ClipScoring"]

Loaded = tuple[nn.Module, ModelSpec] | None
LoadedStream = tuple[nn.Module, PretrainedSpec] | None


class ClipScoring(ScoringMethod):
    """Score the clips whose file, models or way of reading have changed since they were scored, or that have no scores.

    It writes the files of :class:`~monai_usspeech.label.score_files.ScoreFolder` and nothing through the server's list
    of clips: it mostly runs in a process of its own, and the server would write over it. A clip that cannot be read is
    reported, and the others go on.

    A request may have ``device``, and ``force`` to score every clip. What is printed is what the server shows of the
    task.

    Args:
        folder: of the server.
    """

    def __init__(self, folder: ServerFolder) -> None:
        super().__init__("Uncertainty, embedding and fit of speech and picture of every clip")
        self.folder = folder

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score.

        Returns:
            ``scored`` and ``fresh``, how many; ``failed``, why by clip; ``removed``, clips that are gone; ``seconds``.
        """
        began = time.monotonic()
        weights = self.folder.scoring_weights
        stamps = {name: weights_stamp(path) for name, path in weights.items()}
        names = sorted(datastore.list_images())
        scores = ScoreFolder(self.folder.scores)
        result: dict[str, Any] = {"scored": 0, "fresh": 0, "failed": {}, "removed": scores.prune(set(names))}
        if not any(stamps.values()):
            _say("scoring: there is no model yet; train one, or start the server with --model or --pretrained.")
            return {**result, "seconds": 0.0}
        due = (
            names if request.get("force") is True else [n for n in names if self._is_due(n, scores, stamps, datastore)]
        )
        result["fresh"] = len(names) - len(due)
        _say(f"scoring: {len(due)} of {len(names)} clips")
        if due:
            device = _device(request.get("device"))
            plane, pretrained = _load(weights, stamps, device)
            for number, name in enumerate(due, start=1):
                try:
                    path = datastore.get_image_uri(name)
                    score = score_clip(name, path, self.folder.reader, plane, pretrained, stamps, device)
                    scores.write(score)
                except (InputError, ImageNotFoundException, OSError) as error:  # it may be taken away meanwhile
                    result["failed"][name] = str(error)
                    _say(f"{number}/{len(due)} {name}: left out: {error}")
                else:
                    result["scored"] += 1
                    _say(f"{number}/{len(due)} {_in_words(score)}")
        result["seconds"] = round(time.monotonic() - began, 1)
        _say(f"scoring: {result['scored']} scored, {result['fresh']} as before, {len(result['failed'])} left out")
        return result

    def _is_due(self, name: str, scores: ScoreFolder, stamps: dict[str, str | None], datastore: Datastore) -> bool:
        found = scores.read(name)
        if found is None or found.models != stamps or found.reader != self.folder.reader:
            return True
        try:
            return found.source != clip_stamp(datastore.get_image_uri(name), name)
        except (InputError, ImageNotFoundException):
            return True  # said when it is read


def _load(weights: dict[str, Any], stamps: dict[str, str | None], device: torch.device) -> tuple[Loaded, LoadedStream]:
    """The networks that there are, on the device."""
    plane: Loaded = None
    pretrained: LoadedStream = None
    if stamps["plane"] is not None:
        network, spec = load_model(weights["plane"], "standard_plane")
        plane = network.to(device), spec
    if stamps["pretrained"] is not None:
        stream: nn.Module
        try:
            stream, known = load_pretrained(weights["pretrained"])
        except InputError as error:
            stream, known = load_stream(weights["pretrained"])
            _say(f"scoring: without speech: {error}")
        pretrained = stream.to(device), known
    return plane, pretrained


def _device(wanted: Any) -> torch.device:
    """The device asked for; the default is the first GPU, or the CPU where there is none."""
    try:
        device = torch.device(str(wanted) if wanted else "cuda:0")
    except RuntimeError:
        raise InputError(f"device: {wanted!r} is none; give cpu or cuda.") from None
    return device if device.type != "cuda" or torch.cuda.is_available() else torch.device("cpu")


def _in_words(score: ClipScore) -> str:
    parts = [] if score.uncertainty is None else [f"uncertainty {score.uncertainty:.2f}"]
    parts.append(score.why if score.affinity is None else f"affinity {score.affinity:.2f}")
    return f"{score.id}: {', '.join(parts)}"


def _say(line: str) -> None:
    print(line, flush=True)
