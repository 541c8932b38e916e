# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import itk
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.weights import write_weights
from monai_usspeech.label.bundle_export import export_bundle
from monai_usspeech.label.model_files import load_model
from monai_usspeech.networks import FrameClassifier, SaliencyNet
from tests.conftest import REPOSITORY
from tests.data.media_factory import make_video

BUNDLE = REPOSITORY / "bundle"


def weights(folder: Path, task: str, mode: str = "finetune") -> Path:
    torch.manual_seed(0)
    settings = {"backbone": "se_resnext_small", "output_stride": 16, "size": 48, "frame_mean": 0.4, "frame_std": 0.2}
    settings.update(mode=mode, standardise="fixed")
    if task == "gaze_saliency":
        settings["map_size"] = [16, 24]
        network = SaliencyNet("se_resnext_small", map_size=(16, 24), freeze=mode == "probe")
    else:
        network = FrameClassifier("se_resnext_small", freeze=mode == "probe")
    write_weights(
        folder / "model.pt",
        network.state_dict(),
        {"subjects": ["p-secret"], "settings": {**settings, "train_subjects": ["p-secret"]}},
    )
    return folder / "model.pt"


@pytest.mark.parametrize("mode", ["finetune", "probe"])
@pytest.mark.parametrize("task, name", [("standard_plane", "us_classification"), ("gaze_saliency", "us_gaze")])
def test_a_bundle_holds_the_same_network(tmp_path, task, name, mode):
    source = weights(tmp_path, task, mode)
    made = export_bundle(source, tmp_path / name, BUNDLE)
    (first, spec), (second, again) = load_model(source), load_model(made)
    image = torch.rand(2, 1, 48, 48)
    torch.testing.assert_close(first(image), second(image))
    assert (again.task, again.size, again.frame_mean, again.map_size) == (task, 48, 0.4, spec.map_size)
    assert not any("p-secret" in file.read_text() for file in made.rglob("*.json"))  # nobody of the training is named
    metadata = json.loads((made / "configs/metadata.json").read_text())
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == (14 if task == "standard_plane" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("task, name", [("standard_plane", "us_classification"), ("gaze_saliency", "us_gaze")])
def test_a_bundle_runs_by_itself(tmp_path, task, name):
    made = export_bundle(weights(tmp_path, task), tmp_path / name, BUNDLE)
    make_video(tmp_path / "clip.mp4", 6)
    workflow = ConfigWorkflow(
        str(made / "configs/inference.json"), workflow_type="inference", run_id="evaluating", logging_file=False,
        device="cpu", dataset_dir=str(tmp_path / "clip.mp4"), output_dir=str(tmp_path / "out"), fan_crop=False,
        frame_rate=15.0, bundle_root=str(made),
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    assert json.loads((tmp_path / "out/predictions.json").read_text())["files"]
    if task == "gaze_saliency":
        values = itk.array_from_image(itk.imread(tmp_path / "out/volumes/clip.mp4.nrrd"))
        assert values.shape == (3, 64, 96) and np.isfinite(values).all() and values.max() > 0


def test_what_cannot_be_exported_is_refused(tmp_path):
    source = weights(tmp_path, "standard_plane")
    with pytest.raises(InputError, match='must hold "classification"'):
        export_bundle(source, tmp_path / "planes", BUNDLE)
    with pytest.raises(InputError, match="gaze.json"):
        export_bundle(source, tmp_path / "us_classification", tmp_path)
    (tmp_path / "us_classification").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export_bundle(source, tmp_path / "us_classification", BUNDLE)
    assert list((tmp_path / "us_classification").iterdir()) == []
