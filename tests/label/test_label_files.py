# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.label.clip_labels import parse_label, read_label
from monai_usspeech.label.label_files import LabelFiles


@pytest.fixture
def files(tmp_path: Path) -> LabelFiles:
    (tmp_path / "studies").mkdir()
    return LabelFiles(tmp_path / "studies", tmp_path / "history")


def label(plane: str, **more: object):
    return parse_label({"schema": 1, "clip": {"class": plane}, **more})


def history(files: LabelFiles, clip: str = "a") -> dict[str, str | None]:
    kept = files.history / clip
    return {file.name: read_label(file).plane for file in sorted(kept.iterdir())} if kept.is_dir() else {}


def test_revisions_grow_and_the_old_ones_are_kept(files):
    for revision, plane in enumerate(("femur", "lips", "kidneys"), start=1):
        saved = files.save("a", "final", label(plane))
        assert saved.revision == revision and saved.saved
        assert read_label(files.path("a", "final")) == saved
    assert history(files) == {"1.json": "femur", "2.json": "lips"}


def test_a_removed_label_is_kept_and_its_number_not_given_again(files):
    files.save("a", "final", label("femur"))
    files.remove("a", "final")
    assert not files.path("a", "final").exists() and history(files) == {"1.json": "femur"}
    assert files.save("a", "final", label("lips")).revision == 2
    files.remove("a", "final")
    files.remove("a", "final")  # nothing there: nothing happens
    assert history(files) == {"1.json": "femur", "2.json": "lips"}


def test_drafts_have_no_history(files):
    for plane in ("femur", "lips"):
        assert files.save("a", "original", label(plane)).revision is None
    assert read_label(files.path("a", "original")).plane == "lips" and history(files) == {}
    # and a person's correction of a draft is a first label
    assert files.save("a", "final", read_label(files.path("a", "original"))).revision == 1


def test_of_two_people_neither_overwrites_the_other_unseen(files):
    files.save("a", "final", label("femur"))
    both = read_label(files.path("a", "final"))
    files.save("a", "final", both)
    with pytest.raises(InputError, match="anew since revision 1: it is at 2"):
        files.save("a", "final", both)
    assert files.save("a", "final", label("lips", revision=2)).revision == 3
    assert files.save("a", "final", label("lips")).revision == 4  # on purpose
    files.remove("a", "final")
    assert files.save("a", "final", label("lips", revision=2)).revision == 5  # nobody's is overwritten


def test_a_file_put_there_by_hand_counts_as_a_label(files):
    files.save("a", "final", label("femur"))
    files.path("a", "final").write_text(json.dumps({"schema": 1, "clip": {"class": "lips"}}))
    assert files.save("a", "final", label("kidneys")).revision == 2
    assert history(files) == {"1.json": "lips"}
    files.path("a", "final").write_text("damaged")
    assert files.save("a", "final", label("femur")).revision == 3
    assert (files.history / "a" / "2.json").read_text() == "damaged"


def test_an_old_number_given_by_hand_overwrites_nothing_in_the_history(files):
    for plane in ("femur", "lips", "kidneys"):
        files.save("a", "final", label(plane))
    files.path("a", "final").write_text(json.dumps({"schema": 1, "clip": {"class": "abdomen"}, "revision": 1}))
    assert files.save("a", "final", label("LVOT")).revision == 4
    assert history(files) == {"1.json": "femur", "2.json": "lips", "3.json": "abdomen"}
    files.path("a", "final").write_bytes((files.history / "a" / "1.json").read_bytes())  # the old one itself
    assert files.save("a", "final", label("lips")).revision == 4
    assert history(files) == {"1.json": "femur", "2.json": "lips", "3.json": "abdomen"}


def test_who_said_so(files):
    assert files.save("a", "final", label("femur"), "anna").annotator == "anna"
    assert files.save("a", "final", label("femur", annotator="berta"), "anna").annotator == "berta"
    assert files.save("a", "final", label("femur")).annotator is None


@pytest.mark.parametrize("clip, tag", [("../a", "final"), ("a", "../../x"), ("a", ""), ("", "final"), ("a/b", "final")])
def test_no_label_lies_elsewhere(files, clip, tag):
    for call in (
        lambda: files.save(clip, tag, label("femur")),
        lambda: files.remove(clip, tag),
        lambda: files.path(clip, tag),
    ):
        with pytest.raises(InputError):
            call()


def test_links_out_of_the_folder_are_no_labels(files, tmp_path):
    files.save("a", "final", label("femur"))
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps({"schema": 1, "clip": {"class": "lips"}}))
    (files.folder / "final" / "b.json").symlink_to(outside)
    (files.folder / "final" / "notes.txt").write_text("x")
    assert files.clips("final") == {"a"} and files.clips("original") == set()
    before = outside.read_text()
    files.save("b", "final", label("kidneys"))  # replaces the link, not what it leads to
    assert outside.read_text() == before and not files.path("b", "final").is_symlink()


def test_a_folder_of_labels_elsewhere_is_refused(tmp_path):
    (tmp_path / "elsewhere" / "final").mkdir(parents=True)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "labels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="link out of the studies folder"):
        LabelFiles(tmp_path / "studies", tmp_path / "history")
