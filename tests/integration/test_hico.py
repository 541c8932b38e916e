# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from monai_usspeech.networks import FrameClassifier, load_initialisation
from tests.conftest import REPOSITORY
from tests.data.image_set_factory import make_image_set
from tests.data.store_factory import make_store
from tests.integration.hico import METHODS, command, run, workflow
from tests.integration.shipped import MULTI_GPU, TWO_PROCESSES, input_error

# faulthandler: a process that ends by a signal says in which thread, and where
PROCESS = {"cwd": REPOSITORY, "env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}}
TERMS = {
    "hico": {"loss_local", "loss_medium", "loss_global", "loss_global_local", "loss_global_medium", "loss_soft"},
    "uscl": {"loss_contrast", "loss_supervised"},
    "supervised": {"loss_supervised"},
    "pi_model": {"loss_supervised", "loss_consistency"},
    "temporal_ensembling": {"loss_supervised", "loss_consistency"},
    "fixmatch": {"loss_supervised", "loss_pseudo"},
}

# What the embeddings are called of which collapse and the similarity of pairs are watched.
EMBEDDINGS = {"hico": "global", **dict.fromkeys(("simclr", "vcl", "moco_v2", "uscl"), "embedding")}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_image_set(tmp_path_factory.mktemp("bars"), 16, 3, prefix="v")


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory) -> Callable[[str], tuple[ConfigWorkflow, Path]]:
    """The run of a method and its folder; made once."""
    folder = tmp_path_factory.mktemp("trained")

    @cache
    def one(method: str) -> tuple[ConfigWorkflow, Path]:
        return run(method, images, folder / method), folder / method

    return one


