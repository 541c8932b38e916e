# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib.util
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import monai_usspeech
from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.engines.weights import write_weights
from monai_usspeech.label.command import argument_parser, label_environment, main
from monai_usspeech.label.server_folder import ServerFolder
from monai_usspeech.label.start_plan import bind_address, is_loopback, plan_start, read_token
from monai_usspeech.networks import FrameClassifier
from monai_usspeech.studies.lock import FolderLock


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("model") / "model.pt"
    settings = {"backbone": "se_resnext_small", "output_stride": 16, "size": 64, "frame_mean": 0.5, "frame_std": 0.25,
                "mode": "finetune", "standardise": "fixed"}  # fmt: skip
    network = FrameClassifier("se_resnext_small", num_classes=len(PLANES))
    write_weights(place, network.state_dict(), {"method": "random", "subjects": [], "settings": settings})
    return place


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / "a.png")
    return folder


def plan(studies: Path, *words: object):
    return plan_start(argument_parser().parse_args(["start", "--studies", str(studies), *map(str, words)]))


def test_what_is_asked_for_is_planned(studies, model, tmp_path):
    found = plan(studies, "--model", model, "--fan_crop", "[0, 1, 30, 31]", "--fps", 25, "--strategy", "random")
    assert found.clips == 1 and found.app == studies / ".monai_usspeech" and found.host == "127.0.0.1"
    settings = ServerFolder.create(tmp_path / "app", found.settings).settings  # which checks them
    assert settings["models"] == {"standard_plane": str(model), "gaze_saliency": None}
    assert (settings["fan_crop"], settings["fps"], settings["strategy"]) == ([0, 1, 30, 31], 25, "random")
    assert found.guard.token is None and not found.guard.any_address


def test_a_folder_that_trained_needs_no_model_any_more(studies):
    trained = studies / ".monai_usspeech" / "model"
    trained.mkdir(parents=True)
    (trained / "standard_plane.pt").write_text("x")
    assert plan(studies).settings["models"]["standard_plane"] is None


@pytest.mark.parametrize("words", [[], ["--gaze_model", "x"]])
def test_without_weights_there_is_nothing_to_serve(studies, words):
    with pytest.raises(InputError, match="--model CHECKPOINT or --pretrained CHECKPOINT"):
        plan(studies, *words)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--port", "70000"], "--port"),
        (["--host", "0.0.0.0"], "--token_file"),
        (["--host", "192.168.1.5"], "--token_file"),
        (["--host", "scanner.example"], "--token_file"),
        (["--token_file", "/not/there"], "--token_file"),
        (["--allow_origin", "viewer.example"], "--allow_origin"),
        (["--allow_origin", "https://viewer.example/path"], "--allow_origin"),
        (["--allow_origin", "*"], "--allow_origin"),
        (["--fan_crop", "yes"], "--fan_crop"),
        (["--fan_crop", "[3, 1, 2, 4]"], "--fan_crop"),
        (["--fan_crop", "[1, 2, 3]"], "--fan_crop"),
        (["--frame_rate", "0"], "--frame_rate"),
        (["--frame_rate", "nan"], "--frame_rate"),
        (["--fps", "-1"], "--fps"),
        (["--max_upload_mb", "0"], "--max_upload_mb"),
        (["--model", "/not/there.pt"], "/not/there.pt"),
        (["--pretrained", "/not/there.pt"], "/not/there.pt"),
    ],
)
def test_what_cannot_be_used_is_said(studies, model, words, said):
    given = [] if "--model" in words else ["--model", model]
    with pytest.raises(InputError) as error:
        plan(studies, *given, *words)
    assert said in str(error.value)


def test_a_model_for_something_else_is_said(studies, model):
    with pytest.raises(InputError, match="gaze_saliency"):
        plan(studies, "--model", model, "--gaze_model", model)


def test_weights_that_do_not_fit_are_said(studies, model, tmp_path):
    state = torch.load(model, weights_only=True)
    state.pop(next(iter(state)))
    torch.save(state, tmp_path / "model.pt")
    (tmp_path / "model.json").write_bytes(model.with_suffix(".json").read_bytes())
    with pytest.raises(InputError, match="model.pt"):
        plan(studies, "--model", tmp_path / "model.pt")


def test_a_folder_without_clips_says_what_clips_are(tmp_path, model):
    with pytest.raises(InputError, match="no such folder"):
        plan(tmp_path / "nowhere", "--model", model)
    with pytest.raises(InputError, match=".nii.gz"):
        plan(tmp_path, "--model", model)
    (tmp_path / "ü.mp4").write_text("x")
    with pytest.raises(InputError, match="Rename"):
        plan(tmp_path, "--model", model)


