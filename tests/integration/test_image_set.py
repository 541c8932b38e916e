# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The image-set configuration and its overlays as they are shipped, with the CPU preset, on pictures of seconds."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_usspeech.data import ImageSetDatalist, image_set_split
from monai_usspeech.networks import HiCoNet, VideoSpeechNet
from tests.conftest import REPOSITORY
from tests.data.image_set_factory import PATTERNS, make_image_set
from tests.integration.image_set import (
    CODE_PYRAMID,
    HICO_CODE,
    OWN_HEADS,
    SMALL_PYRAMID,
    command,
    run,
    workflow,
)
from tests.integration.shipped import input_error

CLASSES = list(PATTERNS)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_image_set(tmp_path_factory.mktemp("images"), 8, 3, classes=CLASSES, video=True)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(VideoSpeechNet("se_resnext_small").state_dict(), path)
    return path


def hico_weights(path: Path, **form) -> Path:
    torch.manual_seed(8)
    torch.save(HiCoNet("se_resnext_small", channels=16, embedding_dim=8, **form).state_dict(), path)
    return path


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def changed(kept: Path, start: Path) -> set[str]:
    """Tensors that both files have and that differ."""
    one, other = (torch.load(path, weights_only=True) for path in (kept, start))
    shared = [name for name in one if name in other and one[name].shape == other[name].shape]
    assert len(shared) > 50
    return {name for name in shared if not torch.equal(one[name], other[name])}


def test_every_part_of_the_configuration_can_be_built(images, tmp_path):
    made = workflow(images, tmp_path)
    made.initialize()
    assert made.check_properties() == []


