# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a plane classifier found on the test subjects: every frame, the scores, the confusion matrix."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine, Events

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.data.plane_frames import PlaneDataset
from monai_usspeech.data.splits import SubjectSplit
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.confusion_picture import confusion_figure
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.results import frame_counts, write_results, write_table
from monai_usspeech.metrics.classification import confusion_matrix_of, scores_from_confusion

__all__ = ["PlaneResultsHandler"]


class PlaneResultsHandler:
    """Write ``results.json``, ``predictions.csv`` and ``confusion.png`` when an evaluator is through.

    Precision, recall and F1 are macro means over the classes that occur (Jiao et al. 2020; METHODS: F1 is the mean of
    the classes' F1), background being one of the 14. They also go to ``engine.state.metrics``.

    Args:
        output_dir: the run's folder.
        dataset: the test frames; gives each its subject, scan and time.
        split: who was trained, validated and tested on, for the record.
        settings: numbers and words that decide what the run computes, for the record.
        classes: names of the classes in order.
    """

    def __init__(
        self,
        output_dir: str,
        dataset: PlaneDataset,
        split: SubjectSplit | None = None,
        settings: Mapping[str, Any] | None = None,
        classes: Sequence[str] = PLANES,
    ) -> None:
        self.folder, self.dataset = Path(output_dir), dataset
        self.split, self.settings, self.classes = split, settings, tuple(classes)
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
        batch = cast(dict[str, torch.Tensor], engine.state.batch)
        confidence, predicted = iteration_output(engine)["pred"].float().softmax(dim=1).max(dim=1)
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
        per_class = {name: getattr(scores, f"per_class_{name}") for name in ("precision", "recall", "f1")}
        path = write_results(
            self.folder,
            "standard_plane",
            metrics,
            frame_counts(frames),
            self.split,
            self.settings,
            {"classes": self.classes, "confusion": confusion, "support": scores.support, "per_class": per_class},
        )
        self.logger.info(
            "%d frames of test subjects: precision %.3f, recall %.3f, F1 %.3f (macro over %d classes). See %s.",
            *(len(rows), metrics["precision"], metrics["recall"], metrics["f1"], int(scores.present.sum()), path),
        )
