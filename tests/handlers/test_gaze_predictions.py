# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import itk
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_usspeech.handlers.gaze_predictions import GazePredictionHandler
from tests.data.media_factory import HEIGHT, WIDTH, make_video
from tests.handlers.file_engine import run_files

BOX = [0, 0, HEIGHT, WIDTH]


def item(path, frames: list[int], peak: tuple[int, int] = (1, 6)) -> dict:
    """One file as the evaluator hands it over; all the gaze is in one of 8 x 8 places."""
    density = torch.zeros(len(frames), 8, 8)
    density[:, peak[0], peak[1]] = 1
    meta = {
        "filename_or_obj": str(path),
        "frame_times": torch.tensor(frames, dtype=torch.float64) / 30,
        "frame_indices": torch.tensor(frames),
        "fan_box": torch.tensor(BOX),
        "problems": "",
    }
    image = torch.randint(0, 255, (1, len(frames), 16, 16), dtype=torch.uint8)
    return {"image": MetaTensor(image, meta=meta), "pred": density}


def test_a_clip_gets_a_volume_a_picture_and_its_peaks(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", 9)
    run_files(GazePredictionHandler(tmp_path / "out", "model.pt"), [item(clip, [0, 3, 6])])
    told = json.loads((tmp_path / "out/predictions.json").read_text())
    (facts,) = told["files"]
    assert told["weights"] == "model.pt" and facts["frames"] == [0, 3, 6]
    assert facts["peaks"] == [[pytest.approx(6.5 / 8, abs=0.02), pytest.approx(1.5 / 8, abs=0.02)]] * 3
    read = itk.imread(tmp_path / "out" / facts["volume"])
    values = itk.array_from_image(read)
    assert values.shape == (3, HEIGHT, WIDTH) and list(read.GetSpacing()) == [1, 1, 3]
    assert values.mean() == pytest.approx(1, abs=0.05)  # as likely as uniform, on average over the crop
    assert Image.open(tmp_path / "out/strips/clip.mp4.png").width > 200


def test_without_strips_none_are_drawn_and_equal_names_do_not_collide(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    clips = [make_video(tmp_path / folder / "x.mp4", 2) for folder in ("a", "b")]
    run_files(GazePredictionHandler(tmp_path / "out", strips=False), [item(clip, [0, 1]) for clip in clips])
    assert sorted(file.name for file in (tmp_path / "out/volumes").iterdir()) == ["x.mp4.1.nrrd", "x.mp4.nrrd"]
    assert not (tmp_path / "out/strips").exists()


def test_what_was_done_before_an_error_is_kept(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", 2)
    with pytest.raises(RuntimeError, match="broken"):
        run_files(GazePredictionHandler(tmp_path / "out", strips=False), [item(clip, [0, 1]), RuntimeError("broken")])
    assert len(json.loads((tmp_path / "out/predictions.json").read_text())["files"]) == 1


def test_maps_that_are_not_one_for_each_frame_are_refused(tmp_path):
    wrong = item(make_video(tmp_path / "clip.mp4", 2), [0, 1])
    wrong["pred"] = wrong["pred"][:1]
    with pytest.raises(ValueError, match="a map .* for each of 2 frames"):
        run_files(GazePredictionHandler(tmp_path / "out"), [wrong])
    assert not np.any([file.suffix == ".nrrd" for file in tmp_path.rglob("*")])