def test_the_test_groups_are_scored_with_the_weights_of_the_last_epoch(images, tmp_path):
    made = run(images, tmp_path)
    found, split = results(tmp_path), image_set_split(images, n_folds=2)
    assert found["task"] == "image_set" and found["details"]["protocol"] == "clean"
    assert "warning" not in found["details"] and found["details"]["classes"] == CLASSES
    assert set(found["details"]["per_class"]) == {"precision", "recall", "f1", "accuracy"}
    for name in ("confusion.png", "grad_cam.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 0, name
    with open(tmp_path / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    listed = {(i.group, i.image.name, i.time or 0.0): i.label for i in ImageSetDatalist.load(images)}
    tested = {(row["subject"], row["scan"], float(row["time"])): row["label"] for row in rows}
    assert tested == {key: label for key, label in listed.items() if key[0] in split.test}
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert found["metrics"]["accuracy"] == pytest.approx(right)
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["subjects"] == list(split.train) and not set(split.train) & set(split.test)
    state = torch.load(tmp_path / "run_state.pt", weights_only=True)["network"]
    tested_with = made.parser.get_parsed_content("network").state_dict()
    assert all(torch.equal(value, tested_with[name]) for name, value in state.items())


def test_a_mode_changes_the_layers_that_it_names(images, pretrained, tmp_path):
    found = {}
    for mode in ("last_layers", "probe", "finetune"):
        run(images, tmp_path / mode, run_id="training", mode=mode, initialisation=str(pretrained), max_epochs=1)
        found[mode] = changed(tmp_path / mode / "model.pt", pretrained)
    assert found["probe"] == set()
    assert found["last_layers"]
    assert all(name.startswith("video_stream.layer4.") for name in found["last_layers"])
    assert any(name.startswith("video_stream.conv1") for name in found["finetune"])


def test_each_group_is_tested_once(images, tmp_path):
    tested = []
    for fold in range(3):
        made = workflow(images, tmp_path, fold=fold, n_folds=3)
        made.initialize()
        tested += made.parser.get_parsed_content("test#dataset").subjects
    assert sorted(tested) == sorted(ImageSetDatalist.load(images).groups)


def test_no_batch_is_of_one_image(images, tmp_path):
    made = workflow(images, tmp_path)
    made.initialize()
    n_train = len(made.parser.get_parsed_content("train#dataset"))
    for size in (n_train - 1, 5, n_train):
        made = workflow(images, tmp_path, batch_size=size)
        made.initialize()
        sizes = [len(batch) for batch in made.parser.get_parsed_content("train#batch_sampler")]
        assert min(sizes) > 1 and sum(sizes) >= n_train - 1


def test_weights_that_saw_a_test_group_are_refused_before_training(images, pretrained, tmp_path):
    split = image_set_split(images, n_folds=2)
    leaked = tmp_path / "leaked.pt"
    leaked.write_bytes(pretrained.read_bytes())
    leaked.with_suffix(".json").write_text(json.dumps({"subjects": [split.test[0]]}))
    with pytest.raises(RuntimeError) as caught:
        workflow(images, tmp_path / "run", initialisation=str(leaked)).initialize()
    assert "--exclude_subjects" in input_error(caught.value) and split.test[0] in input_error(caught.value)
    assert not (tmp_path / "run").exists()
    leaked.with_suffix(".json").write_text(json.dumps({"subjects": list(split.train)}))
    workflow(images, tmp_path / "run", initialisation=str(leaked)).initialize()


def test_evaluating_again_gives_the_same_and_refuses_another_fold_or_size(images, tmp_path):
    run(images, tmp_path, max_epochs=1)
    first = (tmp_path / "predictions.csv").read_bytes()
    (tmp_path / "predictions.csv").unlink()
    run(images, tmp_path, run_id="evaluating", max_epochs=1)
    assert (tmp_path / "predictions.csv").read_bytes() == first
    for settings, message in (({"fold": 1}, "leave out"), ({"size": 72}, "size was 64 and is 72")):
        with pytest.raises(RuntimeError) as caught:
            run(images, tmp_path, run_id="evaluating", max_epochs=1, **settings)
        assert message in input_error(caught.value)


def test_the_test_fold_does_not_choose_in_secret(images, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        workflow(images, tmp_path, selection="best_test_epoch").initialize()
    assert 'the protocol is "clean"' in input_error(caught.value)


def test_the_released_protocol_keeps_the_best_test_epoch_and_says_so(images, pretrained, tmp_path):
    run(images, tmp_path, HICO_CODE, initialisation=str(pretrained), max_epochs=4)
    found = results(tmp_path)
    assert found["details"]["protocol"] == "hico_code" and "optimistic" in found["details"]["warning"]
    accuracy = [json.loads(line)["val_accuracy"] for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    facts = json.loads((tmp_path / "model.json").read_text())
    assert len(accuracy) == 4 and facts["epoch"] == 1 + int(np.argmax(accuracy))
    assert found["metrics"]["accuracy"] == pytest.approx(max(accuracy))
    # the batch statistics of the frozen layers were collected, their weights not changed
    other = {name for name in changed(tmp_path / "model.pt", pretrained) if "layer4" not in name}
    assert other and all(name.rsplit(".", 1)[1].startswith(("running_", "num_batches")) for name in other)


@pytest.mark.parametrize(
    ("overlays", "form", "untouched"),
    [
        ((OWN_HEADS,), {}, ("local_head.", "medium_head.", "global_head.", "pyramid.output.")),
        ((HICO_CODE, CODE_PYRAMID), {"fpn_norm": None}, ("pyramid.output.",)),
    ],
    ids=["own_heads", "code"],
)
def test_a_pyramid_is_read_out_and_its_last_layers_trained(overlays, form, untouched, images, tmp_path):
    start = hico_weights(tmp_path / "hico.pt", **form)
    run(images, tmp_path / "run", *overlays, initialisation=str(start), **SMALL_PYRAMID)
    assert results(tmp_path / "run")["settings"]["network"] == "PyramidClassifier"
    moved = {n for n in changed(tmp_path / "run/model.pt", start) if not n.rsplit(".", 1)[1].startswith(("run", "num"))}
    assert any(name.startswith("video_stream.layer4.") for name in moved)
    assert any(name.startswith("pyramid.lateral.") for name in moved)
    assert not [name for name in moved if name.startswith(untouched)]
    assert (tmp_path / "run/grad_cam.png").stat().st_size > 0


def test_a_pyramid_needs_weights_with_one(images, pretrained, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        workflow(images, tmp_path, OWN_HEADS, initialisation=str(pretrained), **SMALL_PYRAMID).initialize()
    assert "pyramid" in input_error(caught.value)


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(images, tmp_path):
    settings = {"max_epochs": 8, "save_every": 1}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(images, whole, **settings), cwd=REPOSITORY, env=environment, check=True,
                   capture_output=True)  # fmt: skip
    process = subprocess.Popen(command(images, cut, **settings), cwd=REPOSITORY, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 120
    while not (cut / "run_state.pt").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "model.pt").exists()
    subprocess.run(command(images, cut, **settings), cwd=REPOSITORY, env=environment, check=True,
                   capture_output=True)  # fmt: skip
    weights = [torch.load(folder / "model.pt", weights_only=True) for folder in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert results(whole)["metrics"] == results(cut)["metrics"]
    assert (whole / "history.jsonl").read_bytes() == (cut / "history.jsonl").read_bytes()


@pytest.mark.slow
def test_a_wrong_word_is_told_in_one_line(images, tmp_path):
    for name, word, meant in (("mode", "last_layer", "last_layers"), ("selection", "lats", "last")):
        words = command(images, tmp_path, **{name: word})
        ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
        assert ended.returncode != 0
        last = ended.stderr.strip().splitlines()[-1]
        assert last.startswith(f"error: {name}:") and f'Did you mean "{meant}"' in last
