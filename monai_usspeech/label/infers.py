# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the server predicts: the planes of a clip, where one would look at it, and the same as nested levels."""

from __future__ import annotations

import logging
import os
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.inferers import Inferer
from monai.transforms import Activationsd, Lambdad, LoadImaged
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask
from torch import nn

from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.engines.frame_inferer import FrameInferer
from monai_usspeech.handlers.clip_predictions import clip_facts
from monai_usspeech.handlers.figures import figure_bytes
from monai_usspeech.handlers.plane_strip import plane_strip_figure
from monai_usspeech.handlers.saliency_volume import (
    LEVEL_SHARES,
    ClipGrid,
    clip_grid,
    gaze_peaks,
    level_outlines,
    level_thresholds,
    on_grid,
    write_volume,
)
from monai_usspeech.label.model_files import ModelSpec, load_model
from monai_usspeech.label.plane_answer import plane_answer
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.networks.downstream import spatial_softmax

__all__ = ["GAZE_LEVELS", "ClipInfer", "GazeInfer", "GazeLevelsInfer", "PlaneInfer"]

GAZE_LEVELS = {f"gaze {share:.0%}": level for level, share in enumerate(LEVEL_SHARES, start=1)}
"""Names of the segments and their values in the volume."""

_logger = logging.getLogger(__name__)


class _Loaded(NamedTuple):
    """A model as it was read: its weights' time stamp and size tell a newer one."""

    stamp: tuple[int, int]
    network: nn.Module
    spec: ModelSpec


