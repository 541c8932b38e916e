# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Scoring as a method of MONAI Label: what is due, what is left out, and that nothing goes through the clip list."""

from __future__ import annotations

import json
import os

import pytest

pytest.importorskip("monailabel")

from monailabel.interfaces.exception import ImageNotFoundException

from monai_usspeech.data.files import InputError
from monai_usspeech.label.score_files import ScoreFolder
from monai_usspeech.label.scoring import ClipScoring
from tests.label.label_study import make_clips, make_pretrained, make_server, publish_planes


@pytest.fixture
def study(tmp_path):
    clips = make_clips(tmp_path / "studies")
    folder = make_server(tmp_path / "app", tmp_path / "studies", make_pretrained(tmp_path / "pretrained.pt"))
    return clips, folder


def test_every_clip_is_scored_once_and_again_only_when_something_changed(study, capsys):
    clips, folder = study
    publish_planes(folder)
    scoring, scores = ClipScoring(folder), ScoreFolder(folder.scores)
    first = scoring({}, clips)
    assert (first["scored"], first["fresh"], first["failed"]) == (4, 0, {})
    assert "4/4" in capsys.readouterr().out
    found = scores.read_all("abcd")
    assert {name for name, one in found.items() if one.affinity is not None} == {"a", "b"}
    assert all(one.uncertainty is not None and one.embedding for one in found.values())
    assert scoring({}, clips)["fresh"] == 4
    assert scoring({"force": True}, clips)["scored"] == 4
    os.utime(clips.folder / "c.mp4", ns=(1, 1))
    (clips.folder / "d.wav").write_bytes((clips.folder / "a.wav").read_bytes())
    again = scoring({}, clips)
    assert (again["scored"], again["fresh"]) == (2, 2) and scores.read("d").affinity is not None
    publish_planes(folder, seed=1)
    assert scoring({}, clips)["scored"] == 4
    assert scores.read("a").uncertainty != found["a"].uncertainty
    assert scores.read("a").embedding == found["a"].embedding


def test_a_broken_clip_is_told_and_the_others_go_on(study, capsys):
    clips, folder = study
    publish_planes(folder)
    (clips.folder / "b.mp4").write_bytes(b"broken")
    result = ClipScoring(folder)({"device": "cpu"}, clips)
    assert result["scored"] == 3 and list(result["failed"]) == ["b"] and "b.mp4" in result["failed"]["b"]
    assert "b: left out" in capsys.readouterr().out
    json.dumps(result)  # the server prints it


def test_a_clip_that_is_taken_away_meanwhile_does_not_end_the_scoring(study, monkeypatch):
    clips, folder = study
    publish_planes(folder)
    there = clips.get_image_uri

    def gone(name: str) -> str:
        if name == "a":
            raise ImageNotFoundException("there is no such clip.")
        return there(name)

    monkeypatch.setattr(clips, "get_image_uri", gone)
    for scored in (3, 0):
        result = ClipScoring(folder)({"device": "cpu"}, clips)
        assert result["scored"] == scored and result["failed"] == {"a": "there is no such clip."}
    json.dumps(result)


def test_scores_of_a_clip_that_is_gone_go_too(study):
    clips, folder = study
    publish_planes(folder)
    scoring = ClipScoring(folder)
    scoring({}, clips)
    (clips.folder / "d.mp4").unlink()
    assert scoring({}, clips)["removed"] == ["d"]
    assert sorted(path.stem for path in folder.scores.glob("*.json")) == ["a", "b", "c"]


def test_a_pretrained_network_alone_is_enough_and_nothing_is_not(study, tmp_path, capsys):
    clips, folder = study
    assert ClipScoring(folder)({}, clips)["scored"] == 4
    one = ScoreFolder(folder.scores).read("a")
    assert one.uncertainty is None and one.affinity is not None
    bare = make_server(tmp_path / "bare", clips.folder)
    assert ClipScoring(bare)({}, clips)["scored"] == 0
    assert "no model yet" in capsys.readouterr().out


def test_a_device_that_is_none_is_refused(study):
    clips, folder = study
    with pytest.raises(InputError, match="device"):
        ClipScoring(folder)({"device": "toaster"}, clips)
