# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the planes of a clip look like to a client: plain JSON for programs, a draft label, a picture for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_usspeech.data.plane_names import StandardPlane
from monai_usspeech.handlers.plane_predictions import plane_segments

__all__ = ["draft_label", "plane_answer"]

_DIGITS = 4
_DRAFT_FRAMES = 1000


def plane_answer(
    frames: np.ndarray, times: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """The planes of a clip and of each of its frames.

    Args:
        frames: int ``[T]``, numbers of the frames in the file, growing.
        times: ``[T]`` seconds.
        probabilities: ``[T, C]``, rows that sum to 1.
        classes: the C names.

    Returns:
        ``prediction``: for each class ``{"idx", "label", "score"}``, the score being the mean over frames (the form of
        MONAI Label's classifiers); ``best_frame``: the frame that shows a plane, other than background, most surely;
        ``best_frames``: the same for every plane that is the most probable one of some frame; ``segments``: runs of
        frames with one plane (:func:`~monai_usspeech.handlers.plane_predictions.plane_segments`); ``timeline``: of
        every frame ``frame``, ``time``, ``label``, ``score`` and ``probabilities`` (``[T][C]``). Numbers are rounded to
        four digits.

    Raises:
        ValueError: when the shapes do not fit together, or there is no frame.
    """
    if len(frames) == 0 or len(times) != len(frames) or probabilities.shape != (len(frames), len(classes)):
        raise ValueError(
            f"expected T frames and times and probabilities [T, {len(classes)}], got the shapes {np.shape(frames)}, "
            f"{np.shape(times)} and {np.shape(probabilities)}."
        )
    best = probabilities.argmax(axis=1)
    shown = {}
    for plane in np.unique(best):
        members = np.flatnonzero(best == plane)
        at = int(members[probabilities[members, plane].argmax()])
        shown[classes[plane]] = _seen(frames, times, at, classes[plane], probabilities[at, plane])
    planes = [one for name, one in shown.items() if name != StandardPlane.BACKGROUND.value]
    return {
        "prediction": [
            {"idx": index, "label": name, "score": _rounded(score)}
            for index, (name, score) in enumerate(zip(classes, probabilities.mean(axis=0)))
        ],
        "best_frame": max(planes or shown.values(), key=lambda one: one["score"]),
        "best_frames": shown,
        "segments": [
            {key: _rounded(value) if isinstance(value, float) else value for key, value in segment.items()}
            for segment in plane_segments(times, probabilities, classes)
        ],
        "timeline": {
            "frame": [int(number) for number in frames],
            "time": [_rounded(time) for time in times],
            "label": [classes[plane] for plane in best],
            "score": [_rounded(row[plane]) for row, plane in zip(probabilities, best)],
            "probabilities": np.round(probabilities.astype(float), _DIGITS).tolist(),
        },
    }


def draft_label(answer: dict[str, Any]) -> dict[str, Any]:
    """A label to correct, made of an answer: the clip's plane, and that of up to a thousand frames, evenly spread."""
    timeline = answer["timeline"]
    count = len(timeline["frame"])
    chosen = np.unique(np.linspace(0, count - 1, min(count, _DRAFT_FRAMES)).astype(int))
    return {
        "schema": 1,
        "clip": {"class": max(answer["prediction"], key=lambda one: one["score"])["label"]},
        "frames": [{"frame": timeline["frame"][at], "class": timeline["label"][at]} for at in chosen],
    }


def _seen(frames: np.ndarray, times: np.ndarray, at: int, label: str, score: float) -> dict[str, Any]:
    return {"frame": int(frames[at]), "time": _rounded(times[at]), "label": label, "score": _rounded(score)}


def _rounded(value: Any) -> float:
    return round(float(value), _DIGITS)
