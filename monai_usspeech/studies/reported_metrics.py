# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which numbers of a task are shown, and how: name, unit, decimals, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_usspeech.metrics.retrieval import RECALLS

__all__ = ["CLASSIFICATION_KINDS", "REPORTED", "ReportedMetric"]


@dataclass(frozen=True)
class ReportedMetric:
    """How a number is shown.

    Attributes:
        key: its name in ``results.json``.
        label: its name in a table.
        better: ``"up"`` when larger is better, ``"down"`` when smaller is.
        percent: shown times 100.
        digits: decimals shown.
    """

    key: str
    label: str
    better: str = "up"
    percent: bool = False
    digits: int = 3

    @property
    def heading(self) -> str:
        """Label, unit and arrow."""
        return f"{self.label}{' %' if self.percent else ''} {'↑' if self.better == 'up' else '↓'}"

    def show(self, value: float, sign: bool = False) -> str:
        """A value as text, with a sign when asked for; a dash when it is undefined."""
        if not np.isfinite(value):
            return "–"
        digits = 1 if self.percent else self.digits
        text = f"{100 * value if self.percent else value:{'+' if sign else ''}.{digits}f}"
        return text.replace("-", "−")


def _recalls(way: str, label: str) -> list[ReportedMetric]:
    recalls = [ReportedMetric(f"{way}_r{k}", f"{label} R@{k}", percent=True) for k in RECALLS]
    return [*recalls, ReportedMetric(f"{way}_median_rank", f"{label} median rank", "down", digits=1)]


REPORTED: dict[str, tuple[ReportedMetric, ...]] = {
    "standard_plane": (
        ReportedMetric("precision", "Precision", percent=True),
        ReportedMetric("recall", "Recall", percent=True),
        ReportedMetric("f1", "F1", percent=True),
        ReportedMetric("accuracy", "Accuracy", percent=True),
    ),
    "image_set": (
        ReportedMetric("accuracy", "Accuracy", percent=True),
        ReportedMetric("precision", "Precision", percent=True),
        ReportedMetric("recall", "Recall", percent=True),
        ReportedMetric("f1", "F1", percent=True),
    ),
    "gaze_saliency": (
        ReportedMetric("kl", "KL", "down"),
        ReportedMetric("nss", "NSS"),
        ReportedMetric("auc_judd", "AUC (Judd)"),
        ReportedMetric("cc", "CC"),
        ReportedMetric("sim", "SIM"),
        ReportedMetric("auc_exact", "AUC (exact)"),
        ReportedMetric("shuffled_auc", "AUC (shuffled)"),
    ),
    "retrieval": (*_recalls("video_to_speech", "V→S"), *_recalls("speech_to_video", "S→V")),
}
"""The metrics of each kind of task, in the order of the tables."""

CLASSIFICATION_KINDS = ("standard_plane", "image_set")
"""The kinds of task whose runs leave a class for every frame or image in ``predictions.csv``."""
