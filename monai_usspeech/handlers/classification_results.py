# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a classifier found on the test subjects: every frame or image, the scores, the confusion matrix."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from ignite.engine import Engine, Events

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.data.splits import SubjectSplit
from monai_usspeech.engines.selection import OPTIMISTIC
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.confusion_picture import confusion_figure
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.results import frame_counts, write_results, write_table
from monai_usspeech.metrics.classification import ClassificationScores, confusion_matrix_of, scores_from_confusion

__all__ = ["ClassificationResultsHandler"]

_PER_CLASS = ("precision", "recall", "f1", "accuracy")


class DescribedItems(Protocol):
    """A dataset that says of each item whose it is."""

    def describe(self, item: int) -> tuple[str, str, float]:
        """Subject or group, scan or file, and time in seconds."""


class ClassificationResultsHandler:
    """Write ``results.json``, ``predictions.csv`` and ``confusion.png`` when an evaluator is through.

    Precision, recall and F1 are macro means over the classes that occur (Jiao et al. 2020; METHODS: F1 is the mean of
    the classes' F1); of standard planes, background is one of the 14. They also go to ``engine.state.metrics``. The
    details have the same and the accuracy of each class against the rest, the confusion matrix (rows: true class) and
    the number of items of each class. What other programs print as the accuracy of a class may be its precision or its
    recall; here each has its own name.

    Args:
        output_dir: the run's folder.
        dataset: the test items (:class:`~monai_usspeech.data.PlaneDataset`,
            :class:`~monai_usspeech.data.ImageSetDataset`); gives each its subject or group, scan or file, and time.
        split: who was trained, validated and tested on, for the record.
        settings: numbers and words that decide what the run computes, for the record.
        classes: names of the classes in order.
        task: ``"standard_plane"`` or ``"image_set"``, for the record.
        details: plain values that are recorded beside those of the task, such as ``{"protocol": "clean"}``. With a
            ``"selection"`` of ``"best_test_epoch"`` the record and the log say that the numbers are optimistic.

    Raises:
        ValueError: during the evaluation, when the network has another number of classes than there are names.
    """

    def __init__(
        self,
        output_dir: str,
        dataset: DescribedItems,
        split: SubjectSplit | None = None,
        settings: Mapping[str, Any] | None = None,
        classes: Sequence[str] = PLANES,
        task: str = "standard_plane",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.dataset = Path(output_dir), dataset
        self.split, self.settings, self.classes = split, settings, tuple(classes)
        self.task, self.details = task, dict(details or {})
        if self.details.get("selection") == "best_test_epoch":
            self.details["warning"] = OPTIMISTIC
        self.logger = logging.getLogger(__name__)
        self._rows: list[np.ndarray] = []

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI evaluator whose batches come from ``dataset``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._rows = []

    def _collect(self, engine: Engine) -> None:
        batch, logits = cast(dict[str, torch.Tensor], engine.state.batch), iteration_output(engine)["pred"]
        if logits.shape[1] != len(self.classes):
            raise ValueError(f"the network answers for {logits.shape[1]} classes, and {len(self.classes)} have names.")
        confidence, predicted = logits.float().softmax(dim=1).max(dim=1)
        columns = (batch["item"], batch["label"], predicted, confidence)
        self._rows.append(np.stack([column.detach().cpu().double().numpy() for column in columns], axis=1))

    def _finish(self, engine: Engine) -> None:
        rows = np.concatenate(self._rows)
        item, label, predicted = (rows[:, column].astype(np.int64) for column in range(3))
        confusion = confusion_matrix_of(predicted, label, len(self.classes))
        scores = scores_from_confusion(confusion)
        metrics = {name: float(getattr(scores, name)) for name in ("precision", "recall", "f1", "accuracy")}
        engine.state.metrics.update(metrics)
        frames = [self.dataset.describe(int(number)) for number in item]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_table(
            self.folder / "predictions.csv",
            ("subject", "scan", "time", "label", "predicted", "confidence"),
            (
                (*frame, self.classes[true], self.classes[guess], float(sure))
                for frame, true, guess, sure in zip(frames, label, predicted, rows[:, 3])
            ),
        )
        save_figure(confusion_figure([("", confusion)], self.classes), self.folder / "confusion.png")
        path = self._record(metrics, frame_counts(frames), confusion, scores)
        self.logger.info(
            "%d %s of test subjects: accuracy %.3f; precision %.3f, recall %.3f, F1 %.3f (macro over %d classes)."
            " See %s.",
            *(len(rows), "images" if self.task == "image_set" else "frames"),
            *(metrics[name] for name in ("accuracy", "precision", "recall", "f1")),
            *(int(scores.present.sum()), path),
        )
        if "warning" in self.details:
            self.logger.warning(self.details["warning"])

    def _record(
        self, metrics: dict[str, float], counts: dict[str, int], confusion: np.ndarray, scores: ClassificationScores
    ) -> Path:
        found = {
            "classes": self.classes,
            "confusion": confusion,
            "support": scores.support,
            "per_class": {name: getattr(scores, f"per_class_{name}") for name in _PER_CLASS},
        }
        return write_results(
            self.folder, self.task, metrics, counts, self.split, self.settings, {**self.details, **found}
        )
