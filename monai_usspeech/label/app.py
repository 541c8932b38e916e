# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The MONAI Label app: which models, trainers, strategies and scores it has, and what it lets a request ask of them."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from monai_usspeech import __version__
from monai_usspeech.data.files import write_json
from monai_usspeech.label.datastore import UltrasoundDatastore
from monai_usspeech.label.infers import GazeInfer, GazeLevelsInfer, PlaneInfer
from monai_usspeech.label.plane_answer import draft_label
from monai_usspeech.label.scoring import ClipScoring
from monai_usspeech.label.selection import STRATEGIES
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.label.strategies import NextClip
from monai_usspeech.label.trainers import PlaneTrainTask
from monai_usspeech.label.uploads import check_upload

__all__ = ["UltrasoundLabelApp"]

_logger = logging.getLogger(__name__)
_PLANES, _SCORES = "standard_plane", "clips"
_INFER_PARAMETERS = ("model", "device", "picture", "logging")


class UltrasoundLabelApp(MONAILabelApp):
    """Planes and gaze in ultrasound clips, with training from corrected labels and a choice of the next clip.

    Args:
        app_dir: the server's folder, as ``start`` made it.
        studies: the folder of the clips.
        conf: not used; the settings are in the server's folder.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.folder = ServerFolder.read(app_dir)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="monai_usspeech",
            description="Standard planes and gaze in ultrasound clips",
            version=__version__,
        )

    def init_datastore(self) -> Datastore:
        """Clips and labels of the studies folder."""
        return UltrasoundDatastore(self.studies, self.folder)

    def init_infers(self) -> dict[str, InferTask]:
        """Planes; gaze as values and as levels, of one network."""
        return {
            _PLANES: PlaneInfer(self.folder),
            "gaze_saliency": GazeInfer(self.folder),
            "gaze_levels": GazeLevelsInfer(self.folder),
        }

    def init_trainers(self) -> dict[str, TrainTask]:
        """The plane classifier learns from corrected labels."""
        return {_PLANES: PlaneTrainTask(self.folder)}

    def init_strategies(self) -> dict[str, Strategy]:
        """All ways to choose the next clip."""
        return {name: NextClip(name, self.folder) for name in STRATEGIES}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """What the strategies go by."""
        return {_SCORES: ClipScoring(self.folder)}

    def on_init_complete(self) -> None:
        """Score the clips that are new since the last time, beside the server."""
        super().on_init_complete()
        self.async_scoring(_SCORES)

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Predict for a clip of the studies folder, or for one that came with the request or its session.

        Of the request only the model, the device and what to draw are passed on. With ``save_label`` (batch inference
        asks for it) the planes of a clip are kept as its draft label, tag ``original``.

        Raises:
            MONAILabelException: for a file anywhere else.
        """
        image = request.get("image")
        store = datastore or self.datastore()
        known = isinstance(image, str) and image in store.list_images()
        if not known and not self._is_upload(image):
            raise MONAILabelException(
                MONAILabelError.INVALID_INPUT, "image: there is no such clip. GET /datastore/?output=all lists them."
            )
        if not known:
            check_upload(str(image), "the file", self.folder.settings["fps"])
        passed = {key: request[key] for key in _INFER_PARAMETERS if key in request}
        draft = known and request.get("model") == _PLANES and str(request.get("save_label", "")).lower() == "true"
        if draft:
            passed["picture"] = False
        answer: dict[str, Any] = super().infer({**passed, "image": image}, store)
        if draft:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "draft.json"
                write_json(file, draft_label(answer["params"]))
                store.save_label(str(image), str(file), "original", {"model": _PLANES})
        return answer

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Predict for many clips; MONAI Label's default of several GPUs stops where there is none."""
        gpus = torch.cuda.is_available()
        asked = {**request, "multi_gpu": bool(request.get("multi_gpu", gpus)) and gpus}
        answer: dict[str, Any] = super().batch_infer(asked, datastore)
        return answer

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train, and score the clips by the new model in the same process."""
        result: dict[str, Any] = super().train(request)
        self.scoring({"method": _SCORES})
        return result

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The next clip, by the strategy of the request or else that of the server."""
        chosen = request.get("strategy") or self.folder.settings["strategy"]
        answer: dict[str, Any] = super().next_sample({**request, "strategy": chosen})
        return answer

    def _is_upload(self, image: Any) -> bool:
        """Whether a path lies where uploads and sessions do; their names are drawn by the server."""
        if not isinstance(image, (str, os.PathLike)) or not str(image):
            return False
        place = Path(image).resolve()
        allowed = (self.folder.uploads.resolve(), self.folder.sessions.resolve())
        return place.is_file() and any(root in place.parents for root in allowed)


