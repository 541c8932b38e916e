# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The bundle's plane classifier on clips, pictures and labelled scans, from its configurations."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image

from monai_usspeech.data import PLANES, plane_at, read_planes
from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.metrics import confusion_matrix_of, scores_from_confusion
from monai_usspeech.networks.downstream import FrameClassifier
from monai_usspeech.phantom import generate_phantom
from tests.conftest import REPOSITORY
from tests.data.media_factory import make_video
from tests.data.store_factory import make_store
from tests.integration.shipped import input_error
from tests.preparation.scan_files import FPS, SIZE, fan_frames

BUNDLE = REPOSITORY / "bundle"
INFERENCE = BUNDLE / "configs/inference.json"
EVALUATE = [str(INFERENCE), str(BUNDLE / "configs/evaluate.json")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights of the bundle's network, loud enough that frames differ."""
    torch.manual_seed(0)
    network = FrameClassifier("se_resnext_small")
    torch.nn.init.normal_(network.head.weight, std=5.0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder with a clip of 0.8 s and, in a folder inside, a still picture."""
    folder = tmp_path_factory.mktemp("clips")
    make_video(folder / "clip.mp4", fps=FPS, size=SIZE, frames=fan_frames(0, 16))
    (folder / "stills").mkdir()
    Image.fromarray(fan_frames(1, 1)[0]).save(folder / "stills/still.png")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Two labelled scans of two subjects."""
    return make_store(tmp_path_factory.mktemp("labelled") / "store", n_scans=2, seconds=6.0, planes=True, speech=False)


def workflow(config: str | list[str], **settings) -> ConfigWorkflow:
    """The workflow, initialised, on the CPU."""
    made = ConfigWorkflow(
        config, workflow_type="inference", run_id="evaluating", logging_file=False, device="cpu", **settings
    )
    made.initialize()
    return made


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_no_property_of_an_inference_bundle_is_missing(clips, weights):
    made = workflow(str(INFERENCE), dataset_dir=str(clips), checkpoint=str(weights))
    assert made.check_properties() == []


def test_no_property_of_an_evaluation_is_missing(store, weights):
    assert workflow(EVALUATE, dataset_dir=str(store), checkpoint=str(weights)).check_properties() == []


def test_predictions_are_those_of_the_network_on_each_frame(clips, weights, tmp_path):
    settings = {"dataset_dir": str(clips), "output_dir": str(tmp_path), "checkpoint": str(weights), "chunk_size": 3}
    workflow(str(INFERENCE), **settings).run()
    network = FrameClassifier("se_resnext_small")
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    rows = rows_of(tmp_path / "predictions.csv")
    for name, frames in (("clip.mp4", [0, 2, 4, 6, 8, 10, 12, 14]), ("stills/still.png", [0])):
        own = [row for row in rows if row["file"] == str(clips / name)]
        assert [int(row["frame"]) for row in own] == frames  # 20 frames per second, kept at 10
        video, meta = FanVideoReader(96).get_data(clips / name)
        for place, row in enumerate(own):
            image = (torch.from_numpy(video[:, place]).float() / 255 - 0.5) / 0.25
            with torch.no_grad():
                wanted = network(image[None]).softmax(1)[0].numpy()
            np.testing.assert_allclose([float(row[plane]) for plane in PLANES], wanted, atol=1e-5)
            assert row["plane"] == PLANES[int(wanted.argmax())]
            assert float(row["time"]) == pytest.approx(meta["frame_times"][place])
    assert len(rows) == 9
    told = json.loads((tmp_path / "predictions.json").read_text())
    assert [len(entry["fan_box"]) for entry in told["files"]] == [4, 4]
    assert len(list((tmp_path / "strips").iterdir())) == 2


def test_a_crop_can_be_given_or_left_out(clips, weights, tmp_path):
    settings = {"dataset_dir": str(clips / "stills/still.png"), "checkpoint": str(weights), "strips": False}
    for word, wanted in (("false", [0, 0, SIZE[1], SIZE[0]]), ([20, 60, 100, 130], [20, 60, 100, 130])):
        workflow(str(INFERENCE), output_dir=str(tmp_path), fan_crop=word, **settings).run()
        assert json.loads((tmp_path / "predictions.json").read_text())["files"][0]["fan_box"] == wanted


def test_weights_of_another_network_are_one_sentence(clips, tmp_path):
    other = tmp_path / "other.pt"
    torch.save(FrameClassifier("se_resnext_small", num_classes=5).state_dict(), other)
    made = workflow(str(INFERENCE), dataset_dir=str(clips), output_dir=str(tmp_path), checkpoint=str(other))
    with pytest.raises(Exception) as raised:  # MONAI wraps what is raised inside
        made.run()
    assert "other.pt" in input_error(raised.value)


def test_an_evaluation_scores_what_it_lists(store, weights, tmp_path):
    settings = {"dataset_dir": str(store), "output_dir": str(tmp_path), "checkpoint": str(weights)}
    workflow(EVALUATE, **settings).run()
    rows = rows_of(tmp_path / "predictions.csv")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["counts"]["frames"] == len(rows) > 20
    assert results["subjects"]["test"] == ["p000", "p001"] == sorted({row["subject"] for row in rows})
    label, predicted = ([PLANES.index(row[name]) for row in rows] for name in ("label", "predicted"))
    assert set(label) == {PLANES.index("4CH"), PLANES.index("femur")}
    scores = scores_from_confusion(confusion_matrix_of(np.array(predicted), np.array(label), len(PLANES)))
    assert results["metrics"]["f1"] == pytest.approx(float(scores.f1))
    assert results["metrics"]["accuracy"] == pytest.approx(np.mean(np.array(label) == predicted))


def test_weights_that_saw_a_scanned_subject_are_refused(store, weights, tmp_path):
    seen = tmp_path / "model.pt"
    shutil.copy(weights, seen)
    (tmp_path / "model.json").write_text(json.dumps({"subjects": ["p001"]}))
    settings = {"dataset_dir": str(store), "output_dir": str(tmp_path), "checkpoint": str(seen)}
    with pytest.raises(Exception) as raised:
        workflow(EVALUATE, **settings).run()
    assert "p001" in input_error(raised.value)
    workflow(EVALUATE, exclude_subjects=["p001"], **settings).run()
    assert {row["subject"] for row in rows_of(tmp_path / "predictions.csv")} == {"p000"}


def command(*options: str, cwd: Path, config: str = "bundle/configs/inference.json") -> subprocess.CompletedProcess:
    """``python -m monai.bundle run evaluating`` as a person types it."""
    words = [sys.executable, "-m", "monai.bundle", "run", "evaluating", "--config_file", config, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_command_of_the_documentation_runs_from_a_clone(clips, tmp_path):
    done = command("--dataset_dir", str(clips), "--output_dir", str(tmp_path), cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {row["plane"] for row in rows_of(tmp_path / "predictions.csv")} <= set(PLANES)


def test_the_root_of_a_bundle_can_be_given(clips, weights, tmp_path):
    (tmp_path / "models").mkdir()
    shutil.copy(weights, tmp_path / "models")
    settings = {"dataset_dir": str(clips), "output_dir": str(tmp_path / "out"), "strips": False}
    workflow(str(INFERENCE), bundle_root=str(tmp_path), **settings).run()
    told = json.loads((tmp_path / "out/predictions.json").read_text())
    assert told["weights"] == str(tmp_path / "models/model.pt")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["inside", "elsewhere"])
def test_a_bundle_copied_alone_finds_its_weights(clips, weights, tmp_path, place):
    copied = shutil.copytree(BUNDLE, tmp_path / "copied", ignore=shutil.ignore_patterns("models"))
    (copied / "models").mkdir()
    shutil.copy(weights, copied / "models")
    config = "configs/inference.json" if place == "inside" else str(copied / "configs/inference.json")
    options = ["--dataset_dir", str(clips), "--output_dir", str(tmp_path / "out")]
    done = command(*options, cwd=copied if place == "inside" else tmp_path, config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    used = json.loads((tmp_path / "out/predictions.json").read_text())["weights"]
    assert ((copied if place == "inside" else tmp_path) / used).resolve() == (copied / "models/model.pt").resolve()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--dataset_dir", "nowhere"), "nowhere: no such file or folder"),
        (("--checkpoint", "none.pt"), "none.pt: no such file"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(clips, options, sentence, tmp_path):
    given = ("--dataset_dir", str(clips)) if "--dataset_dir" not in options else ()
    done = command(*given, "--output_dir", str(tmp_path), *options, cwd=REPOSITORY)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and len(errors) == 1 and sentence in errors[0], done.stderr[-3000:]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_shipped_weights_know_planes_of_synthetic_scans_they_have_not_seen(tmp_path):
    """Another seed, picture size and frame rate than the training's; chance of a plane's recall is 1 in 14."""
    generate_phantom(tmp_path / "phantom", n_scans=3, seconds=40.0, frame_rate=10.0, size=192, seed=77, workers=1,
                     progress=False, grid=(112, 224))  # fmt: skip
    settings = {"dataset_dir": str(tmp_path / "phantom"), "output_dir": str(tmp_path / "out"), "strips": False}
    workflow(str(INFERENCE), bundle_root=str(BUNDLE), **settings).run()
    labels, guesses = [], []
    for row in rows_of(tmp_path / "out/predictions.csv"):
        planes = read_planes(tmp_path / "phantom" / f"{Path(row['file']).stem}_planes.csv")
        labels.append(int(plane_at(planes, float(row["time"]))))
        guesses.append(PLANES.index(row["plane"]))
    scores = scores_from_confusion(confusion_matrix_of(np.array(guesses), np.array(labels), len(PLANES)))
    assert (scores.support > 0).sum() >= 5
    shown = scores.support > 0
    assert float(np.mean(scores.per_class_recall[shown])) > 0.4


@pytest.mark.slow
def test_real_recordings_go_through(real_data, weights, tmp_path):
    """Lung videos, DICOM cines and fetal stills; what is predicted means nothing, with random weights."""
    parts = [real_data / "pocus", real_data / "dicom", real_data / "planes/sononet"]
    files = [str(part) for part in parts]
    settings = {"dataset_dir": files, "output_dir": str(tmp_path), "checkpoint": str(weights), "strips": False}
    workflow(str(INFERENCE), **settings).run()
    told = json.loads((tmp_path / "predictions.json").read_text())["files"]
    kinds = {Path(entry["file"]).suffix.lower() for entry in told}
    assert {".mp4", ".avi", ".mpeg", ".gif", ".dcm", ".png"} <= kinds and len(told) >= 45
    rows = rows_of(tmp_path / "predictions.csv")
    assert len(rows) == sum(entry["frames"] for entry in told)
    assert all(abs(sum(float(row[plane]) for plane in PLANES) - 1) < 1e-4 for row in rows)
    stills = [entry for entry in told if entry["file"].endswith(".png")]
    assert len(stills) == 13 and all(entry["frames"] == 1 for entry in stills)
