# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The downstream configurations as they are shipped, with the CPU preset, on scans that take seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_usspeech.data.files import InputError
from monai_usspeech.data.splits import subject_split
from monai_usspeech.networks import VideoSpeechNet
from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store
from tests.integration.downstream import GAZE, PLANES, command, run, workflow


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(
        tmp_path_factory.mktemp("downstream") / "store", n_scans=6, seconds=8.0, size=32, planes=True, gaze=True
    )


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(VideoSpeechNet("se_resnext_small").state_dict(), path)
    return path


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("task", [PLANES, GAZE])
def test_every_part_of_a_configuration_can_be_built(task, store, tmp_path):
    made = workflow(task, store, tmp_path)
    made.initialize()
    assert made.check_properties() == []


def test_planes_are_scored_with_the_weights_that_were_kept(store, tmp_path):
    made = run(PLANES, store, tmp_path)
    found = results(tmp_path)
    assert found["task"] == "standard_plane" and 0 <= found["metrics"]["f1"] <= 1
    for name in ("model.pt", "predictions.csv", "confusion.png", "grad_cam.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 0, name
    split = subject_split(store, require="planes")
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["subjects"] == [*split.train, *split.validation]
    assert not set(facts["subjects"]) & set(split.test)
    kept = torch.load(tmp_path / "model.pt", weights_only=True)
    state = made.parser.get_parsed_content("network").state_dict()
    assert all(torch.equal(value, state[name]) for name, value in kept.items())  # what was tested is what was kept


def test_gaze_is_scored_and_drawn(store, tmp_path):
    run(GAZE, store, tmp_path)
    found = results(tmp_path)
    assert found["task"] == "gaze_saliency" and found["metrics"]["kl"] > 0
    for name in ("model.pt", "frames.csv", "examples.npz", "overlays.png"):
        assert (tmp_path / name).stat().st_size > 0, name


def test_a_probe_leaves_the_backbone_as_it_was(store, pretrained, tmp_path):
    run(PLANES, store, tmp_path / "probe", "training", mode="probe", initialisation=str(pretrained))
    run(PLANES, store, tmp_path / "tuned", "training", initialisation=str(pretrained))
    start = torch.load(pretrained, weights_only=True)
    changed = {}
    for mode in ("probe", "tuned"):
        kept = torch.load(tmp_path / mode / "model.pt", weights_only=True)
        streams = [name for name in kept if name.startswith("video_stream.")]
        assert streams
        changed[mode] = [name for name in streams if not torch.equal(kept[name], start[name])]
    assert changed["probe"] == [] and len(changed["tuned"]) > 20


def test_the_last_layers_alone_can_be_trained_for_planes_but_not_for_gaze(store, pretrained, tmp_path):
    settings = {"mode": "last_layers", "initialisation": str(pretrained), "max_epochs": 1}
    run(PLANES, store, tmp_path / "planes", "training", **settings)
    start, kept = (torch.load(path, weights_only=True) for path in (pretrained, tmp_path / "planes/model.pt"))
    moved = [name for name in kept if name in start and not torch.equal(kept[name], start[name])]
    assert moved and all(name.startswith("video_stream.layer4.") for name in moved)
    with pytest.raises(RuntimeError) as caught:
        workflow(GAZE, store, tmp_path / "gaze", **settings).initialize()
    cause = caught.value.__cause__
    assert isinstance(cause, InputError) and 'none of "finetune", "probe"' in str(cause)


def test_weights_that_saw_a_test_subject_are_refused_before_training(store, pretrained, tmp_path):
    split = subject_split(store, require="planes")
    leaked = tmp_path / "leaked.pt"
    leaked.write_bytes(pretrained.read_bytes())
    leaked.with_suffix(".json").write_text(json.dumps({"subjects": [*split.train, split.test[0]]}))
    made = workflow(PLANES, store, tmp_path / "run", initialisation=str(leaked))
    with pytest.raises(RuntimeError) as caught:
        made.initialize()
    assert isinstance(caught.value.__cause__, InputError) and "--exclude_subjects" in str(caught.value.__cause__)
    assert not (tmp_path / "run").exists()
    leaked.with_suffix(".json").write_text(json.dumps({"subjects": list(split.train)}))
    workflow(PLANES, store, tmp_path / "run", initialisation=str(leaked)).initialize()


def test_evaluating_needs_trained_weights(store, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        run(PLANES, store, tmp_path, "evaluating")
    assert isinstance(caught.value.__cause__, InputError) and "no trained weights" in str(caught.value.__cause__)


@pytest.mark.parametrize("task", [PLANES, GAZE])
def test_evaluating_refuses_the_fold_of_another_training(task, store, tmp_path):
    trained = subject_split(store, fold=0)
    facts = {"subjects": [*trained.train, *trained.validation]}
    (tmp_path / "model.json").write_text(json.dumps(facts))
    with pytest.raises(RuntimeError) as caught:
        run(task, store, tmp_path, "evaluating", fold=1)
    assert isinstance(caught.value.__cause__, InputError) and "leave out" in str(caught.value.__cause__)
    assert str(caught.value.__cause__).startswith("output_dir: ")


def test_evaluating_refuses_other_settings_than_those_of_the_training(store, tmp_path):
    run(PLANES, store, tmp_path, "training", max_epochs=1)
    with pytest.raises(RuntimeError) as caught:
        run(PLANES, store, tmp_path, "evaluating", max_epochs=1, size=48)
    assert "size was 32 and is 48" in str(caught.value.__cause__)


def test_few_labels_do_not_hide_whom_the_pretraining_has_seen(store, pretrained, tmp_path):
    split = subject_split(store, require="planes")
    start = tmp_path / "start.pt"
    start.write_bytes(pretrained.read_bytes())
    start.with_suffix(".json").write_text(json.dumps({"subjects": [*split.train, *split.validation]}))
    few = {"initialisation": str(start), "n_label_subjects": 2, "max_epochs": 1}
    run(PLANES, store, tmp_path / "few", "training", **few)
    seen = json.loads((tmp_path / "few/model.json").read_text())["subjects"]
    assert set(seen) == {*split.train, *split.validation} and len(seen) == 4


def test_a_run_does_not_go_on_with_other_subjects(store, tmp_path):
    run(PLANES, store, tmp_path / "run", "training", max_epochs=1)
    grown = make_store(tmp_path / "grown", n_scans=7, seconds=8.0, size=32, planes=True)
    with pytest.raises(RuntimeError) as caught:
        run(PLANES, grown, tmp_path / "run", "training", max_epochs=1)
    assert "train_subjects was [" in str(caught.value.__cause__)


def test_evaluating_again_gives_the_same_result(store, tmp_path):
    run(PLANES, store, tmp_path)
    first = (tmp_path / "predictions.csv").read_bytes()
    (tmp_path / "predictions.csv").unlink()
    run(PLANES, store, tmp_path, "evaluating")
    assert (tmp_path / "predictions.csv").read_bytes() == first


@pytest.mark.parametrize("task", [PLANES, GAZE])
def test_few_labels_are_fewer_subjects(task, store, tmp_path):
    made = workflow(task, store, tmp_path, n_label_subjects=2)
    made.initialize()
    datasets = {part: made.parser.get_parsed_content(f"{part}#dataset") for part in ("train", "validate", "test")}
    subjects = {part: set(dataset.subjects) for part, dataset in datasets.items()}
    assert len(subjects["train"]) == len(subjects["validate"]) == 1
    assert not subjects["test"] & (subjects["train"] | subjects["validate"])
    assert not subjects["train"] & subjects["validate"]


@pytest.mark.slow
@pytest.mark.parametrize("task", [PLANES, GAZE])
def test_a_killed_run_ends_as_one_that_was_not(task, store, tmp_path):
    settings = {"max_epochs": 6, "save_every": 2}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(task, store, whole, **settings), cwd=REPOSITORY, env=environment, check=True,
                   capture_output=True)  # fmt: skip
    process = subprocess.Popen(command(task, store, cut, **settings), cwd=REPOSITORY, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 120
    while not (cut / "best.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "results.json").exists()
    subprocess.run(command(task, store, cut, **settings), cwd=REPOSITORY, env=environment, check=True,
                   capture_output=True)  # fmt: skip
    weights = [torch.load(folder / "model.pt", weights_only=True) for folder in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert results(whole)["metrics"] == results(cut)["metrics"]
    rows = [(folder / "history.jsonl").read_bytes() for folder in (whole, cut)]
    assert rows[0] == rows[1]
    assert json.loads((cut / "config.json").read_text())["max_epochs"] == 6


@pytest.mark.slow
def test_a_wrong_mode_is_told_in_one_line(store, tmp_path):
    words = command(PLANES, store, tmp_path, mode="prob")
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode != 0
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: mode:") and 'Did you mean "probe"' in last


def test_the_test_folds_together_are_everybody_once(store, tmp_path):
    tested = []
    for fold in range(3):
        made = workflow(PLANES, store, tmp_path, fold=fold)
        made.initialize()
        tested += list(made.parser.get_parsed_content("test#dataset").subjects)
    assert sorted(tested) == sorted(np.unique(tested)) and len(tested) == 6
