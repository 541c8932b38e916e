# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The whole of it: the server as a process, and everything that a client does, over HTTP."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import logging
import sys
import tarfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel")

import itk
from PIL import Image

from monai_usspeech.data.plane_names import PLANES
from tests.label.server_process import REPOSITORY, ServerProcess, make_models, make_studies

pytestmark = pytest.mark.slow

KINDS = ("cine_avi", "cine_nifti", "cine_dicom", "still")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("label")
    make_studies(root / "studies")
    (root / "secret.txt").write_text("outside")
    make_models(root / "models")
    return root


def options(place: Path) -> list[str]:
    models = place / "models"
    return [
        *("--model", str(REPOSITORY / "bundle"), "--gaze_model", str(models / "gaze.pt")),
        *("--pretrained", str(models / "pretrained.pt"), "--frame_rate", "5"),
    ]


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[ServerProcess]:
    with ServerProcess(place / "studies", options(place)) as running:
        running.wait_for("scoring")  # what it does by itself at the start
        yield running


def clips(server: ServerProcess) -> list[str]:
    return sorted(server.request("GET", "/datastore/?output=all").json()["objects"])


def scans(server: ServerProcess) -> list[str]:
    return [name for name in clips(server) if name not in KINDS]


def infer(server: ServerProcess, model: str, name: str, output: str = "json", **params: object):
    form = {"params": json.dumps(params)}
    return server.request("POST", f"/infer/{model}?image={name}&output={output}", data=form)


def volume(content: bytes, place: Path) -> itk.Image:
    file = place / "answer.nrrd"
    file.write_bytes(content)
    return itk.imread(file)


def test_info_names_what_there_is(server):
    info = server.request("GET", "/info/").json()
    assert set(info["models"]) == {"standard_plane", "gaze_saliency", "gaze_levels"}
    assert info["models"]["standard_plane"]["type"] == "classification"
    assert info["models"]["standard_plane"]["labels"] == {name: number for number, name in enumerate(PLANES)}
    assert set(info["strategies"]) >= {"uncertainty_diversity", "mixed", "random", "first"}
    assert "standard_plane" in info["trainers"] and "clips" in info["scoring"]


@pytest.mark.parametrize("name", KINDS)
def test_planes_of_every_kind_of_file(server, name):
    answer = infer(server, "standard_plane", name)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [one["label"] for one in found["prediction"]] == list(PLANES)
    assert sum(one["score"] for one in found["prediction"]) == pytest.approx(1, abs=1e-2)
    # 20 frames at 10 a second, of which every other is looked at; a still has one
    assert found["timeline"]["frame"] == ([0] if name == "still" else list(range(0, 20, 2)))


def test_files_of_one_clip_get_one_answer(server):
    answers = {name: infer(server, "standard_plane", name).json() for name in ("cine_nifti", "cine_dicom")}
    scores = [np.array(one["timeline"]["probabilities"]) for one in answers.values()]
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-3)


def test_a_clip_comes_with_a_picture_of_its_timeline(server):
    answer = infer(server, "standard_plane", "cine_avi", "image")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).width > 400


def test_gaze_is_a_float_volume_over_the_clip(server, place):
    read = volume(infer(server, "gaze_saliency", "cine_nifti", "image").content, place)
    values = itk.array_from_image(read)
    assert values.dtype == np.float32 and values.shape == (10, 128, 128)
    assert list(read.GetSpacing()) == pytest.approx([0.5, 0.5, 2.0])  # every other frame of the clip
    assert values.min() >= 0 and values.max() > 1
    answer = infer(server, "gaze_saliency", "cine_nifti").json()
    x, y = answer["peaks"][0]
    assert values[0, int(y * 128), int(x * 128)] == pytest.approx(values[0].max(), rel=1e-3)


def test_gaze_is_also_nested_segments(server, place):
    levels = itk.array_from_image(volume(infer(server, "gaze_levels", "cine_dicom", "image").content, place))
    values = itk.array_from_image(volume(infer(server, "gaze_saliency", "cine_dicom", "image").content, place))
    assert levels.dtype == np.uint8 and set(np.unique(levels)) == {0, 1, 2, 3}
    for level, share in ((3, 0.25), (2, 0.5), (1, 0.75)):
        held = (values * (levels >= level)).sum((1, 2)) / values.sum((1, 2))
        assert held == pytest.approx(share, abs=0.06)  # the map's pixels are not the picture's


