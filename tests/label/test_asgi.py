# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel")

from PIL import Image

from monai_usspeech.data.files import InputError
from monai_usspeech.label import asgi
from monai_usspeech.label.guard import Guard
from monai_usspeech.label.guard_access import GuardSettings
from monai_usspeech.label.selection import STRATEGIES
from monai_usspeech.label.server_folder import ServerFolder
from tests.label.asgi_client import call_app, form

LABEL = json.dumps({"schema": 1, "clip": {"class": "femur"}}).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ServerFolder:
    root = tmp_path_factory.mktemp("asgi")
    (root / "studies").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "studies" / f"{name}.png")
    (root / "secret.png").write_bytes((root / "studies" / "a.png").read_bytes())
    return ServerFolder.create(root / "app", {"studies": str(root / "studies")})


@pytest.fixture(scope="module")
def app(folder: ServerFolder) -> Iterator[Guard]:
    from monailabel.config import settings
    from monailabel.interfaces.utils.app import clear_cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "MONAI_LABEL_APP_DIR", str(folder.path))
        patch.setattr(settings, "MONAI_LABEL_STUDIES", folder.settings["studies"])
        patch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(folder.sessions))
        patch.setattr(settings, "MONAI_LABEL_AUTO_UPDATE_SCORING", False)
        patch.setattr(tempfile, "tempdir", str(folder.uploads))
        patch.chdir(folder.work)
        yield asgi.create_app(folder, GuardSettings(max_upload_mb=1))
        clear_cache()


def studies(folder: ServerFolder) -> Path:
    return Path(folder.settings["studies"])


def everything(folder: ServerFolder) -> set[Path]:
    return set(folder.path.parent.rglob("*"))


def test_monai_label_answers_through_the_guard(app):
    answer = call_app(app, "GET", "/info/")
    assert answer.status == 200 and answer.json["name"] == "monai_usspeech"
    assert answer.headers["cache-control"] == "no-store"
    assert call_app(app, "GET", "/datastore/", "output=all").json["objects"].keys() >= {"a", "b"}
    assert call_app(app, "GET", "/").status == 200 and call_app(app, "GET", "/openapi.json").status == 200


def test_slashes_are_redirected(app):
    answer = call_app(app, "GET", "/info")
    assert answer.status == 307 and answer.headers["location"] == "http://127.0.0.1:8000/info/"


@pytest.mark.parametrize(
    "method, path, query",
    [
        ("GET", "/datastore/image", "image=nowhere"),
        ("HEAD", "/datastore/image", "image=nowhere"),
        ("GET", "/datastore/image/info", "image=nowhere"),
        ("DELETE", "/datastore/image", "id=nowhere"),
        ("GET", "/datastore/label", "label=b&tag=final"),
        ("DELETE", "/datastore/label", "id=b&tag=final"),
        ("GET", "/datastore/label/info", "label=nowhere&tag=final"),
        ("GET", "/session/3c2f1f0e-e7b1-11ee-a0c5-0242ac120002", ""),
        ("GET", "/train/", ""),
    ],
)
def test_what_is_not_there_is_said_with_404(app, method, path, query):
    answer = call_app(app, method, path, query)
    assert answer.status == 404 and isinstance(answer.detail, str)


@pytest.mark.parametrize(
    "path, query, said",
    [
        ("/activelearning/nowhere", "", "nowhere"),
        ("/infer/nowhere", "image=a", "nowhere"),
        ("/infer/standard_plane", "image=nowhere", "no such clip"),
        ("/infer/standard_plane", "image=", "Neither Image"),
    ],
)
def test_what_cannot_be_done_is_said_with_400(app, path, query, said):
    sent = form({"params": "{}"}) if path.startswith("/infer") else {}
    answer = call_app(app, "POST", path, query, **sent)
    assert answer.status == 400 and said in answer.detail