def epochs(output: Path) -> list[dict]:
    rows = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    return [line for line in rows if line["kind"] == "epoch"]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return torch.load(output / "model.pt", weights_only=True)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_its_weights_start_a_classifier(trained, method):
    made, folder = trained(method)
    rows = epochs(folder)
    assert len(rows) == 2 and all(math.isfinite(entry["loss"]) for entry in rows)
    assert TERMS.get(method, set()) <= set(rows[-1])
    watched = {f"{EMBEDDINGS[method]}_rank_collapse", "pair_similarity"} if method in EMBEDDINGS else set()
    assert {name for name in rows[-1] if name in watched or name == "pair_similarity"} == watched
    if method == "moco_v2":  # its cosine begins with the run: at half time the rate is half
        rate = made.parser["learning_rate"]
        assert [entry["learning_rate"] for entry in rows] == pytest.approx([rate, rate / 2])
    facts = json.loads((folder / "model.json").read_text())
    assert facts["method"] == method and facts["subjects"] == sorted(f"v{n}" for n in range(16))
    classifier = FrameClassifier("se_resnext_small", num_classes=2)
    load_initialisation(classifier, folder / "model.pt")
    kept = {name: value for name, value in weights(folder).items() if name.startswith("video_stream.")}
    assert kept and all(torch.equal(value, classifier.state_dict()[name]) for name, value in kept.items())
    assert (folder / "views.png").stat().st_size > 5000 and (folder / "curves.png").is_file()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Scans without plane intervals."""
    return make_store(tmp_path_factory.mktemp("scans") / "store", seconds=16.0, size=40, speech=False)


@pytest.mark.parametrize(("method", "settings"), [("hico", {"label_rate": 0.0}), ("simclr", {})])
def test_prepared_scans_serve_as_videos(store, tmp_path, method, settings):
    made = run(method, store, tmp_path, exclude_subjects=["p001"], **settings)
    assert json.loads((tmp_path / "model.json").read_text())["subjects"] == ["p000", "p002"]
    assert "loss_soft" not in epochs(tmp_path)[-1]
    assert made.train_dataset.classes == ()


def test_scans_without_labels_are_refused_by_a_method_of_labels(store, tmp_path):
    with pytest.raises(RuntimeError) as refused:
        run("temporal_ensembling", store, tmp_path / "run")
    assert "label" in input_error(refused.value)


def test_the_defaults_are_the_paper(images, tmp_path):
    made = workflow("hico", images, tmp_path)
    parser = made.parser
    parser.read_config(str(REPOSITORY / "configs/hico/hico.json"))
    assert (parser["max_epochs"], parser["batch_size"], parser["size"]) == (300, 32, 224)
    assert (parser["learning_rate"], parser["optimizer#weight_decay"]) == (3e-4, 1e-4)
    assert parser["network_def#backbone"] == "resnet18" and parser["network_def#levels"] == "paper"
    assert parser["loss#loss#temperature"] == 0.5 and parser["loss#loss#beta"] == 0.2


def test_the_rate_stays_for_eleven_epochs_then_follows_the_cosine(images, tmp_path):
    made = workflow("hico", images, tmp_path, max_epochs=14)
    made.initialize()
    optimizer, scheduler = (made.parser.get_parsed_content(name) for name in ("optimizer", "lr_scheduler"))
    rates = []
    for _ in range(14):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    cosine = [3e-4 * (1 + math.cos(math.pi * step / 14)) / 2 for step in (1, 2, 3)]
    assert rates == pytest.approx([3e-4] * 11 + cosine, rel=1e-6)


SLOW_TO_STOP = [pytest.param(name, marks=pytest.mark.slow) for name in ("hico", "temporal_ensembling", "fixmatch")]


@pytest.mark.parametrize("method", ["moco_v2", *SLOW_TO_STOP])
def test_a_stopped_run_goes_on_as_if_it_had_not(images, tmp_path, method):
    """What must survive: the queue and the momentum encoder, the memory of answers, the teacher, the epoch of ramps."""
    run(method, images, tmp_path / "whole", max_epochs=3, save_every=1)
    made = workflow(method, images, tmp_path / "stopped", max_epochs=3, save_every=1)
    made.initialize()
    trainer = made.parser.get_parsed_content("train#trainer")
    last = 2 * trainer.state.epoch_length + 1  # amid the third epoch

    def stop(engine):
        if engine.state.iteration == last:
            raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert not (tmp_path / "stopped/model.pt").exists()
    run(method, images, tmp_path / "stopped", max_epochs=3, save_every=1)
    whole, stopped = (weights(tmp_path / name) for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert epochs(tmp_path / "whole") == epochs(tmp_path / "stopped")


def test_the_teacher_is_what_fixmatch_keeps(trained):
    _, folder = trained("fixmatch")
    state = torch.load(folder / "run_state.pt", weights_only=True)
    kept = weights(folder)
    stem = "video_stream.conv1.0.weight"
    assert torch.equal(kept[stem], state["average"][stem])
    assert not torch.equal(kept[stem], state["network"][stem])


def test_a_label_rate_keeps_labels_of_videos(images, tmp_path):
    made = workflow("hico", images, tmp_path, label_rate=0.25)
    made.initialize()
    dataset = made.parser.get_parsed_content("train#dataset")
    assert (dataset.labels >= 0).sum() == 4


def test_a_method_of_labels_without_any_is_refused(images, tmp_path):
    with pytest.raises(RuntimeError) as refused:
        run("supervised", images, tmp_path, label_rate=0.0)
    assert "label_rate" in input_error(refused.value)
    assert not (tmp_path / "history.jsonl").exists()


def test_a_loss_that_is_no_number_names_the_videos(images, tmp_path):
    made = workflow("uscl", images, tmp_path)
    made.initialize()
    next(made.parser.get_parsed_content("network").parameters()).data.fill_(math.nan)
    with pytest.raises(RuntimeError) as refused:
        made.run()
    said = str(refused.value.__cause__)
    assert re.search(r"The loss is nan at iteration 1 .* held images of v\d+.*non_finite.pt", said)
    saved = torch.load(tmp_path / "non_finite.pt", weights_only=True)
    assert saved["batch"]["image"].shape == (8, 3, 1, 32, 32)
    assert len(json.loads((tmp_path / "non_finite.json").read_text())["items"]) == 8


@pytest.mark.slow
def test_a_run_killed_by_the_system_ends_as_one_that_was_not(images, tmp_path):
    settings = {"max_epochs": 8, "save_every": 1}
    subprocess.run(command("moco_v2", images, tmp_path / "whole", **settings), check=True, **PROCESS)
    arguments = command("moco_v2", images, tmp_path / "killed", **settings)
    process = subprocess.Popen(arguments, stdout=-3, stderr=-3, **PROCESS)
    deadline = time.monotonic() + 200
    while not (tmp_path / "killed/run_state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/model.pt").exists(), "the run ended before it could be killed"
    subprocess.run(arguments, check=True, **PROCESS)
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hico", "moco_v2"])
def test_two_processes_train_on_the_batches_of_one(images, tmp_path, method):
    arguments = command(method, images, tmp_path, MULTI_GPU, launcher=TWO_PROCESSES)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, **PROCESS)
    assert done.returncode == 0, done.stderr[-20_000:]  # the launcher's own words alone are 3,000 long
    assert len(epochs(tmp_path)) == 2 and (tmp_path / "model.pt").is_file()
