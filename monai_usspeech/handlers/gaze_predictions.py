# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Where one would look at clips and pictures, written for people and for viewers."""

from __future__ import annotations

from pathlib import Path

import torch
from monai.data import MetaTensor

from monai_usspeech.handlers.clip_predictions import ClipPredictionHandler, clip_facts
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.gaze_strip import gaze_strip_figure
from monai_usspeech.handlers.saliency_volume import clip_grid, gaze_peaks, on_grid, write_volume

__all__ = ["GazePredictionHandler"]


class GazePredictionHandler(ClipPredictionHandler):
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
        super().__init__(output_dir, weights, strips)
        self.fps = fps

    def _add(self, image: MetaTensor, prediction: torch.Tensor) -> None:
        name = str(image.meta["filename_or_obj"])
        if prediction.ndim != 3 or len(prediction) != image.shape[1]:
            raise ValueError(
                f"{name}: expected a map [h, w] for each of {image.shape[1]} frames, got {tuple(prediction.shape)}."
            )
        frames, times, box, problems = clip_facts(image)
        grid = clip_grid(name, frames, fps=self.fps)
        laid = on_grid(prediction, box, grid)
        stem = self._output_name(name)
        write_volume(laid.numpy(), grid, self._output_folder("volumes") / f"{stem}.nrrd")
        if self.strips:
            figure = gaze_strip_figure(image.as_tensor()[0].cpu().numpy(), times, prediction.numpy(), Path(name).name)
            save_figure(figure, self._output_folder("strips") / f"{stem}.png")
        self._files.append(
            {
                "file": name,
                "volume": f"volumes/{stem}.nrrd",
                "fan_box": box,
                "problems": problems,
                "frames": [int(number) for number in frames],
                "times": [round(float(time), 4) for time in times],
                "peaks": gaze_peaks(laid, grid),
            }
        )
        self.logger.info("%s: %d frames", name, len(frames))