@pytest.mark.parametrize(
    "params", ["[]", "{", '{"x": NaN}', "null", '{"x": 1, "x": 2}', '{"x": "' + "y" * 70000 + '"}']
)
def test_fields_of_forms_are_json_objects(app, folder, params):
    asked = [
        ("PUT", "/datastore/label", "image=b", form({"params": params}, {"label": ("l.json", LABEL)})),
        ("PUT", "/datastore/image", "image=new", form({"params": params}, {"file": ("x.png", b"x")})),
        ("PUT", "/datastore/image/info", "image=a", form({"info": params})),
        ("POST", "/infer/standard_plane", "image=a", form({"params": params})),
    ]
    for method, path, query, sent in asked:
        answer = call_app(app, method, path, query, **sent)
        assert answer.status == 400 and answer.detail.startswith("params, info: "), (path, answer.body)


def test_no_parameter_of_an_inference_is_a_path(app, folder):
    secret = folder.path.parent / "secret.png"
    for image in (str(secret), "../secret.png", "main.py"):
        answer = call_app(
            app, "POST", "/infer/standard_plane", "image=a", **form({"params": json.dumps({"image": image})})
        )
        assert answer.status == 400, answer.body


@pytest.mark.parametrize(
    "params, said",
    [
        ({"device": "toaster"}, "device: "),
        ({"device": 3}, "device: "),
        ({"device": [3]}, "device: "),
        ({"logging": "loud"}, "logging: "),
        ({"logging": 3}, "logging: "),
        ({"model": 3}, "model: "),
        ({"model": ["standard_plane"]}, "model: "),
        ({"image": "a\0b"}, "no such clip"),
        ({"image": 3}, "no such clip"),
    ],
)
def test_parameters_that_cannot_be_used_are_said(app, params, said):
    answer = call_app(app, "POST", "/infer/standard_plane", "image=a", **form({"params": json.dumps(params)}))
    assert answer.status == 400 and said in answer.detail


def test_a_form_that_lacks_its_file_is_said(app):
    for path, name in (("/datastore/label", "label"), ("/datastore/image", "file")):
        answer = call_app(app, "PUT", path, "image=b", **form({"params": "{}"}))
        assert answer.status == 422 and answer.detail == f"{name}: field required."


def test_an_answer_without_a_file_is_not_sent_as_one(app, monkeypatch):
    from monailabel.interfaces.utils.app import app_instance

    none = {"label": None, "tag": "original", "file": None, "params": {"prediction": []}}
    monkeypatch.setattr(app_instance(), "infer", lambda request: none)
    sent = form({"params": "{}"})
    answer = call_app(app, "POST", "/infer/standard_plane", "image=a&output=image", **sent)
    assert answer.status == 400 and answer.detail.startswith("output: there is no file")
    for output in ("json", "all"):
        answer = call_app(app, "POST", "/infer/standard_plane", f"image=a&output={output}", **sent)
        assert answer.status == 200 and answer.json == none["params"]


def test_one_clip_does_not_end_a_batch_and_its_answers_are_short(app, monkeypatch, capsys):
    from monailabel.interfaces.utils.app import app_instance

    label = app_instance()

    def infer(request, datastore=None):
        if request["image"] == "a":
            raise InputError("a: no fan")
        return {"file": None, "params": {"timeline": [0] * 1000}}

    monkeypatch.setattr(label, "infer", infer)
    asked = {"model": "standard_plane", "images": ["a", "b"], "max_workers": 1, "device": "cpu", "logging": "WARNING"}
    result = label.batch_infer(asked)
    assert result["a"] == {"done": False, "problem": "a: no fan"} and result["b"]["done"]
    assert len(json.dumps(result)) < 200 and "left out a: a: no fan" in capsys.readouterr().out


def test_the_servers_strategy_is_the_first_that_clients_are_offered(app, monkeypatch):
    from monailabel.interfaces.utils.app import app_instance

    label = app_instance()
    for strategy in ("diversity", "mixed"):
        monkeypatch.setitem(label.folder.settings, "strategy", strategy)
        names = list(label.init_strategies())
        assert names[0] == strategy and set(names) == set(STRATEGIES)


def test_a_label_is_kept_and_read_back(app, folder):
    sent = form({"params": '{"client_id": "anna"}'}, {"label": ("l.json", LABEL)})
    answer = call_app(app, "PUT", "/datastore/label", "image=a", **sent)
    assert answer.status == 200 and answer.json["label"] == "a"
    read = call_app(app, "GET", "/datastore/label", "label=a&tag=final")
    assert read.json["revision"] == 1 and read.json["annotator"] == "anna"
    assert call_app(app, "HEAD", "/datastore/label", "image=a&tag=final").status == 200
    assert call_app(app, "DELETE", "/datastore/label", "id=a&tag=final").status == 200
    assert call_app(app, "GET", "/datastore/label", "label=a&tag=final").status == 404


