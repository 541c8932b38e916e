# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The MONAI Label app: which models, trainers, strategies and scores it has, and what it lets a request ask of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
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
from monailabel.utils.others.generic import name_to_device

from monai_usspeech import __version__
from monai_usspeech.data.files import InputError, write_json
from monai_usspeech.label.datastore import UltrasoundDatastore
from monai_usspeech.label.infers import GazeInfer, GazeLevelsInfer, PlaneInfer
from monai_usspeech.label.plane_answer import draft_label
from monai_usspeech.label.scoring import ClipScoring
from monai_usspeech.label.selection import STRATEGIES
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.label.strategies import NextClip
from monai_usspeech.label.trainers import PlaneTrainTask
from monai_usspeech.label.training_request import training_devices
from monai_usspeech.label.uploads import check_upload

__all__ = ["UltrasoundLabelApp"]

_PLANES, _SCORES = "standard_plane", "clips"
_INFER_PARAMETERS = ("model", "device", "picture", "logging")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


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
        """All ways to choose the next clip; that of the server is the first, which clients offer first."""
        names = sorted(STRATEGIES, key=lambda name: name != self.folder.settings["strategy"])
        return {name: NextClip(name, self.folder) for name in names}

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
            InputError: for parameters that cannot be used.
        """
        _check_parameters(request)
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
        """Predict for many clips; one that cannot be read is reported, and the others go on.

        MONAI Label's default of several GPUs stops where there is none. It keeps and prints all answers, which are
        long; here they are short.
        """
        gpus = torch.cuda.is_available()
        asked = {**request, "multi_gpu": bool(request.get("multi_gpu", gpus)) and gpus}
        answer: dict[str, Any] = self._batch_infer(asked, datastore or self.datastore(), self._infer_one)
        return answer

    def _infer_one(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        try:
            return {"file": self.infer(request, datastore)["file"], "done": True}
        except (InputError, MONAILabelException, OSError) as error:
            problem = str(getattr(error, "msg", error))
            print(f"left out {request['image']}: {problem}", flush=True)
            return {"done": False, "problem": problem}

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
        if not isinstance(image, (str, os.PathLike)) or not str(image) or "\0" in str(image):
            return False
        place = Path(image).resolve()
        allowed = (self.folder.uploads.resolve(), self.folder.sessions.resolve())
        return place.is_file() and any(root in place.parents for root in allowed)


def _check_parameters(request: Mapping[str, Any]) -> None:
    """Refuse what MONAI Label would stumble over; ``device`` may be a list, of which it takes the first."""
    if not isinstance(request.get("model"), str):
        raise InputError("model: give the name of a model.")
    if str(request.get("logging", "INFO")).upper() not in _LEVELS:
        raise InputError(f"logging: give one of {', '.join(_LEVELS)}.")
    device = request.get("device") or None
    device = device[0] if isinstance(device, list) else device
    known = ("cuda", *training_devices())
    if device is not None and not (isinstance(device, str) and name_to_device(device) in known):
        raise InputError(f"device: is none of this machine's; give one of {', '.join(training_devices())}.")