def test_the_stock_cvat_handler_gets_a_plane_and_outlines(server, place, monkeypatch):
    handler = Path(sys.prefix) / "monailabel" / "plugins" / "cvat" / "detector.py"
    spec = importlib.util.spec_from_file_location("cvat_detector", handler)
    detector = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(detector)
    monkeypatch.setenv("MONAI_LABEL_SERVER", server.url)
    body = {"image": base64.b64encode((place / "studies" / "still.png").read_bytes())}
    found = {}
    for model in ("standard_plane", "gaze_levels"):
        monkeypatch.setenv("MONAI_LABEL_MODEL", model)
        context = Namespace(logger=logging.getLogger("cvat"), user_data=Namespace(), Response=lambda **said: said)
        detector.init_context(context)
        answer = detector.handler(context, Namespace(body=body))
        assert answer["status_code"] == 200
        found[model] = json.loads(answer["body"])
    (plane,) = found["standard_plane"]
    assert plane["label"] in PLANES and plane["points"] == [0, 0, 127, 127]
    assert {one["label"] for one in found["gaze_levels"]} == {"gaze 75%", "gaze 50%", "gaze 25%"}
    assert all(one["type"] == "polygon" and len(one["points"]) >= 6 for one in found["gaze_levels"])


@pytest.mark.parametrize("strategy", ["uncertainty_diversity", "mixed", "random", "first"])
def test_the_next_clip_is_an_unlabelled_one(server, strategy):
    answer = server.request("POST", f"/activelearning/{strategy}", json={}).json()
    assert answer["id"] in clips(server)
    assert answer["strategy"] == strategy and answer["why"]


def test_scores_know_which_clips_have_speech(server, place):
    kept = {file.stem: json.loads(file.read_text()) for file in _scores(place).glob("*.json") if file.stem != "served"}
    assert set(kept) == set(clips(server))
    assert any(kept[name]["affinity"] is not None for name in scans(server))
    for name in KINDS:
        assert kept[name]["affinity"] is None and kept[name]["why"]
    assert server.request("POST", "/scoring/clips", json={}).status_code == 200  # it ends while others are tested


def _scores(place: Path) -> Path:
    return place / "studies" / ".monai_usspeech" / "scores"


def label(server: ServerProcess, name: str, plane: str, tag: str = "final"):
    content = json.dumps({"schema": 1, "clip": {"class": plane}, "frames": [{"frame": 2, "class": "background"}]})
    files = {"label": ("label.json", content, "application/json")}
    return server.request("PUT", f"/datastore/label?image={name}&tag={tag}", files=files, data={"params": "{}"})


def test_labels_are_kept_with_their_history(server, place):
    first = scans(server)[0]
    for revision, plane in enumerate(("femur", "lips"), start=1):
        assert label(server, first, plane).status_code == 200
        kept = json.loads((place / "studies" / "labels" / "final" / f"{first}.json").read_text())
        assert kept["clip"]["class"] == plane and kept["revision"] == revision
    old = list((place / "studies" / ".monai_usspeech" / "history" / first).iterdir())
    assert [json.loads(file.read_text())["clip"]["class"] for file in old] == ["femur"]
    answer = server.request("GET", f"/datastore/label?label={first}&tag=final")
    assert answer.json()["clip"]["class"] == "lips"


@pytest.mark.parametrize(
    "content, said",
    [('{"schema": 1, "clip": {"class": "femr"}}', "femur"), ("{", "JSON"), ('{"schema": 9}', "schema")],
)
def test_a_label_that_is_none_is_refused_in_a_sentence(server, content, said):
    name = scans(server)[1]
    files = {"label": ("label.json", content, "application/json")}
    answer = server.request("PUT", f"/datastore/label?image={name}", files=files, data={"params": "{}"})
    assert answer.status_code == 400 and said in answer.json()["detail"]


def test_training_teaches_and_the_running_server_uses_it(server, place):
    names = scans(server)
    for name, plane in zip(names, ("femur", "lips", "femur", "lips")):
        assert label(server, name, plane).status_code == 200
    before = infer(server, "standard_plane", names[0]).json()["prediction"]
    answer = server.request("POST", "/train/standard_plane", json={"max_epochs": 2, "mode": "probe", "device": "cpu"})
    assert answer.status_code == 200, answer.text
    assert server.request("POST", "/batch/infer/standard_plane", json={"device": "cpu"}).status_code == 200
    task = server.wait_for("train")
    assert task["status"] == "DONE", "\n".join(task["details"])
    assert any("epoch 2/2" in line for line in task["details"])
    assert infer(server, "standard_plane", names[0]).json()["prediction"] != before
    assert server.wait_for("scoring")["status"] == "DONE"
    stats = server.request("GET", "/info/").json()["train_stats"]["standard_plane"]
    assert stats and "femur" in json.dumps(stats)


def test_batch_inference_drafts_labels(server):
    # it was started beside the training, since each of these processes spends most of its time importing
    assert server.wait_for("batch/infer")["status"] == "DONE"
    draft = server.request("GET", "/datastore/label?label=still&tag=original").json()
    assert draft["clip"]["class"] in PLANES and len(draft["frames"]) == 1


