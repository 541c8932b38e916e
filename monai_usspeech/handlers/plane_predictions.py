# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a plane classifier sees in clips and pictures, written for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.handlers.clip_predictions import ClipPredictionHandler, clip_facts
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.plane_strip import plane_strip_figure
from monai_usspeech.handlers.results import write_table

__all__ = ["PlanePredictionHandler", "plane_segments"]


def plane_segments(times: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Runs of frames with one most probable plane; nothing is smoothed.

    Args:
        times: ``[T]`` seconds, growing.
        probabilities: ``[T, C]``, rows that sum to 1.
        classes: the C names.

    Returns:
        ``{"start", "end", "plane", "probability", "frames"}`` for each run: seconds from the first frame of the run to
        that of the next, and the mean probability of its plane. The last run ends one median frame step after its last
        frame.
    """
    best = probabilities.argmax(axis=1)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    edges = np.append(times, times[-1] + step)
    segments = []
    for plane, members in groupby(range(len(best)), key=lambda frame: int(best[frame])):
        frames = list(members)
        segments.append(
            {
                "start": float(edges[frames[0]]),
                "end": float(edges[frames[-1] + 1]),
                "plane": classes[plane],
                "probability": float(probabilities[frames, plane].mean()),
                "frames": len(frames),
            }
        )
    return segments


class PlanePredictionHandler(ClipPredictionHandler):
    """Write the planes of every frame, a summary of every file, and a picture of every file.

    - ``predictions.csv``: ``file,frame,time,plane,probability``, then one column of probabilities for each class;
    - ``predictions.json``: for each file its frames, the rectangle that was looked at, what was wrong with the file,
      how often each plane was seen, and the runs of :func:`plane_segments`;
    - ``strips/NAME.png``: frames of the file above its probabilities over time.

    The engine gives, for each file, ``image``: a MetaTensor ``[1, T, H, W]`` (uint8) as read by
    :class:`~monai_usspeech.data.fan_video.FanVideoReader`, and ``pred``: probabilities ``[T, C]``, decollated. When the
    engine stops at a file that cannot be read, the files before it are written.

    Args:
        output_dir: where to; made when missing.
        weights: the file of the weights, for the record.
        classes: names of the classes in order.
        strips: whether to draw the pictures.
    """

    listing = "predictions.csv"

    def __init__(
        self, output_dir: str | Path, weights: str | None = None, classes: Sequence[str] = PLANES, strips: bool = True
    ) -> None:
        super().__init__(output_dir, weights, strips)
        self.classes = tuple(classes)
        self._rows: list[tuple] = []

    def _start(self, engine: Engine) -> None:
        super()._start(engine)
        self._rows = []

    def _add(self, image: MetaTensor, prediction: torch.Tensor) -> None:
        probabilities, name = prediction.numpy(), str(image.meta["filename_or_obj"])
        if probabilities.shape != (image.shape[1], len(self.classes)):
            raise ValueError(
                f"{name}: expected probabilities [{image.shape[1]}, {len(self.classes)}] of its frames, got the shape"
                f" {probabilities.shape}."
            )
        frames, times, box, problems = clip_facts(image)
        best = probabilities.argmax(axis=1)
        self._rows += [
            (name, int(frame), float(time), self.classes[plane], float(row[plane]), *map(float, row))
            for frame, time, plane, row in zip(frames, times, best, probabilities)
        ]
        counts = np.bincount(best, minlength=len(self.classes))
        seen = [
            {"plane": self.classes[plane], "frames": int(counts[plane]), "share": float(counts[plane] / len(best))}
            for plane in np.argsort(-counts, kind="stable")
            if counts[plane]
        ]
        facts = {
            "file": name,
            "frames": len(best),
            "seconds": float(times[-1] - times[0]),
            "fan_box": box,
            "problems": problems,
            "planes": seen,
            "mean_probabilities": dict(zip(self.classes, map(float, probabilities.mean(axis=0)))),
            "segments": plane_segments(times, probabilities, self.classes),
        }
        stem = self._output_name(name)
        self._files.append(facts)
        self._log(facts, float(probabilities.max()))
        if self.strips:
            pictures = image.as_tensor()[0].cpu().numpy()
            figure = plane_strip_figure(pictures, times, probabilities, self.classes, title=Path(name).name)
            save_figure(figure, self._output_folder("strips") / f"{stem}.png")

    def _log(self, facts: dict[str, Any], highest: float) -> None:
        if facts["frames"] == 1:
            self.logger.info("%s: %s (probability %.2f)", facts["file"], facts["planes"][0]["plane"], highest)
            return
        shares = ", ".join(f"{entry['plane']} {entry['share']:.0%}" for entry in facts["planes"][:4])
        self.logger.info("%s: %d frames, %.1f s: %s", facts["file"], facts["frames"], facts["seconds"], shares)

    def _record(self) -> dict[str, Any]:
        return {**super()._record(), "classes": self.classes}

    def _write(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        columns = ("file", "frame", "time", "plane", "probability", *self.classes)
        write_table(self.folder / self.listing, columns, self._rows)
        super()._write(engine)
