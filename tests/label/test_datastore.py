# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel")

from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelException,
)
from PIL import Image

from monai_usspeech.data.files import InputError
from monai_usspeech.label.datastore import UltrasoundDatastore
from monai_usspeech.label.server_folder import ServerFolder

LABEL = json.dumps({"schema": 1, "clip": {"class": "femur"}})


def picture(path: Path) -> Path:
    Image.fromarray(np.arange(32 * 32, dtype=np.uint32).reshape(32, 32).astype(np.uint8)).save(path)
    return path


class Place:
    """A studies folder with three clips, its server's folder, and stores on them."""

    def __init__(self, root: Path) -> None:
        self.root, self.studies = root, root / "studies"
        self.studies.mkdir()
        for name in ("a.png", "b.PNG", "c.jpg"):
            picture(self.studies / name)
        self.folder = ServerFolder.create(root / "app", {"studies": str(self.studies)})

    def open(self) -> UltrasoundDatastore:
        return UltrasoundDatastore(str(self.studies), self.folder)

    def upload(self, name: str, content: str | bytes | None = None) -> Path:
        place = self.folder.uploads / name
        if content is None:
            return picture(place)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        return place

    def label(self, plane: str = "femur", **more: object) -> Path:
        return self.upload("tmpx.json", json.dumps({"schema": 1, "clip": {"class": plane}, **more}))

    def files(self) -> set[str]:
        return {str(file.relative_to(self.root)) for file in self.root.rglob("*") if file.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_clips_are_listed_whatever_the_case_of_their_endings(place):
    store = place.open()
    assert store.list_images() == ["a", "b", "c"]
    assert store.get_image_uri("b") == os.path.realpath(place.studies / "b.PNG")
    assert store.status() == {"total": 3, "completed": 0, "label_tags": {}}


def test_files_come_and_go_while_the_server_runs(place):
    store = place.open()
    for step in range(3):  # also in quick succession
        picture(place.studies / f"new{step}.png")
        assert f"new{step}" in store.list_images()
        (place.studies / f"new{step}.png").unlink()
        assert f"new{step}" not in store.json()["objects"]
    assert store.get_unlabeled_images() == ["a", "b", "c"]


def test_a_folder_that_rests_is_not_read_again(place, monkeypatch):
    old = time.time() - 100
    store = place.open()
    for folder in (place.studies, place.studies / "labels" / "final", place.studies / "labels" / "original"):
        os.utime(folder, (old, old))
    store.list_images()
    monkeypatch.setattr(store, "refresh", lambda: pytest.fail("read again"))
    for _ in range(3):
        assert store.list_images() == ["a", "b", "c"]


def test_what_cannot_be_a_clip_is_told_once(place, caplog):
    outside = picture(place.root / "secret.png")
    (place.studies / "out.png").symlink_to(outside)
    picture(place.studies / "a.jpg")
    store = place.open()
    store.refresh()
    assert store.list_images() == ["a", "b", "c"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2 and "out.png" in told[0] + told[1]


def test_labels_are_kept_over_a_restart(place):
    store = place.open()
    source = place.label(frames=[{"frame": 0, "class": "lips"}])
    assert store.save_label("a", str(source), "final", {"client_id": "anna", "label_info": [{"name": "x"}]}) == "a"
    assert not source.exists()
    again = place.open()
    assert again.get_labeled_images() == ["a"] and again.get_unlabeled_images() == ["b", "c"]
    assert again.get_label_info("a", "final")["client_id"] == "anna"
    written = json.loads(Path(again.get_label_uri("a", "final")).read_text())
    assert (written["revision"], written["annotator"], written["clip"]["class"]) == (1, "anna", "femur")
    assert again.datalist() == [
        {"image": str(place.studies / "a.png"), "label": str(place.studies / "labels" / "final" / "a.json")}
    ]


def test_labels_have_a_history(place):
    store = place.open()
    for plane in ("femur", "lips"):
        store.save_label("a", str(place.label(plane)), DefaultLabelTag.FINAL, {})
    assert store.get_label_info("a", "final")["revision"] == 2
    kept = place.folder.history / "a"
    assert [json.loads(file.read_text())["clip"]["class"] for file in kept.iterdir()] == ["femur"]
    store.remove_label("a", "final")
    assert store.get_labeled_images() == [] and len(list(kept.iterdir())) == 2
    with pytest.raises(LabelNotFoundException):
        store.get_label_uri("a", "final")


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("l.nrrd", b"NRRD0004", "segments"),
        ("l.nii.gz", b"\x1f\x8b", "segments"),
        ("l.json", "{", "JSON"),
        ("l.json", '{"schema": 1, "clip": {"class": "femr"}}', "femur"),
        ("l.json", '{"schema": 1, "clip": {}}', "names no plane"),
    ],
)
def test_what_is_no_label_leaves_nothing(place, name, content, said):
    store = place.open()
    before = place.files()
    with pytest.raises(InputError, match=said):
        store.save_label("a", str(place.upload(name, content)), "final", {})
    assert place.files() == before and store.get_labeled_images() == []


