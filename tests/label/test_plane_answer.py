# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import numpy as np
import pytest

from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.label.plane_answer import draft_label, plane_answer

BACKGROUND = PLANES.index("background")


def rows(*planes: str, score: float = 0.9) -> np.ndarray:
    probabilities = np.full((len(planes), len(PLANES)), (1 - score) / (len(PLANES) - 1))
    for row, plane in zip(probabilities, planes):
        row[PLANES.index(plane)] = score
    return probabilities


def answer_of(probabilities: np.ndarray, every: int = 3) -> dict:
    frames = np.arange(len(probabilities)) * every
    return plane_answer(frames, frames / 30, probabilities, PLANES)


def test_scores_are_the_mean_over_frames():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(PLANES)), 5)
    answer = answer_of(probabilities)
    assert [one["label"] for one in answer["prediction"]] == list(PLANES)
    for number, one in enumerate(answer["prediction"]):
        assert one["idx"] == number
        assert one["score"] == pytest.approx(sum(row[number] for row in probabilities) / 5, abs=1e-4)


def test_the_best_frame_shows_a_plane_and_not_background():
    probabilities = rows("background", "femur", "femur", "lips")
    probabilities[2, PLANES.index("femur")] = 0.95
    probabilities[0, BACKGROUND] = 0.99
    answer = answer_of(probabilities)
    assert answer["best_frame"] == {"frame": 6, "time": 0.2, "label": "femur", "score": 0.95}
    assert answer["best_frames"]["background"]["frame"] == 0
    assert set(answer["best_frames"]) == {"background", "femur", "lips"}


def test_only_background_is_said_to_be_background():
    assert answer_of(rows("background", "background"))["best_frame"]["label"] == "background"


def test_the_timeline_holds_every_frame_and_is_json():
    answer = json.loads(json.dumps(answer_of(rows("femur", "femur", "lips"))))
    assert answer["timeline"]["frame"] == [0, 3, 6]
    assert answer["timeline"]["label"] == ["femur", "femur", "lips"]
    assert np.shape(answer["timeline"]["probabilities"]) == (3, len(PLANES))
    assert [segment["plane"] for segment in answer["segments"]] == ["femur", "lips"]


def test_a_draft_has_the_plane_of_each_frame():
    draft = draft_label(answer_of(rows("femur", "lips", "lips")))
    assert draft["clip"] == {"class": "lips"}
    assert draft["frames"] == [
        {"frame": 0, "class": "femur"},
        {"frame": 3, "class": "lips"},
        {"frame": 6, "class": "lips"},
    ]


def test_a_draft_of_a_long_clip_has_frames_from_all_of_it():
    draft = draft_label(answer_of(np.repeat(rows("femur"), 5000, axis=0), every=1))
    numbers = [one["frame"] for one in draft["frames"]]
    assert len(numbers) == 1000 and numbers[0] == 0 and numbers[-1] == 4999
    assert max(np.diff(numbers)) <= 6


@pytest.mark.parametrize("frames, times, shape", [(0, 0, (0, 14)), (3, 2, (3, 14)), (3, 3, (2, 14)), (3, 3, (3, 13))])
def test_shapes_that_do_not_fit_are_refused(frames, times, shape):
    with pytest.raises(ValueError, match="expected T frames"):
        plane_answer(np.arange(frames), np.arange(times), np.zeros(shape), PLANES)
