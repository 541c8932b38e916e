# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ast
import json
import os
import stat
import time
from pathlib import Path

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.label.server_folder import ServerFolder, make_server_folder


@pytest.fixture
def folder(tmp_path: Path) -> ServerFolder:
    return ServerFolder.create(tmp_path / "app", {"studies": str(tmp_path)})


def test_the_folder_is_its_owners_alone(folder):
    for path in (
        folder.path,
        folder.models,
        folder.uploads,
        folder.sessions,
        folder.history,
        folder.scores,
        folder.logs,
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_main_imports_the_app_and_nothing_else(folder):
    (statement,) = ast.parse((folder.path / "main.py").read_text()).body
    assert isinstance(statement, ast.ImportFrom) and statement.module == "monai_usspeech.label.app"
    assert [name.name for name in statement.names] == ["UltrasoundLabelApp"]


def test_what_was_trained_here_goes_before_what_was_given(tmp_path):
    models = {"standard_plane": "/given/model.pt"}
    made = ServerFolder.create(tmp_path / "app", {"studies": str(tmp_path), "models": models, "pretrained": "/p.pt"})
    assert str(made.weights("standard_plane")) == "/given/model.pt" and str(made.pretrained) == "/p.pt"
    assert made.weights("gaze_saliency") is None
    made.trained("standard_plane").write_bytes(b"w")
    assert made.weights("standard_plane") == made.trained("standard_plane") == made.models / "standard_plane.pt"


def test_settings_come_back(folder, tmp_path):
    settings = {
        "studies": str(tmp_path),
        "models": {"gaze_saliency": "/w/model.pt"},
        "fan_crop": [1, 2, 30, 40],
        "fps": 25,
    }
    made = ServerFolder.create(folder.path, settings)
    read = ServerFolder.read(str(folder.path)).settings
    assert read == made.settings
    assert read["models"] == {"standard_plane": None, "gaze_saliency": "/w/model.pt"}
    assert (read["fan_crop"], read["fps"], read["strategy"], read["frame_rate"]) == (
        [1, 2, 30, 40],
        25,
        "uncertainty_diversity",
        10.0,
    )


def test_starting_again_keeps_what_is_there(folder, tmp_path):
    kept = [folder.models / "standard_plane.pt", folder.scores / "a.json", folder.history / "b.json"]
    for file in kept:
        file.write_text("x")
    ServerFolder.create(folder.path, {"studies": str(tmp_path), "strategy": "random"})
    assert all(file.read_text() == "x" for file in kept)
    assert ServerFolder.read(folder.path).settings["strategy"] == "random"


@pytest.mark.parametrize(
    "change, said",
    [
        ({"schema": 2}, "schema"),
        ({"studies": "relative"}, "studies"),
        ({"models": {"plane": None}}, "models"),
        ({"models": {"standard_plane": "relative"}}, "models"),
        ({"pretrained": 3}, "pretrained"),
        ({"fan_crop": [1, 2, 3]}, "fan_crop"),
        ({"frame_rate": 0}, "frame_rate"),
        ({"fps": "25"}, "fps"),
        ({"strategy": "best"}, "strategy"),
        ({"max_upload_mb": 0}, "max_upload_mb"),
        ({"frame_rates": 3}, 'Did you mean "frame_rate"'),
    ],
)
def test_a_wrong_setting_is_named(folder, change, said):
    place = folder.path / "server.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    with pytest.raises(InputError, match="server.json") as error:
        ServerFolder.read(folder.path)
    assert said in str(error.value)


def test_a_missing_setting_is_named(folder):
    place = folder.path / "server.json"
    content = json.loads(place.read_text())
    del content["strategy"]
    place.write_text(json.dumps(content))
    with pytest.raises(InputError, match='"strategy" is missing'):
        ServerFolder.read(folder.path)


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_damaged_file_is_named(folder, text):
    (folder.path / "server.json").write_text(text)
    with pytest.raises(InputError, match="server.json"):
        ServerFolder.read(folder.path)


def test_a_folder_without_a_server_is_said(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        ServerFolder.read(tmp_path)


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    with pytest.raises(InputError, match="holds other files"):
        make_server_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == before and os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_in_its_place_is_said(tmp_path):
    (tmp_path / "app").write_text("x")
    with pytest.raises(InputError, match="--app"):
        make_server_folder(tmp_path / "app")


def test_what_a_killed_server_left_is_removed(folder):
    (folder.uploads / "tmpx.mp4").write_text("x")
    (folder.uploads / "tmpy").mkdir()
    (folder.uploads / "tmpy" / "a.png").write_text("x")
    outside = folder.path.parent / "outside.mp4"
    outside.write_text("x")
    (folder.uploads / "link").symlink_to(outside)
    for name, image in {
        "whole": "clip.mp4", "gone": "gone.mp4", "bad": None, "away": str(outside), "empty": None
    }.items():  # fmt: skip
        session = folder.sessions / name
        session.mkdir()
        if name == "bad":
            (session / "meta.info").write_text("{")
        elif image:
            (session / "meta.info").write_text(json.dumps({"image": str(session / image)}))
    (folder.sessions / "whole" / "clip.mp4").write_text("x")
    folder.tidy()
    assert list(folder.uploads.iterdir()) == []
    assert [entry.name for entry in folder.sessions.iterdir()] == ["whole"]
    assert outside.read_text() == "x"


def test_uploads_that_failed_do_not_stay(folder):
    for name, age in {"old.mp4": 7200, "new.mp4": 10}.items():
        (folder.uploads / name).write_text("x")
        os.utime(folder.uploads / name, (time.time() - age,) * 2)
    folder.remove_old_uploads(3600)
    assert [file.name for file in folder.uploads.iterdir()] == ["new.mp4"]