@pytest.mark.parametrize(
    "clip, tag", [("../x", "final"), ("nowhere", "final"), ("a", "../../../x"), ("a", "draft"), ("a", "")]
)
def test_no_label_lies_elsewhere(place, clip, tag):
    store = place.open()
    before = place.files()
    with pytest.raises((InputError, MONAILabelException)):
        store.save_label(clip, str(place.label()), tag, {})
    for call in (store.get_label_uri, store.remove_label, store.get_label_info):
        with pytest.raises((InputError, MONAILabelException)):
            call(clip, tag)
    assert place.files() == before


def test_labels_put_there_by_hand_are_found(place, caplog):
    store = place.open()
    final = place.studies / "labels" / "final"
    (final / "b.json").write_text(json.dumps({"schema": 1, "clip": {"class": "lips"}}))
    (final / "c.json").write_text("{")
    (final / "c.nrrd").write_text("x")
    (place.studies / "labels" / "version2").mkdir()
    assert store.get_labeled_images() == ["b"]
    assert "c.json" in caplog.text
    (final / "b.json").unlink()
    assert store.get_labeled_images() == []


def test_what_another_process_drafts_is_seen(place):
    server, task = place.open(), place.open()
    task.save_label("a", str(place.label()), "original", {"model": "standard_plane"})
    server.update_image_info("b", {"seen": True})  # which must not undo it
    assert server.get_label_info("a", "original")["model"] == "standard_plane"
    assert place.open().get_label_info("a", "original")["model"] == "standard_plane"
    assert place.open().get_image_info("b")["seen"] is True


def test_drafts_that_several_threads_save_keep_what_is_known_of_them(place, monkeypatch):
    store = place.open()
    inside, most = 0, 0
    look = store._reconcile_datastore

    def watched() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        look()
        inside -= 1

    monkeypatch.setattr(store, "_reconcile_datastore", watched)

    def save(clip: str) -> None:
        store.list_images()
        store.save_label(clip, str(place.upload(f"{clip}.json", LABEL)), "original", {"model": clip})

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(save, "abc"))
    assert most == 1
    known = place.open()
    assert [known.get_label_info(clip, "original")["model"] for clip in "abc"] == ["a", "b", "c"]


def test_a_clip_is_taken_in_under_its_id(place):
    store = place.open()
    source = place.upload("tmpabc.clip.v1.png")
    assert store.add_image("new one", str(source), {"client_id": "anna"}) == "new one"
    assert (place.studies / "new one.png").is_file() and not source.exists()
    assert store.list_images() == ["a", "b", "c", "new one"]
    assert store.get_image_info("new one")["client_id"] == "anna"
    mine = picture(place.root / "mine.png")
    store.add_image("", str(mine), {})
    assert mine.is_file() and (place.studies / "mine.png").is_file()  # only uploads are taken away


@pytest.mark.parametrize("name", ["id", "frame", "path", "why", "strategy", "chosen_by"])
def test_a_clip_does_not_bring_what_answers_are_made_of(place, name):
    store = place.open()
    before = place.files()
    with pytest.raises(InputError, match=f"params: {name} is the server's own"):
        store.add_image("new", str(place.upload("tmpx.png")), {name: "x"})
    assert place.files() == before and "new" not in store.list_images()


def test_a_new_clip_does_not_inherit_the_label_of_one_that_was_taken_away(place):
    store = place.open()
    for tag in ("final", "original"):
        store.save_label("a", str(place.label()), tag, {})
    (place.studies / "a.png").unlink()
    assert store.add_image("a", str(place.upload("tmpx.png")), {}) == "a"
    assert store.get_labeled_images() == [] and store.json()["objects"]["a"]["labels"] == {}
    assert place.open().get_labeled_images() == []
    assert (place.folder.history / "a" / "1.json").is_file()


@pytest.mark.parametrize("clip", ["a", "b", "../x", "x/y", "..", "x" * 201, ".x"])
def test_ids_that_are_taken_or_none_leave_nothing(place, clip):
    store = place.open()
    before = place.files()
    with pytest.raises(MONAILabelException):
        store.add_image(clip, str(place.upload("tmpx.png")), {})
    assert place.files() == before


