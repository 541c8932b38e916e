# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Where one would look at clips and pictures, written for people and for viewers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from monai_usspeech.data.files import write_json
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.gaze_strip import gaze_strip_figure
from monai_usspeech.handlers.saliency_volume import clip_grid, gaze_peaks, on_grid, write_volume

__all__ = ["GazePredictionHandler"]


class GazePredictionHandler:
    """Write a volume and a picture of every file, and where on each frame the gaze is most likely.

    - ``volumes/NAME.nrrd``: float32 (x, y, frame), how many times as likely as a uniform gaze over the crop; a viewer
      lays it over the clip (:mod:`~monai_usspeech.handlers.saliency_volume`);
    - ``strips/NAME.png``: frames of the file under their maps;
    - ``predictions.json``: for each file the rectangle that was looked at, what was wrong with the file, and of every
      frame its number, its time and the place of its highest value (shares of the picture, x right, y down).

    The engine gives, for each file, ``image``: a MetaTensor ``[1, T, H, W]`` (uint8) as read by
    :class:`~monai_usspeech.data.fan_video.FanVideoReader`, and ``pred``: densities ``[T, h, w]``, decollated. When the
    engine stops at a file that cannot be read, the files before it are written.

    Args:
        output_dir: where to; made when missing.
        weights: the file of the weights, for the record.
        fps: frames per second of files without a clock.
        strips: whether to draw the pictures.
    """

    def __init__(
        self, output_dir: str | Path, weights: str | None = None, fps: float | None = None, strips: bool = True
    ) -> None:
        self.folder, self.weights, self.fps, self.strips = Path(output_dir), weights, fps, strips
        self.logger = logging.getLogger(__name__)
        self._files: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator that decollates; its postprocessing turns logits into densities."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._interrupted)

    def _start(self, engine: Engine) -> None:
        self._files = []

    def _collect(self, engine: Engine) -> None:
        for item in cast(list[dict[str, Any]], engine.state.output):
            self._add(item["image"], torch.as_tensor(item["pred"]).float().cpu())

    def _add(self, image: MetaTensor, density: torch.Tensor) -> None:
        meta, name = image.meta, str(image.meta["filename_or_obj"])
        if density.ndim != 3 or len(density) != image.shape[1]:
            raise ValueError(
                f"{name}: expected a map [h, w] for each of {image.shape[1]} frames, got {tuple(density.shape)}."
            )
        times, frames, box = (np.asarray(meta[key]).reshape(-1) for key in ("frame_times", "frame_indices", "fan_box"))
        grid = clip_grid(name, frames, fps=self.fps)
        laid = on_grid(density, box.tolist(), grid)
        stem = self._stem(name)
        for folder in ("volumes", *(["strips"] if self.strips else [])):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        write_volume(laid.numpy(), grid, self.folder / "volumes" / f"{stem}.nrrd")
        if self.strips:
            figure = gaze_strip_figure(image.as_tensor()[0].cpu().numpy(), times, density.numpy(), Path(name).name)
            save_figure(figure, self.folder / "strips" / f"{stem}.png")
        self._files.append(
            {
                "file": name,
                "volume": f"volumes/{stem}.nrrd",
                "fan_box": [int(edge) for edge in box],
                "problems": str(meta["problems"]),
                "frames": [int(number) for number in frames],
                "times": [round(float(time), 4) for time in times],
                "peaks": gaze_peaks(laid, grid),
            }
        )
        self.logger.info("%s: %d frames", name, len(frames))

    def _stem(self, name: str) -> str:
        """The name of the outputs; another one when a file of the same name lies in another folder."""
        stem = Path(name).name
        again = sum(Path(entry["file"]).name == stem for entry in self._files)
        return f"{stem}.{again}" if again else stem

    def _write(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"format": 1, "weights": self.weights, "files": self._files}
        write_json(self.folder / "predictions.json", content)
        self.logger.info("%d files; see %s.", len(self._files), self.folder / "predictions.json")

    def _interrupted(self, engine: Engine, error: Exception) -> None:
        if self._files:
            self._write(engine)
        raise error  # ignite leaves the raising to whoever listens