@pytest.mark.parametrize("app", [".", ".."])
def test_the_servers_folder_is_its_own(studies, model, app):
    with pytest.raises(InputError, match="--app"):
        plan(studies, "--model", model, "--app", studies / app)


def test_a_token_is_written_for_its_owner_alone(tmp_path, capsys):
    place = tmp_path / "token"
    main(["token", "--output", str(place)])
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    token = read_token(place)
    assert len(token) >= 32 and token not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is there already"):
        main(["token", "--output", str(place)])
    assert read_token(place) == token
    with pytest.raises(SystemExit, match="cannot be written"):
        main(["token", "--output", str(tmp_path / "no" / "token")])


def test_a_token_that_protects_nothing_is_refused(tmp_path):
    place = tmp_path / "token"
    for text in ("", "short", "two words of length", "x" * 15):
        place.write_text(text)
        place.chmod(0o600)
        with pytest.raises(InputError, match="no token"):
            read_token(place)
    place.write_text("x" * 32 + "\n")
    assert read_token(place) == "x" * 32
    place.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_token(place)


def test_others_may_ask_with_the_token(studies, model, tmp_path):
    main(["token", "--output", str(tmp_path / "token")])
    words = ["--model", model, "--token_file", tmp_path / "token", "--allow_origin", "https://Viewer.example"]
    guard = plan(studies, *words, "--host", "0.0.0.0", "--allow_host", "scanner.example").guard
    assert guard.token == read_token(tmp_path / "token")
    assert guard.any_address and guard.hosts == ("scanner.example",) and guard.origins == ("https://viewer.example",)
    assert plan(studies, *words, "--host", "fe80::1").guard.hosts == ("[fe80::1]",)


@pytest.mark.parametrize(
    "host, loopback",
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("localhost.example", False), ("", False)],
)  # fmt: skip
def test_what_this_computer_is(host, loopback):
    assert is_loopback(host) is loopback


def test_a_port_that_is_taken_is_said():
    with bind_address("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        first.listen()
        with pytest.raises(InputError, match=f"--port {port}: cannot be used"):
            bind_address("127.0.0.1", port)
    bind_address("127.0.0.1", port).close()
    with pytest.raises(InputError, match="--host"):
        bind_address("no.such.host.invalid", 8000)


def test_the_environment_is_that_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/mine")
    folder = ServerFolder.create(tmp_path / "app", {"studies": str(tmp_path)})
    found = label_environment(folder, 8123)
    assert found["MONAI_LABEL_APP_DIR"] == str(folder.path) and found["MONAI_LABEL_STUDIES"] == str(tmp_path)
    assert found["TMPDIR"] == str(folder.tasks) and found["MONAI_LABEL_SERVER_PORT"] == "8123"
    assert found["PYTHONPATH"].split(os.pathsep)[-1] == "/mine"
    code = "import importlib.util; print(importlib.util.find_spec('monai_usspeech').origin)"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **found}, cwd=folder.work, capture_output=True, text=True
    )
    assert run.stdout.strip() == monai_usspeech.__file__


def test_a_bundle_is_written_from_a_model(model, tmp_path, capsys):
    template = Path(monai_usspeech.__file__).parents[1] / "bundle"
    words = ["bundle", "--model", str(model), "--template", str(template), "--output"]
    main([*words, str(tmp_path / "my_classification")])
    assert (tmp_path / "my_classification" / "models" / "model.pt").read_bytes() == model.read_bytes()
    assert str(tmp_path / "my_classification") in capsys.readouterr().out
    with pytest.raises(SystemExit, match="exists already"):
        main([*words, str(tmp_path / "my_classification")])


@pytest.mark.skipif(importlib.util.find_spec("monailabel") is not None, reason="MONAI Label is installed here")
def test_without_monai_label_the_mend_is_said(studies, model):
    with pytest.raises(SystemExit, match=r"install monai_usspeech\[label\]"):
        main(["start", "--studies", str(studies), "--model", str(model)])
    assert not (studies / ".monai_usspeech").exists()


@pytest.mark.skipif(importlib.util.find_spec("monailabel") is None, reason="needs MONAI Label")
def test_one_server_to_a_folder_and_one_to_a_port(studies, model):
    app = studies / ".monai_usspeech"
    app.mkdir()
    words = ["start", "--studies", str(studies), "--model", str(model), "--port"]
    lock = FolderLock(app / "server.lock")
    with pytest.raises(SystemExit, match="a server works in this folder already"):
        main([*words, "0"])
    lock.release()
    assert not (app / "server.json").exists()
    clips = FolderLock(studies / ".monai_usspeech.server.lock")
    with pytest.raises(SystemExit, match="a server works in this folder already"):
        main([*words, "0", "--app", str(studies.parent / "other")])
    clips.release()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit, match="give another --port"):
            main([*words, str(taken.getsockname()[1])])
    assert not (app / "server.lock").exists()