@pytest.mark.parametrize("name, content", [("t.png", b"no"), ("t.py", b"x"), ("t.mp4", b"#EXTM3U\nx"), ("t", b"x")])
def test_files_that_are_no_clips_leave_nothing(place, name, content):
    store = place.open()
    before = place.files()
    with pytest.raises(InputError):
        store.add_image("new", str(place.upload(name, content)), {})
    assert place.files() == before


def test_a_clip_is_removed_with_its_labels_but_not_their_history(place):
    store = place.open()
    store.save_label("a", str(place.label()), "final", {})
    store.save_label("a", str(place.label()), "original", {})
    store.remove_image("a")
    assert store.list_images() == ["b", "c"]
    assert not any(Path(file).stem == "a" for file in place.files())
    assert (place.folder.history / "a" / "1.json").is_file()
    for call in (store.remove_image, store.get_image_uri, store.get_image_info):
        for clip in ("a", "../app/server", "", "/etc/passwd"):
            with pytest.raises(ImageNotFoundException):
                call(clip)


def test_a_link_is_removed_and_what_it_leads_to_stays(place):
    (place.studies / "sub").mkdir()
    real = picture(place.studies / "sub" / "real.png")
    (place.studies / "link.png").symlink_to(real)
    place.open().remove_image("link")
    assert real.is_file() and not (place.studies / "link.png").exists()


def test_a_clip_that_became_a_link_out_is_not_served(place):
    store = place.open()
    (place.studies / "a.png").unlink()
    (place.studies / "a.png").symlink_to(picture(place.root / "secret.png"))
    with pytest.raises(ImageNotFoundException):
        store.get_image_uri("a")
    assert store.list_images() == ["b", "c"]


@pytest.mark.parametrize(
    "info",
    [
        {"id": "../x"},
        {"path": "/etc"},
        {"frame": 3},
        {"strategy": "x"},
        {"x": float("nan")},
        {"x": "y" * 70000},
        [1],
        "x",
    ],
)
def test_facts_are_plain_and_not_the_servers(place, info):
    store = place.open()
    with pytest.raises(InputError):
        store.update_image_info("a", info)
    store.save_label("a", str(place.label()), "final", {})
    if not isinstance(info, dict) or "x" in info:
        with pytest.raises(InputError):
            store.update_label_info("a", "final", info)


def test_facts_cannot_be_piled_up(place):
    store = place.open()
    for number in range(3):
        store.update_image_info("a", {f"k{number}": "y" * 20000})
    with pytest.raises(InputError, match="64 KB"):
        store.update_image_info("a", {"more": "y" * 20000})
    assert set(store.get_image_info("a")) == {"k0", "k1", "k2", "ts", "name", "path"}


def test_when_a_clip_was_served_is_kept_and_does_not_hide_the_answer(place):
    store = place.open()
    store.update_image_info("a", {"strategy": {"mixed": {"ts": 1, "client_id": None}}})
    store.update_image_info("a", {"strategy": {"random": {"ts": 2, "client_id": None}}})
    assert "strategy" not in store.get_image_info("a")
    assert set(place.open().json()["objects"]["a"]["image"]["info"]["strategy"]) == {"mixed", "random"}


def test_the_file_of_what_is_known_is_whole_or_said_to_be_damaged(place):
    store = place.open()
    store.update_image_info("a", {"note": "kept"})
    known = place.studies / "datastore_v2.json"
    assert json.loads(known.read_text())["objects"]["a"]["image"]["info"]["note"] == "kept"
    known.write_text(known.read_text()[:50])
    with pytest.raises(InputError, match="datastore_v2.json"):
        place.open()
    known.unlink()
    assert place.open().list_images() == ["a", "b", "c"]


def test_the_file_of_what_is_known_leads_nowhere_else(place):
    place.open()
    known = place.studies / "datastore_v2.json"
    content = json.loads(known.read_text())
    content.update(images_dir="../../etc", labels_dir="/tmp")
    content["objects"]["../secret"] = content["objects"]["a"]
    known.write_text(json.dumps(content))
    store = place.open()
    assert store.list_images() == ["a", "b", "c"]
    store.save_label("a", str(place.label()), "final", {})
    assert (place.studies / "labels" / "final" / "a.json").is_file()


def test_labels_that_lie_elsewhere_are_refused(place):
    (place.root / "elsewhere" / "final").mkdir(parents=True)
    (place.studies / "labels").symlink_to(place.root / "elsewhere")
    with pytest.raises(InputError, match="link out of the studies folder"):
        place.open()