class ClipInfer(BasicInferTask):
    """A frame network over a clip, read as the pretraining reads it: the fan alone, at a low frame rate.

    The architecture may change with the weights (a probe has a layer that a fine-tuned network lacks), so the network
    is built from what lies beside them, and anew whenever they are replaced. One request sees one model from its start
    to its end.

    Args:
        folder: of the server; says how clips are read, and which weights it was started with.
        name: of the model. What was trained here, ``model/NAME.pt``, goes before what the server was started with;
            where there is neither, the model is not offered.
        type: what kind of model clients take it for.
        labels: name of each class or segment, and its number.
        description: for clients.
    """

    def __init__(self, folder: ServerFolder, name: str, type: InferType, labels: dict[str, int], description: str):
        super().__init__(None, None, type, labels, dimension=3, description=description)
        self.folder, self.name = folder, name
        self._loaded: dict[str, _Loaded] = {}

    def get_path(self, validate: bool = True) -> str | None:
        """The weights in use, or None."""
        found = self.folder.weights(self.name)
        return None if found is None else str(found)

    def is_valid(self) -> bool:
        """Whether there are weights."""
        return self.get_path() is not None

    def pre_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable]:
        """Read the clip as uint8 ``[1, T, size, size]``; the model is chosen here, for the whole request."""
        assert data is not None
        loaded = self._model(str(data["device"]))
        data["loaded"] = loaded
        reader = FanVideoReader(size=loaded.spec.size, **self.folder.reader)
        # an instance is taken too, whatever the types of its arguments say
        return [LoadImaged("image", reader=reader, dtype=None, image_only=True)]  # type: ignore[arg-type]

    def inferer(self, data: dict[str, Any] | None = None) -> Inferer:
        """Chunks of frames, standardised as in the training."""
        assert data is not None
        spec = data["loaded"].spec
        return FrameInferer(frame_mean=spec.frame_mean, frame_std=spec.frame_std)

    def post_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable]:
        """None: what the logits mean is the task's own."""
        return []

    @abstractmethod
    def writer(self, data: dict[str, Any], extension: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
        """(file or None, JSON) of ``data["pred"]`` ``[T, ...]`` and ``data["image"]``, with the reader's metadata."""

    def _get_network(self, device: str, data: dict[str, Any] | None) -> nn.Module:
        assert data is not None
        network: nn.Module = data["loaded"].network
        return network

    def _model(self, device: str) -> _Loaded:
        path = self.get_path()
        if path is None:
            raise InputError(f"{self.name}: there is no such model yet. Train it first, or start with its weights.")
        found = os.stat(path)
        stamp = (found.st_mtime_ns, found.st_size)
        held = self._loaded.get(device)
        if held is None or held.stamp != stamp:
            network, spec = load_model(path)
            held = self._loaded[device] = _Loaded(stamp, network.to(device).eval(), spec)
            _logger.info("%s: read for %s", path, device)
        return held


class PlaneInfer(ClipInfer):
    """The standard plane of a clip and of each of its frames: JSON, and for a clip a picture of its timeline.

    The JSON is :func:`~monai_usspeech.label.plane_answer.plane_answer`, with ``fan_box`` (top, left, bottom, right in
    picture pixels) and ``problems`` (what was wrong with the file). The picture comes with clips of several frames;
    ``picture`` in the request's parameters forces it or leaves it out.
    """

    def __init__(self, folder: ServerFolder) -> None:
        super().__init__(
            folder,
            "standard_plane",
            InferType.CLASSIFICATION,
            {name: number for number, name in enumerate(PLANES)},
            "Standard plane of a clip and of each of its frames",
        )

    def post_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable]:
        """Logits to probabilities."""
        return [Activationsd("pred", softmax=True, dim=-1)]

    def writer(self, data: dict[str, Any], extension: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
        """The answer, and the picture's file or None."""
        frames, times, box, problems = clip_facts(data["image"])
        probabilities = torch.as_tensor(data["pred"]).float().cpu().numpy()
        answer = plane_answer(frames, times, probabilities, PLANES)
        answer.update(fan_box=box, problems=problems)
        wanted = data.get("picture")
        if wanted is False or (wanted is None and len(frames) == 1):
            return None, answer
        pictures = data["image"].as_tensor()[0].cpu().numpy()
        figure = plane_strip_figure(pictures, times, probabilities, PLANES)
        with tempfile.NamedTemporaryFile(suffix=".png", delete=False) as file:
            file.write(figure_bytes(figure))
        return file.name, answer


class GazeInfer(ClipInfer):
    """Where one would look: a float volume over the clip, how many times as likely as a uniform gaze over the crop.

    The file is NRRD with the axes (x, y, frame), float32, whatever type a client asks for: the values of a density
    round to nothing in bytes. The JSON says which frames it has and where on each the gaze is most likely (``x`` right
    and ``y`` down, shares of the whole picture).
    """

    def __init__(self, folder: ServerFolder) -> None:
        description = "Where the sonographer would look, as a float volume"
        super().__init__(folder, "gaze_saliency", InferType.OTHERS, {}, description)

    def post_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable]:
        """Logits to a density over the map's pixels."""
        return [Lambdad("pred", func=spatial_softmax)]

    def writer(self, data: dict[str, Any], extension: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
        """The volume's file, and the JSON."""
        frames, times, box, problems = clip_facts(data["image"])
        density = torch.as_tensor(data["pred"]).float().cpu()
        grid = clip_grid(data["image_path"], frames, fps=self.folder.settings["fps"])
        laid = on_grid(density, box, grid)
        volume, answer = self._volume(laid, density, grid)
        with tempfile.NamedTemporaryFile(suffix=".nrrd", delete=False) as file:
            name = file.name
        write_volume(volume, grid, name)
        answer.update(
            frames=[int(number) for number in frames],
            times=[round(float(time), 4) for time in times],
            peaks=gaze_peaks(laid, grid),
            fan_box=box,
            problems=problems,
        )
        return name, answer

    def _volume(self, laid: torch.Tensor, density: torch.Tensor, grid: ClipGrid) -> tuple[np.ndarray, dict[str, Any]]:
        return laid.numpy(), {"unit": "times as likely as uniform over the fan"}


class GazeLevelsInfer(GazeInfer):
    """The same as segments, for viewers that show only labels: the areas that hold 75, 50 and 25 % of the gaze.

    The file is a uint8 NRRD with the values of :data:`GAZE_LEVELS`. For a still picture the JSON has the areas'
    outlines too, in the form that MONAI Label's CVAT plugin turns into polygons.
    """

    def __init__(self, folder: ServerFolder) -> None:
        super().__init__(folder)
        self.type, self.labels = InferType.SEGMENTATION, dict(GAZE_LEVELS)
        self.description = "Where the sonographer would look, as nested segments"

    def _volume(self, laid: torch.Tensor, density: torch.Tensor, grid: ClipGrid) -> tuple[np.ndarray, dict[str, Any]]:
        thresholds = level_thresholds(density).float()
        levels = (laid[..., None] >= thresholds[:, None, None]).logical_and(laid[..., None] > 0)
        volume = levels.sum(dim=-1, dtype=torch.uint8).numpy()
        if len(laid) > 1:
            return volume, {}
        elements = [
            {"label": name, "contours": level_outlines(laid[0].numpy(), float(thresholds[0, level - 1]), grid)}
            for name, level in GAZE_LEVELS.items()
        ]
        return volume, {"annotations": [{"annotation": {"elements": elements}}]}
