# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import pytest

from monai_usspeech.label.clip_folder import CLIP_SUFFIXES, clip_files, is_clip_id, is_inside, split_clip_name


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("x")


def test_clips_are_known_by_their_endings(tmp_path):
    names = [f"c{number}{ending}" for number, ending in enumerate(CLIP_SUFFIXES)]
    put(tmp_path, *names, "notes.txt", "labels.json", "a.wav", "noending", ".hidden.mp4", "datastore_v2.json")
    (tmp_path / "folder.mp4").mkdir()
    found, problems = clip_files(tmp_path)
    assert set(found.values()) == set(names) and not problems
    assert all(name.startswith(clip) for clip, name in found.items())


@pytest.mark.parametrize(
    "name, parts",
    [
        ("a.nii.gz", ("a", ".nii.gz")), ("a.nii", ("a", ".nii")), ("A.MP4", ("A", ".MP4")),
        ("a.b.Nii.Gz", ("a.b", ".Nii.Gz")),
        ("a.gz", None), ("mp4", None), (".mp4", ("", ".mp4")), ("a.mp4.txt", None), ("a.mp4.png", ("a.mp4", ".png")),
    ],
)  # fmt: skip
def test_names_are_split_at_the_ending(name, parts):
    assert split_clip_name(name) == parts


@pytest.mark.parametrize("text", ["a", "p001_s-1", "1.2.840.10008", "a b", "x" * 200])
def test_ids(text):
    assert is_clip_id(text)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a..b", "../a", "a/b", "a\\b", "-a", " a", "ä", "a\n", "a\0", "x" * 201, None, 3]
)
def test_what_is_no_id(text):
    assert not is_clip_id(text)


def test_two_files_of_one_name_are_not_mixed_up(tmp_path):
    put(tmp_path, "a.mp4", "a.avi", "b.mp4")
    found, problems = clip_files(tmp_path)
    assert found == {"a": "a.avi", "b": "b.mp4"}
    assert len(problems) == 1 and "a.mp4" in problems[0] and "Rename" in problems[0]
    # what was there first stays, so that its labels stay with it
    assert clip_files(tmp_path, {"a": "a.mp4"})[0]["a"] == "a.mp4"


def test_names_that_cannot_be_ids_are_left_out(tmp_path):
    put(tmp_path, "ünder.mp4", "-dash.png", "a..b.avi", "fine.mp4")
    found, problems = clip_files(tmp_path)
    assert found == {"fine": "fine.mp4"} and len(problems) == 3


def test_links_out_of_the_folder_are_left_out(tmp_path):
    studies, outside = tmp_path / "studies", tmp_path / "outside"
    for folder in (studies, outside, studies / "sub"):
        folder.mkdir()
    put(outside, "secret.mp4")
    put(studies / "sub", "inner.mp4")
    (studies / "out.mp4").symlink_to(outside / "secret.mp4")
    (studies / "chain.mp4").symlink_to(studies / "out.mp4")
    (studies / "gone.mp4").symlink_to(studies / "nothing.mp4")
    (studies / "in.mp4").symlink_to(studies / "sub" / "inner.mp4")
    found, problems = clip_files(studies)
    assert found == {"in": "in.mp4"}
    assert sorted(problem.split()[0] for problem in problems) == ["'chain.mp4'", "'gone.mp4'", "'out.mp4'"]


def test_inside_follows_links(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "up").symlink_to(tmp_path)
    put(root, "file")
    assert is_inside(root / "file", root) and is_inside(root / "not there yet", root)
    assert (
        not is_inside(root, root) and not is_inside(root / "up" / "x", root) and not is_inside(root / ".." / "x", root)
    )
    assert not is_inside(tmp_path / "root2", root)
