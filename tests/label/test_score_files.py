# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The files of scores: whole, checked, and never of another clip or another model by mistake."""

from __future__ import annotations

import json
import os

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.label.score_files import (
    ClipScore,
    ScoreFolder,
    clip_stamp,
    largest_group,
    weights_stamp,
)


def score(name: str, **changed) -> ClipScore:
    values = {
        "id": name,
        "source": {"size": 3, "mtime_ns": 4, "sound_size": 0, "sound_mtime_ns": 0},
        "models": {"plane": "1:2", "pretrained": None},
        "reader": {"fan_crop": True, "frame_rate": 10.0, "fps": None},
        "frames": 7,
        "uncertainty": 0.25,
        "uncertain_frame": 12,
        "embedding": (0.5, -0.25),
        "affinity": None,
        "affinity_margin": None,
        "speech_share": None,
        "why": "no speech",
    }
    return ClipScore(**{**values, **changed})


def test_what_is_written_is_read(tmp_path):
    folder = ScoreFolder(tmp_path / "scores")
    for one in (score("a"), score("b.2", affinity=0.5, affinity_margin=-0.1, speech_share=1.0, why="")):
        folder.write(one)
        assert folder.read(one.id) == one
    assert set(folder.read_all(["a", "b.2", "c"])) == {"a", "b.2"}
    content = json.loads((tmp_path / "scores" / "a.json").read_text())
    assert content["schema"] == 1 and content["affinity"] is None and content["embedding"] == [0.5, -0.25]


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": 2},
        {"uncertainty": "much"},
        {"embedding": [1.0, float("nan")]},
        {"embedding": "none"},
        {"more": 1},
    ],
)
def test_a_damaged_file_counts_as_none(tmp_path, caplog, damage):
    folder = ScoreFolder(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({**score("a").to_json(), **damage}))
    assert folder.read("a") is None and "a.json" in caplog.text


def test_a_file_under_another_name_is_not_that_clip(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps(score("a").to_json()))
    assert ScoreFolder(tmp_path).read("b") is None


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a\\b", ".."])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    with pytest.raises(InputError, match="not the name of a clip"):
        ScoreFolder(tmp_path).file(name)


def test_scores_of_clips_that_are_gone_are_removed(tmp_path):
    folder = ScoreFolder(tmp_path)
    for name in ("a", "b", "c"):
        folder.write(score(name))
    (tmp_path / ".a.json.x.tmp").write_text("half")
    assert folder.prune({"b"}) == ["a", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.json.x.tmp", "b.json"]


def test_a_stamp_tells_another_clip_and_another_sound(tmp_path):
    clip = tmp_path / "a.nii.gz"
    clip.write_bytes(b"one")
    before = clip_stamp(clip, "a")
    assert before["size"] == 3 and before["sound_size"] == 0
    (tmp_path / "a.wav").write_bytes(b"sound")
    heard = clip_stamp(clip, "a")
    assert heard != before and heard["sound_size"] == 5
    os.utime(clip, ns=(1, 1))
    assert clip_stamp(clip, "a") != heard
    with pytest.raises(InputError, match="cannot be read"):
        clip_stamp(tmp_path / "b.mp4", "b")


def test_scores_of_two_models_are_not_mixed():
    old, new = {"plane": "1:1", "pretrained": None}, {"plane": "2:2", "pretrained": None}
    scores = {name: score(name, models=old) for name in "abc"}
    assert set(largest_group(scores, new)) == {"a", "b", "c"}
    scores["a"] = score("a", models=new)
    assert set(largest_group(scores, new)) == {"b", "c"}
    scores["d"] = score("d", models=new)
    assert set(largest_group(scores, new)) == {"a", "d"}  # of two and two, those of the present model
    assert set(largest_group(scores, old)) == {"b", "c"}
    scores["e"] = score("e", models=new, reader={"fan_crop": False})
    assert set(largest_group(scores, new)) == {"a", "d"} and largest_group({}, new) == {}


def test_weights_in_a_bundle_are_known_too(tmp_path):
    assert weights_stamp(None) is None and weights_stamp(tmp_path / "none.pt") is None
    file = tmp_path / "models" / "model.pt"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    assert weights_stamp(tmp_path) == weights_stamp(file) is not None
