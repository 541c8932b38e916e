# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from monai_usspeech.data.files import InputError
from monai_usspeech.networks import FrameClassifier, load_initialisation
from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store
from tests.integration.hico import METHODS, command, make_image_set, run, workflow
from tests.integration.pretraining import MULTI_GPU

PROCESS = {"cwd": REPOSITORY, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
TERMS = {
    "hico": {"loss_local", "loss_medium", "loss_global", "loss_global_local", "loss_global_medium", "loss_soft"},
    "uscl": {"loss_contrast", "loss_supervised"},
    "supervised": {"loss_supervised"},
    "pi_model": {"loss_supervised", "loss_consistency"},
    "temporal_ensembling": {"loss_supervised", "loss_consistency"},
    "fixmatch": {"loss_supervised", "loss_pseudo"},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return make_image_set(tmp_path_factory.mktemp("bars"))


def epochs(output: Path) -> list[dict]:
    rows = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    return [line for line in rows if line["kind"] == "epoch"]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return torch.load(output / "model.pt", weights_only=True)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_its_weights_start_a_classifier(images, tmp_path, method):
    run(method, images, tmp_path)
    rows = epochs(tmp_path)
    assert len(rows) == 2 and all(math.isfinite(entry["loss"]) for entry in rows)
    assert TERMS.get(method, set()) <= set(rows[-1])
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["method"] == method and facts["subjects"] == sorted(f"v{n:02d}" for n in range(16))
    classifier = FrameClassifier("se_resnext_small", num_classes=2)
    load_initialisation(classifier, tmp_path / "model.pt")
    kept = {name: value for name, value in weights(tmp_path).items() if name.startswith("video_stream.")}
    assert kept and all(torch.equal(value, classifier.state_dict()[name]) for name, value in kept.items())
    assert (tmp_path / "views.png").stat().st_size > 5000 and (tmp_path / "curves.png").is_file()


@pytest.mark.parametrize("method", ["hico", "simclr", "temporal_ensembling"])
def test_prepared_scans_serve_as_videos(tmp_path, method):
    store = make_store(tmp_path / "store", seconds=16.0, size=40, speech=False)
    settings = {"label_rate": 0.0} if method == "hico" else {}
    if method == "temporal_ensembling":
        with pytest.raises(RuntimeError) as refused:
            run(method, store, tmp_path / "run")
        assert "label" in str(_cause(refused.value))
        return
    made = run(method, store, tmp_path / "run", exclude_subjects=["p001"], **settings)
    assert json.loads((tmp_path / "run/model.json").read_text())["subjects"] == ["p000", "p002"]
    assert "loss_soft" not in epochs(tmp_path / "run")[-1]
    assert made.train_dataset.classes == ()


def _cause(error: BaseException | None) -> BaseException | None:
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


def test_the_defaults_are_the_paper(images, tmp_path):
    made = workflow("hico", images, tmp_path)
    parser = made.parser
    parser.read_config(str(REPOSITORY / "configs/hico/hico.json"))
    assert (parser["max_epochs"], parser["batch_size"], parser["size"]) == (300, 32, 224)
    assert (parser["learning_rate"], parser["optimizer#weight_decay"]) == (3e-4, 1e-4)
    assert parser["network_def#backbone"] == "resnet18" and parser["network_def#levels"] == "paper"
    assert parser["loss#loss#temperature"] == 0.5 and parser["loss#loss#beta"] == 0.2


def test_the_rate_stays_for_eleven_epochs_then_follows_the_cosine(images, tmp_path):
    run("hico", images, tmp_path, max_epochs=14, label_rate=0.0)
    rates = [entry["learning_rate"] for entry in epochs(tmp_path)]
    assert rates[:10] == [3e-4] * 10
    # an epoch's row has the rate after its step
    expected = [3e-4 * (1 + math.cos(math.pi * step / 14)) / 2 for step in range(4)]
    assert rates[9:13] == pytest.approx([3e-4, *expected[1:]], rel=1e-6) or rates[10:14] == pytest.approx(expected)


@pytest.mark.parametrize("method", ["hico", "moco_v2", "temporal_ensembling", "fixmatch"])
def test_a_stopped_run_goes_on_as_if_it_had_not(images, tmp_path, method):
    """What must survive: the queue and the momentum encoder, the memory of answers, the teacher, the epoch of ramps."""
    run(method, images, tmp_path / "whole", max_epochs=4, save_every=1)
    made = workflow(method, images, tmp_path / "stopped", max_epochs=4, save_every=1)
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
    run(method, images, tmp_path / "stopped", max_epochs=4, save_every=1)
    whole, stopped = (weights(tmp_path / name) for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert epochs(tmp_path / "whole") == epochs(tmp_path / "stopped")


def test_the_teacher_is_what_fixmatch_keeps(images, tmp_path):
    run("fixmatch", images, tmp_path)
    state = torch.load(tmp_path / "run_state.pt", weights_only=True)
    kept = weights(tmp_path)
    stem = "video_stream.conv1.0.weight"
    assert torch.equal(kept[stem], state["average"][stem])
    assert not torch.equal(kept[stem], state["network"][stem])


def test_a_label_rate_keeps_labels_of_videos(images, tmp_path):
    made = run("hico", images, tmp_path, label_rate=0.25, max_epochs=1)
    dataset = made.parser.get_parsed_content("train#dataset")
    assert (dataset.labels >= 0).sum() == 4


def test_a_method_of_labels_without_any_is_refused(images, tmp_path):
    with pytest.raises(RuntimeError) as refused:
        run("supervised", images, tmp_path, label_rate=0.0)
    assert "label_rate" in str(_cause(refused.value))
    assert not (tmp_path / "history.jsonl").exists()


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
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle")
    arguments = command(method, images, tmp_path, MULTI_GPU, launcher=launcher)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, **PROCESS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(epochs(tmp_path)) == 2 and (tmp_path / "model.pt").is_file()
