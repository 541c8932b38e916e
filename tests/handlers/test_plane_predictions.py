# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_usspeech.handlers.plane_predictions import PlanePredictionHandler, plane_segments
from tests.handlers.file_engine import run_files

CLASSES = ("a", "b", "c")


def item(name: str, probabilities: list[list[float]], times: list[float] | None = None) -> dict:
    """One file as the evaluator hands it over."""
    pred = torch.tensor(probabilities)
    times = [0.1 * t for t in range(len(pred))] if times is None else times
    meta = {
        "filename_or_obj": name,
        "frame_times": torch.tensor(times, dtype=torch.float64),
        "frame_indices": 3 * torch.arange(len(pred)),
        "fan_box": torch.tensor([1, 2, 30, 40]),
        "problems": "",
    }
    return {"image": MetaTensor(torch.zeros(1, len(pred), 8, 8, dtype=torch.uint8), meta=meta), "pred": pred}


def test_every_frame_is_a_row(tmp_path):
    clip = item("clip.mp4", [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    still = item("still.png", [[0.2, 0.5, 0.3]])
    run_files(PlanePredictionHandler(tmp_path / "out", "model.pt", CLASSES), [clip, still])
    rows = list(csv.reader((tmp_path / "out/predictions.csv").open()))
    assert rows == [
        ["file", "frame", "time", "plane", "probability", "a", "b", "c"],
        ["clip.mp4", "0", "0", "a", "0.7", "0.7", "0.2", "0.1"],
        ["clip.mp4", "3", "0.1", "c", "0.8", "0.1", "0.1", "0.8"],
        ["still.png", "0", "0", "b", "0.5", "0.2", "0.5", "0.3"],
    ]
    told = json.loads((tmp_path / "out/predictions.json").read_text())
    assert told["weights"] == "model.pt" and told["classes"] == list(CLASSES)
    first, second = told["files"]
    assert first["planes"] == [
        {"plane": "a", "frames": 1, "share": 0.5},
        {"plane": "c", "frames": 1, "share": 0.5},
    ]
    assert first["fan_box"] == [1, 2, 30, 40] and first["frames"] == 2
    assert first["mean_probabilities"] == pytest.approx({"a": 0.4, "b": 0.15, "c": 0.45})
    assert [segment["plane"] for segment in second["segments"]] == ["b"]
    for name in ("clip.mp4.png", "still.png.png"):
        assert (tmp_path / "out/strips" / name).read_bytes().startswith(b"\x89PNG")


def test_files_of_one_name_have_a_picture_each(tmp_path):
    row = [[0.5, 0.3, 0.2]]
    run_files(PlanePredictionHandler(tmp_path, classes=CLASSES), [item("x/a.png", row), item("y/a.png", row)])
    assert sorted(path.name for path in (tmp_path / "strips").iterdir()) == ["a.png.1.png", "a.png.png"]


def test_files_before_a_broken_one_are_written(tmp_path):
    handler = PlanePredictionHandler(tmp_path, classes=CLASSES, strips=False)
    with pytest.raises(OSError, match="broken"):
        run_files(handler, [item("good.mp4", [[0.5, 0.3, 0.2]]), OSError("broken")])
    assert [row["file"] for row in csv.DictReader((tmp_path / "predictions.csv").open())] == ["good.mp4"]
    assert not (tmp_path / "strips").exists()


def test_probabilities_of_other_frames_are_refused(tmp_path):
    wrong = {**item("a.mp4", [[0.5, 0.3, 0.2]] * 3), "pred": torch.ones(2, 3)}
    with pytest.raises(ValueError, match=r"a.mp4: expected probabilities \[3, 3\]"):
        run_files(PlanePredictionHandler(tmp_path, classes=CLASSES), [wrong])


def test_segments_by_hand():
    times = np.array([0.0, 0.1, 0.2, 0.5, 0.6])
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.9, 0.1]])
    segments = plane_segments(times, probabilities, ("a", "b"))
    assert [(s["plane"], s["start"], s["end"], s["frames"]) for s in segments] == [
        ("a", 0.0, 0.2, 2),
        ("b", 0.2, 0.6, 2),
        ("a", 0.6, pytest.approx(0.7), 1),
    ]
    assert [s["probability"] for s in segments] == pytest.approx([0.7, 0.8, 0.9])


def test_segments_cover_the_clip_without_gap():
    rng = np.random.RandomState(0)
    times, probabilities = np.sort(rng.rand(50)), rng.dirichlet(np.ones(4), 50)
    segments = plane_segments(times, probabilities, "wxyz")
    assert segments[0]["start"] == times[0] and sum(s["frames"] for s in segments) == 50
    for before, after in zip(segments, segments[1:]):
        assert before["end"] == after["start"] and before["plane"] != after["plane"]
