# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The shipped configurations, as users run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from monai_usspeech.data.files import InputError
from monai_usspeech.networks import VideoSpeechNet, load_initialisation
from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store
from tests.integration.pretraining import CPU, TINY, command, row, workflow
from tests.integration.shipped import MULTI_GPU, TWO_PROCESSES

METHODS = ["video", "baseline", "cm_contra", "cm_contra_filter", "cm_contra_order", "ours", "views", "plus"]
TERMS = {
    "video": {"loss_ord"},
    "baseline": {"loss_cls"},
    "cm_contra": {"loss_cls", "loss_cont"},
    "cm_contra_filter": {"loss_cls", "loss_cont"},
    "views": {"loss_view"},
    "plus": {"loss_cont", "loss_view"},
}
ALL_TERMS = {"loss_cls", "loss_cont", "loss_ord"}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "store"
    make_store(folder, n_scans=3, seconds=16.0, size=40)
    return folder


def epochs(output: Path) -> list[dict]:
    rows = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    return [line for line in rows if line["kind"] == "epoch"]


@pytest.mark.parametrize("method", METHODS)
def test_every_row_trains_on_its_own_terms(store, tmp_path, method):
    # The store of the tests has voice flags of the energy method only, and few clips.
    other = {"voice_activity": "energy", "speech_share": 0.25} if method == "plus" else {}
    training = workflow(store, tmp_path, row(method), CPU, **other)
    training.initialize()
    training.run()
    last = epochs(tmp_path)[-1]
    assert last["epoch"] == 2
    assert {name for name in last if name.startswith("loss_")} == TERMS.get(method, ALL_TERMS)
    network = training.parser.get_parsed_content("network")
    assert all(p.grad is not None for p in network.parameters()), "a parameter that no term reaches"
    assert (tmp_path / "model.pt").is_file()
    for name in ("curves.png", "pairs.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 200


def test_the_training_bundle_has_every_property(store, tmp_path):
    training = workflow(store, tmp_path, CPU)
    training.initialize()
    assert training.check_properties() == []


def test_the_defaults_are_the_paper(store, tmp_path):
    training = workflow(store, tmp_path)
    config = json.loads((REPOSITORY / "bundle/configs/train.json").read_text())
    assert (config["max_epochs"], config["batch_size"], config["learning_rate"], config["size"]) == (80, 32, 1e-3, 256)
    training.initialize()
    optimizer = training.parser.get_parsed_content("optimizer")
    assert (optimizer.defaults["momentum"], optimizer.defaults["weight_decay"]) == (0.9, 5e-4)
    network = training.parser.get_parsed_content("network")
    assert sum(p.numel() for p in network.video_stream.parameters()) > 25e6


@pytest.mark.parametrize(
    ("overlays", "settings", "reversal"),
    [
        ((), {}, "shown"),
        ((row("video"),), {}, "shown"),
        ((), {"order_reversal": "time"}, "time"),
    ],
)
def test_one_word_sets_the_order_label_and_the_head_that_fits_it(store, tmp_path, overlays, settings, reversal):
    # A head that shows backwards cannot tell the classes of "time" apart, so the two must go together.
    training = workflow(store, tmp_path, *overlays, CPU, **settings)
    training.initialize()
    assert training.parser.get_parsed_content("network").order.symmetric is (reversal == "shown")
    assert training.parser.get_parsed_content("train#dataset").order_reversal == reversal
    assert training.parser.get_parsed_content("settings")["order_reversal"] == reversal


def test_the_weights_of_a_run_start_another(store, tmp_path):
    first = workflow(store, tmp_path / "first", CPU, max_epochs=1)
    first.initialize()
    first.run()
    second = workflow(store, tmp_path / "second", CPU, initialisation=str(tmp_path / "first/model.pt"))
    second.initialize()
    loaded = second.parser.get_parsed_content("network").video_stream.state_dict()
    trained = torch.load(tmp_path / "first/model.pt", weights_only=True)
    assert all(torch.equal(value, trained[f"video_stream.{name}"]) for name, value in loaded.items())


def test_the_same_seed_gives_the_same_weights(store, tmp_path):
    for name in ("one", "two"):
        training = workflow(store, tmp_path / name, CPU)
        training.initialize()
        training.run()
    one, two = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_accumulation_reaches_the_end_and_resumes(store, tmp_path):
    for max_epochs in (1, 2):
        training = workflow(store, tmp_path, accumulation_steps=2, max_epochs=max_epochs, **small())
        training.initialize()
        training.run()
    assert [line["epoch"] for line in epochs(tmp_path)] == [1, 2]


def small() -> dict:
    return {"network_def#backbone": "se_resnext_small", "num_workers": 0}


def run(arguments: list[str], **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        arguments, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, **options
    )


@pytest.mark.slow
def test_a_mistyped_option_ends_before_any_work(store, tmp_path):
    done = run(command(store, tmp_path / "run", CPU, batchsize=4))
    assert done.returncode != 0
    assert 'no "batchsize". Did you mean "batch_size"?' in done.stderr
    assert not (tmp_path / "run" / "history.jsonl").exists()


@pytest.mark.slow
def test_a_run_killed_by_the_system_ends_as_one_that_was_not(store, tmp_path):
    settings = {"max_epochs": 6, "save_every": 1}
    assert run(command(store, tmp_path / "whole", CPU, **settings)).returncode == 0
    arguments = command(store, tmp_path / "killed", CPU, **settings)
    process = subprocess.Popen(
        arguments, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=-3, stderr=-3
    )
    deadline = time.monotonic() + 200
    while not (tmp_path / "killed/run_state.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/model.pt").exists(), "the run ended before it could be killed"
    resumed = run(arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming from" in resumed.stdout + resumed.stderr
    whole, killed = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert epochs(tmp_path / "whole") == epochs(tmp_path / "killed")


@pytest.mark.slow
def test_a_refused_resume_is_one_line_and_changes_nothing(store, tmp_path):
    assert run(command(store, tmp_path, CPU, max_epochs=1)).returncode == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = run(command(store, tmp_path, CPU, max_epochs=1, batch_size=6))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'run_state.pt'}: the run there was made with")
    assert "Traceback" not in done.stderr
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, b"not weights"])
def test_an_initialisation_that_cannot_be_used_is_one_line(store, tmp_path, content):
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    done = run(command(store, tmp_path / "run", CPU, initialisation=path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: initialisation: ")
    assert "weights.pt" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes_train_on_the_batches_of_one(store, tmp_path):
    done = run(command(store, tmp_path, CPU, MULTI_GPU, launcher=TWO_PROCESSES, num_workers=0))
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / "run_state.pt", weights_only=True)
    assert len(state["random"]) == 2
    clips = 3 * 8
    assert state["progress"]["epoch_length"] == clips // TINY["batch_size"]
    # The weights are those of the plain network, without the wrapper's prefix.
    assert load_initialisation(VideoSpeechNet(backbone="se_resnext_small"), str(tmp_path / "model.pt")).missing == ()


@pytest.mark.parametrize("changed", [{"loss#contrastive#temperature": 0.5}, {"optimizer#weight_decay": 0.1}])
def test_another_form_of_the_loss_or_optimiser_is_not_a_resume(store, tmp_path, changed):
    for settings in ({"max_epochs": 1}, {"max_epochs": 1, **changed}):
        training = workflow(store, tmp_path, **small(), **settings)
        training.initialize()
        if settings == {"max_epochs": 1}:
            training.run()
    # MONAI wraps what the making of a component raises.
    with pytest.raises(RuntimeError) as raised:
        training.parser.get_parsed_content("train#trainer")
    assert isinstance(raised.value.__cause__, InputError)
    assert f"other settings: {next(iter(changed)).rpartition('#')[2]} was" in str(raised.value.__cause__)


def test_the_log_of_a_run_has_the_affinity_figures(store, tmp_path, caplog):
    training = workflow(store, tmp_path, CPU, max_epochs=1)
    training.initialize()
    with caplog.at_level("INFO"):
        training.run()
    assert "share_high_affinity" in caplog.text
    assert 0 < epochs(tmp_path)[0]["high_affinity"] <= 1


def test_mixed_precision_follows_the_device(store, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device, amp in (("cpu", False), ("cuda:0", True)):
        training = workflow(store, tmp_path, CPU, device=device)
        assert training.parser.get_parsed_content("amp") is amp
