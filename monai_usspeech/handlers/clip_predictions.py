# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What handlers that write a network's answers to clips and pictures have in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from monai_usspeech.data.files import write_json

__all__ = ["ClipFacts", "ClipPredictionHandler", "clip_facts"]


class ClipFacts(NamedTuple):
    """What a reader said of a clip.

    Attributes:
        frames: int ``[T]``, numbers of the frames in the file, growing.
        times: ``[T]`` seconds.
        fan_box: (top, left, bottom, right) of the crop, picture pixels.
        problems: what was wrong with the file; empty when nothing was.
    """

    frames: np.ndarray
    times: np.ndarray
    fan_box: list[int]
    problems: str


def clip_facts(image: MetaTensor) -> ClipFacts:
    """The facts of a clip as read by :class:`~monai_usspeech.data.fan_video.FanVideoReader`, collated or not."""
    meta = image.meta
    frames, times, box = (np.asarray(meta[key]).reshape(-1) for key in ("frame_indices", "frame_times", "fan_box"))
    return ClipFacts(frames, times, [int(edge) for edge in box], str(meta["problems"]))


class ClipPredictionHandler(ABC):
    """Collect what is to be said of every file, and write ``predictions.json`` at the end.

    The engine gives, for each file, ``image``: a MetaTensor ``[1, T, H, W]`` (uint8) as read by
    :class:`~monai_usspeech.data.fan_video.FanVideoReader`, and ``pred`` ``[T, ...]``, decollated. When the engine stops
    at a file that cannot be read, the files before it are written.

    Args:
        output_dir: where to; made when missing.
        weights: the file of the weights, for the record.
        strips: whether to draw the pictures.
    """

    listing = "predictions.json"
    """The file that a person is told of at the end."""

    def __init__(self, output_dir: str | Path, weights: str | None = None, strips: bool = True) -> None:
        self.folder, self.weights, self.strips = Path(output_dir), weights, strips
        self.logger = logging.getLogger(type(self).__module__)
        self._files: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator that decollates, and whose postprocessing makes of logits what is written."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._interrupted)

    def _start(self, engine: Engine) -> None:
        self._files = []

    def _collect(self, engine: Engine) -> None:
        for item in cast(list[dict[str, Any]], engine.state.output):
            self._add(item["image"], torch.as_tensor(item["pred"]).float().cpu())

    @abstractmethod
    def _add(self, image: MetaTensor, prediction: torch.Tensor) -> None:
        """Take in one file: its record goes into ``self._files``."""

    def _output_name(self, name: str) -> str:
        """The name of a file's outputs, before its record is kept; another when one of that name had it before."""
        stem = Path(name).name
        again = sum(Path(entry["file"]).name == stem for entry in self._files)
        return f"{stem}.{again}" if again else stem

    def _output_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _record(self) -> dict[str, Any]:
        """What ``predictions.json`` says before the files."""
        return {"format": 1, "weights": self.weights}

    def _write(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "predictions.json", {**self._record(), "files": self._files})
        self.logger.info("%d files; see %s.", len(self._files), self.folder / self.listing)

    def _interrupted(self, engine: Engine, error: Exception) -> None:
        if self._files:
            self._write(engine)
        raise error  # ignite leaves the raising to whoever listens
