# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What is written down about a training from labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.engines.configuration import software_versions
from monai_usspeech.label.labelled_frames import LabelledClip, LabelledFrames
from monai_usspeech.label.training_request import TrainingRequest
from monai_usspeech.label.training_start import TrainingStart

__all__ = ["training_facts"]


def training_facts(
    start: TrainingStart,
    request: TrainingRequest,
    train: LabelledFrames,
    validation: LabelledFrames | None,
    scores: Mapping[str, Any],
) -> dict[str, Any]:
    """What lies beside the new weights: ``model.json`` as a downstream run writes it, and what this training was.

    Args:
        start: what it began with.
        request: what was wanted.
        train: the frames that were trained on.
        validation: those that judged; None when there were none.
        scores: ``epoch``, and where there are judges ``f1`` and perhaps ``f1_before``.

    Returns:
        ``method``, ``subjects``, ``settings``, and under ``"training"`` counts, labels with their revisions, scores,
        and a ``note`` that says in words how far the weights can be trusted.
    """
    judges = () if validation is None else validation.subjects
    used = [*train.subjects, *judges]
    parts = [part for part in (train, validation) if part is not None]
    labels = [entry for part in parts for entry in _labels_used(part)]
    return {
        "method": "labels",
        "subjects": list(dict.fromkeys([*used, *(start.subjects or ())])),
        "settings": {
            **start.spec.settings(),
            "method": "labels",
            "initialisation": str(start.spec.weights),
            **request.values(),
            "train_subjects": list(train.subjects),
            "validation_subjects": list(judges),
        },
        "training": {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "start": start.kind,
            "mode": request.mode,
            "epochs": request.max_epochs,
            **scores,
            "subjects": len(set(used)),
            "clips": len(labels),
            "frames": {"train": len(train.classes), "validation": sum(len(part.classes) for part in parts[1:])},
            "classes": _sum_of(part.class_counts() for part in parts),
            "labels": sorted(labels, key=lambda entry: entry["id"]),
            "note": _note(start, request, len(judges), scores) + _untaught(train),
            "versions": software_versions(),
        },
    }


def _labels_used(frames: LabelledFrames) -> list[dict[str, Any]]:
    def entry(clip: LabelledClip, count: int) -> dict[str, Any]:
        return {"id": clip.id, "revision": clip.label.revision, "frames": count}

    return [
        entry(clip, count)
        for number, clip in enumerate(frames.clips)
        if (count := int((frames.clip_index == number).sum()))
    ]


def _sum_of(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _note(start: TrainingStart, request: TrainingRequest, judges: int, scores: Mapping[str, Any]) -> str:
    """How far the weights can be trusted, in words."""
    if "f1" not in scores:
        return (
            f"the weights are those of the last epoch ({request.max_epochs}) and nobody has judged them: that takes"
            " labels of five subjects, of whom the model at the start has not learned a fifth."
        )
    before = f", {scores['f1_before']:.2f} before" if "f1_before" in scores else ""
    unknown = "; nothing says whom the weights at the start have seen" if _unknown(start) else ""
    return f"validation F1 {scores['f1']:.2f}{before}, on {judges} subjects, at epoch {scores['epoch']}{unknown}."


def _untaught(train: LabelledFrames) -> str:
    missing = [name for name in PLANES if name not in train.class_counts()]
    return f" Trained on no frame of {', '.join(missing)}: it will hardly name them." if missing else ""


def _unknown(start: TrainingStart) -> bool:
    return start.kind == "model" and start.subjects is None