def test_a_session_serves_a_clip_that_is_not_in_the_folder(server, place):
    with open(place / "studies" / "cine_avi.avi", "rb") as file:
        answer = server.request("PUT", "/session/", files={"files": ("mine.avi", file)})
    session = answer.json()["session_id"]
    found = server.request("POST", f"/infer/standard_plane?session_id={session}&output=json")
    assert found.status_code == 200 and len(found.json()["timeline"]["frame"]) == 10
    assert server.request("DELETE", f"/session/{session}").status_code == 200
    playlist = f"ffconcat version 1.0\nfile {place}/studies/cine_avi.avi\n".encode()
    answer = server.request("POST", "/infer/standard_plane", files={"file": ("list.mp4", playlist)})
    assert answer.status_code == 400 and "not what its ending" in answer.json()["detail"]


def test_an_uploaded_clip_is_there_at_once(server, place):
    content = (place / "studies" / "still.png").read_bytes()
    path = "/datastore/image?image=uploaded"
    assert server.request("PUT", path, files={"file": ("x.png", content)}).status_code == 200
    assert infer(server, "standard_plane", "uploaded").status_code == 200
    assert server.request("PUT", path, files={"file": ("x.png", content)}).status_code == 400  # taken
    assert server.request("DELETE", "/datastore/image?id=uploaded").status_code == 200
    assert server.request("PUT", "/datastore/image?image=bad", files={"file": ("x.png", b"no")}).status_code == 400
    assert "bad" not in clips(server)


def archive(target: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        member = tarfile.TarInfo(str(target))
        member.size = 4
        file.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


def test_no_path_leaves_the_folder(server, place):
    def files_now() -> set[str]:
        return {str(file) for file in place.rglob("*") if file.suffix != ".log"}

    secret, before = place / "secret.txt", files_now()
    png = (place / "studies" / "still.png").read_bytes()
    content = json.dumps({"schema": 1, "clip": {"class": "femur"}, "frames": []})
    image, kept = {"file": ("x.png", png)}, {"label": ("l.json", content)}
    name = scans(server)[0]
    asked = [
        server.request("PUT", "/datastore/image?image=../x", files=image),
        server.request("PUT", "/datastore/image?image=..%2Fx", files=image),
        server.request("PUT", "/datastore/image", files={"file": ("../x.png", png)}),
        server.request("PUT", "/datastore/image?image=x", files={"file": ("x.py", b"print()")}),
        server.request("DELETE", "/datastore/image?id=../secret"),
        server.request("PUT", f"/datastore/label?image={name}&tag=../../../x", files=kept),
        server.request("PUT", "/datastore/label?image=../x", files=kept),
        server.request("DELETE", f"/datastore/label?id={name}&tag=..%2f.."),
        server.request("GET", "/datastore/image?image=../secret"),
        server.request("POST", f"/infer/standard_plane?image={secret}"),
        infer(server, "standard_plane", "still", image=str(secret)),
        server.request("POST", f"/infer/standard_plane?image=&session_id=..%2F..%2F{secret.name}"),
        server.request("PUT", "/session/?uncompress=true", files={"files": ("x.tar", archive(place / "out.txt"))}),
        server.request("POST", "/train/standard_plane", json={"bundle_path": str(place)}),
        server.request("POST", "/batch/infer/standard_plane", json={"images": [str(secret)]}),
        server.request("POST", "/reload"),
        server.request("GET", "/logs/"),
        server.request("GET", "/datastore/dataset"),
        server.request("PUT", "/model/standard_plane", files={"file": ("m.pt", b"x")}),
        server.request("GET", "/proxy/dicom/qido/x"),
    ]
    refused = [answer.status_code for answer in asked]
    assert all(400 <= status < 500 for status in refused), refused
    assert all("outside" not in answer.text for answer in asked)
    new = {file for file in files_now() - before if "/uploads/" not in file and "/sessions/" not in file}
    assert not new, new


def test_other_sites_cannot_use_the_browser_of_somebody_who_labels(server):
    assert server.request("GET", "/info/", headers={"Origin": "http://evil.example"}).status_code == 403
    assert server.request("GET", "/info/", headers={"Host": "evil.example"}).status_code == 400


def test_all_is_still_there_after_a_restart(place, server):
    before = server.request("GET", "/datastore/?output=all").json()["objects"]
    answers = infer(server, "standard_plane", scans(server)[0]).json()["prediction"]
    server.__exit__()
    with ServerProcess(place / "studies", options(place)) as again:
        after = again.request("GET", "/datastore/?output=all").json()["objects"]
        assert {name: set(one["labels"]) for name, one in after.items()} == {
            name: set(one["labels"]) for name, one in before.items()
        }
        assert infer(again, "standard_plane", scans(again)[0]).json()["prediction"] == answers
        chosen = again.request("POST", "/activelearning/mixed", json={}).json()
        assert chosen["id"] not in scans(again)  # all of those have labels
        assert chosen["uncertainty"] is not None
