# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a saliency network found on the test subjects: every frame's scores, and examples to look at."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine, Events

from monai_usspeech.data.files import atomic_file
from monai_usspeech.data.gaze_frames import GazeDataset
from monai_usspeech.data.splits import SubjectSplit
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.results import frame_counts, write_results, write_table
from monai_usspeech.handlers.saliency_picture import saliency_figure
from monai_usspeech.metrics import (
    compute_nss,
    compute_saliency_auc,
    compute_saliency_cc,
    compute_saliency_kl,
    compute_saliency_sim,
    compute_shuffled_auc,
)
from monai_usspeech.networks.downstream import spatial_softmax

__all__ = ["SALIENCY_SCORES", "SaliencyResultsHandler", "frame_scores"]

SALIENCY_SCORES = ("kl", "nss", "auc_judd", "auc_exact", "shuffled_auc", "cc", "sim", "sim_plain")
"""The names of :func:`frame_scores`, in the order of ``frames.csv``."""


def frame_scores(
    pred: torch.Tensor, target: torch.Tensor, fixations: torch.Tensor, others: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Every saliency metric of each frame.

    Args:
        pred: predicted maps ``[B, H, W]``, not negative.
        target: blurred gaze ``[B, H, W]``.
        fixations: fixated pixels ``[B, H, W]``.
        others: fixations of other scans ``[B, H, W]``, the negatives of the shuffled AUC.

    Returns:
        float64 ``[B]`` by name; NaN where a score is not defined.
    """
    return {
        "kl": compute_saliency_kl(pred, target),
        "nss": compute_nss(pred, fixations),
        "auc_judd": compute_saliency_auc(pred, fixations, "judd"),
        "auc_exact": compute_saliency_auc(pred, fixations, "exact"),
        "shuffled_auc": compute_shuffled_auc(pred, fixations, others),
        "cc": compute_saliency_cc(pred, target),
        "sim": compute_saliency_sim(pred, target, "mit"),
        "sim_plain": compute_saliency_sim(pred, target, "plain"),
    }


class SaliencyResultsHandler:
    """Write ``results.json``, ``frames.csv``, ``examples.npz`` and ``overlays.png`` when an evaluator is through.

    The scores are means over frames; a frame on which a score is not defined is left out of that mean, and counted.
    They also go to ``engine.state.metrics``. The negatives of the shuffled AUC are all gaze of the other test scans
    (with one test scan there are none, and the score is not defined).

    Args:
        output_dir: the run's folder.
        dataset: the test frames; gives each its subject, scan, time and gaze.
        split: who was trained, validated and tested on, for the record.
        settings: numbers and words that decide what the run computes, for the record.
        n_examples: frames drawn, taken at even distances: the same for every method on the same test set.
    """

    def __init__(
        self,
        output_dir: str,
        dataset: GazeDataset,
        split: SubjectSplit | None = None,
        settings: Mapping[str, Any] | None = None,
        n_examples: int = 6,
    ) -> None:
        self.folder, self.dataset = Path(output_dir), dataset
        self.split, self.settings = split, settings
        self.examples = sorted(set(np.linspace(0, len(dataset) - 1, n_examples + 2).round().astype(int)[1:-1].tolist()))
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI evaluator whose batches come from ``dataset``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._items: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []
        self._kept: dict[int, dict[str, np.ndarray]] = {}
        own = torch.from_numpy(self.dataset.fixation_counts()).double()
        self._others = own.sum(0) - own

    def _collect(self, engine: Engine) -> None:
        batch = cast(dict[str, torch.Tensor], engine.state.batch)
        pred = spatial_softmax(iteration_output(engine)["pred"].float()).double().cpu()
        target, fixations = batch["saliency"].double(), batch["fixations"]
        scores = frame_scores(pred, target, fixations, self._others[batch["scan_index"]])
        counts = fixations.flatten(1).sum(1).double()
        self._items.append(batch["item"].numpy())
        self._scores.append(torch.stack([counts, *(scores[name] for name in SALIENCY_SCORES)], dim=1).numpy())
        for place, item in enumerate(batch["item"].tolist()):
            if item in self.examples:
                self._kept[item] = {
                    "images": batch["image"][place, 0].numpy(),
                    "fixations": fixations[place].numpy(),
                    "target": target[place].float().numpy(),
                    "prediction": pred[place].float().numpy(),
                }

    def _finish(self, engine: Engine) -> None:
        items, table = np.concatenate(self._items), np.concatenate(self._scores)
        known = np.isfinite(table[:, 1:])
        defined, sums = known.sum(0), np.where(known, table[:, 1:], 0.0).sum(0)
        means = np.divide(sums, defined, out=np.full(len(sums), np.nan), where=defined > 0)
        metrics = dict(zip(SALIENCY_SCORES, means.tolist()))
        engine.state.metrics.update(metrics)
        frames = [self.dataset.describe(int(item)) for item in items]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_table(
            self.folder / "frames.csv",
            ("subject", "scan", "time", "fixations", *SALIENCY_SCORES),
            ((*frame, int(row[0]), *row[1:]) for frame, row in zip(frames, table)),
        )
        self._write_examples()
        path = write_results(
            self.folder,
            "gaze_saliency",
            metrics,
            frame_counts(frames),
            self.split,
            self.settings,
            {"defined": dict(zip(SALIENCY_SCORES, defined)), "data": self.dataset.summary()},
        )
        self.logger.info(
            "%d frames of test subjects: KL %.3f, NSS %.3f, AUC %.3f, CC %.3f, SIM %.3f. See %s.",
            *(len(items), *(metrics[name] for name in ("kl", "nss", "auc_judd", "cc", "sim")), path),
        )

    def _write_examples(self) -> None:
        """The kept examples for other programs, and as a picture."""
        chosen = sorted(self._kept)
        names = [self.dataset.item_name(item) for item in chosen]
        arrays: dict[str, Any] = {
            key: np.stack([self._kept[item][key] for item in chosen]) for key in self._kept[chosen[0]]
        }
        with atomic_file(self.folder / "examples.npz") as file:
            np.savez_compressed(file, names=np.array(names), **arrays)
        figure = saliency_figure(
            arrays["images"], arrays["fixations"], arrays["target"], [("prediction", arrays["prediction"])], names
        )
        save_figure(figure, self.folder / "overlays.png")