@pytest.mark.parametrize("name, content", [("l.nrrd", b"NRRD"), ("l.json", b"{"), ("../../l.json", b"{}"), ("", LABEL)])
def test_a_label_that_is_none_leaves_nothing(app, folder, name, content):
    answer = call_app(app, "PUT", "/datastore/label", "image=b", **form({}, {"label": (name, content)}))
    assert answer.status in (400, 422)
    assert not (studies(folder) / "labels" / "final" / "b.json").exists()
    assert str(folder.path) not in answer.body.decode()


def test_a_clip_is_taken_in_and_removed(app, folder):
    content = (studies(folder) / "a.png").read_bytes()
    assert call_app(app, "PUT", "/datastore/image", "image=new", **form({}, {"file": ("x.png", content)})).status == 200
    got = call_app(app, "GET", "/datastore/image", "image=new")
    assert got.body == content and got.headers["content-type"] == "image/png"
    taken = call_app(app, "PUT", "/datastore/", "image=new", **form({}, {"file": ("x.png", content)}))
    assert taken.status == 400 and "already" in taken.detail
    assert call_app(app, "DELETE", "/datastore/image", "id=new").status == 200
    assert not (studies(folder) / "new.png").exists()


@pytest.mark.parametrize(
    "name, content", [("x.png", b"no"), ("x.py", b"x"), ("../../x.py", b"x"), ("x.mp4", b"#EXTM3U")]
)
def test_a_clip_that_is_none_leaves_nothing(app, folder, name, content):
    before = everything(folder)
    answer = call_app(app, "PUT", "/datastore/image", "image=bad", **form({}, {"file": (name, content)}))
    assert answer.status == 400
    assert everything(folder) == before


def test_too_large_a_clip_is_refused_while_it_comes(app, folder):
    before, sent = everything(folder), form({}, {"file": ("x.png", b"x" * (3 << 20))})
    chunks = [sent["body"][start : start + 65536] for start in range(0, len(sent["body"]), 65536)]
    answer = call_app(app, "PUT", "/datastore/image", "image=large", headers=sent["headers"], body=chunks)
    assert answer.status == 413 and "--max_upload_mb" in answer.detail
    assert everything(folder) == before


def test_a_session_lies_in_the_servers_folder(app, folder):
    content = (studies(folder) / "a.png").read_bytes()
    answer = call_app(app, "PUT", "/session/", **form({}, {"files": ("../../x.png", content)}))
    assert answer.status == 200
    session = answer.json["session_id"]
    assert (folder.sessions / session / "x.png").read_bytes() == content
    assert call_app(app, "GET", f"/session/{session}", "image=true").body == content
    assert call_app(app, "DELETE", f"/session/{session}").status == 200
    assert list(folder.sessions.iterdir()) == []


def test_what_goes_wrong_inside_is_told_without_its_text(app, monkeypatch, caplog):
    from monailabel.interfaces.utils.app import app_instance

    monkeypatch.setattr(app_instance(), "info", lambda: {}["secret"])
    with caplog.at_level(logging.ERROR):
        answer = call_app(app, "GET", "/info/")
    assert answer.status == 500 and answer.detail == "internal error; see the server's log"
    assert "KeyError" in caplog.text and "GET /info/ failed" in caplog.text


def test_tasks_end_with_the_server(monkeypatch):
    from monailabel.utils.async_tasks import utils

    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(utils, "background_processes", {"train": {"one": process}})
    monkeypatch.setattr(utils, "background_tasks", {"train": [{"id": "one", "status": "RUNNING"}]})
    monkeypatch.setattr(utils, "background_executors", {})
    asgi._stop_tasks()
    assert process.wait(10) != 0
    assert utils.background_tasks["train"][0]["status"] == "STOPPED"


def test_monai_label_that_cannot_be_imported_is_said(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "monailabel.app", None)
    with pytest.raises(InputError, match=r"install monai_usspeech\[label\]"):
        asgi.create_app(folder, GuardSettings())
