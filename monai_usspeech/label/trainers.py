# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Training from corrected labels, as MONAI Label starts it and shows it."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.configuration import report_input_errors
from monai_usspeech.label.model_files import read_facts
from monai_usspeech.label.plane_training import train_planes
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.label.training_request import TRAINING_MODES, TRAINING_STARTS, TrainingRequest, training_devices

__all__ = ["PlaneTrainTask"]

_SHOWN = (
    "time",
    "mode",
    "start",
    "epochs",
    "epoch",
    "f1",
    "f1_before",
    "subjects",
    "clips",
    "frames",
    "classes",
    "note",
)


class PlaneTrainTask(TrainTask):
    """Train the plane classifier on the final labels; see :func:`~monai_usspeech.label.plane_training.train_planes`.

    Args:
        folder: of the server.
    """

    def __init__(self, folder: ServerFolder) -> None:
        super().__init__("Standard planes, from corrected labels")
        self.folder = folder

    def config(self) -> dict[str, Any]:
        """What a request may say and its defaults; of a list one is to be chosen, and the first is the default."""
        default = TrainingRequest()
        return {
            "max_epochs": default.max_epochs,
            "batch_size": default.batch_size,
            "learning_rate": default.learning_rate,
            "mode": list(TRAINING_MODES),
            "start": self._starts(),
            "device": training_devices(),
            "seed": default.seed,
        }

    def stats(self) -> dict[str, Any]:
        """What the last training was: when, on how many labels of which class, and its scores; empty before it."""
        try:
            training = read_facts(self.folder.trained("standard_plane")).get("training")
        except InputError as error:
            return {"problem": str(error)}
        return _shown(training) if isinstance(training, dict) else {}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train; plain lines on the standard output say how far it is.

        Args:
            request: see :meth:`config`; what it does not say has its default, other keys are left aside.
            datastore: whose final labels are trained on.

        Returns:
            As :meth:`stats`.

        Raises:
            InputError: when it cannot be trained, before it begins.
        """
        if "local_rank" in request:  # the process that MONAI Label starts: its last line is what a person sees
            report_input_errors()
        facts = train_planes(self.folder, datastore.datalist(), TrainingRequest.read(request))
        return _shown(facts["training"])

    def _starts(self) -> list[str]:
        weights = {"model": self.folder.weights("standard_plane"), "pretrained": self.folder.pretrained}
        there = {name: path is not None for name, path in weights.items()}
        return [name for name in TRAINING_STARTS if there[name]]


def _shown(training: dict[str, Any]) -> dict[str, Any]:
    return {name: training[name] for name in _SHOWN if name in training}
