# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The next clip as a strategy of MONAI Label: labelled ones never, shown ones not again, and plain values only."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("monailabel")

from monailabel.interfaces.exception import ImageNotFoundException

from monai_usspeech.data.files import InputError
from monai_usspeech.label.score_files import ClipScore, ScoreFolder, clip_stamp, weights_stamp
from monai_usspeech.label.selection import STRATEGIES
from monai_usspeech.label.strategies import SERVED_SECONDS, NextClip, ServedClips
from tests.label.label_study import ClipList, make_server

UNCERTAINTY = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.3}


@pytest.fixture
def study(tmp_path):
    """Four clips with scores that are of their files and of the model that is there."""
    (tmp_path / "studies").mkdir()
    for name in UNCERTAINTY:
        (tmp_path / "studies" / f"{name}.mp4").write_bytes(name.encode())
    clips, folder = ClipList(tmp_path / "studies"), make_server(tmp_path / "app", tmp_path / "studies")
    (folder.models / "standard_plane.pt").write_bytes(b"weights")
    for number, name in enumerate(UNCERTAINTY):
        write_score(folder, clips, name, number)
    return clips, folder


def write_score(folder, clips, name: str, number: int, **changed) -> None:
    values = {
        "id": name,
        "source": clip_stamp(clips.get_image_uri(name), name),
        "models": {"plane": weights_stamp(folder.models / "standard_plane.pt"), "pretrained": None},
        "reader": folder.reader,
        "frames": 3,
        "uncertainty": UNCERTAINTY[name],
        "uncertain_frame": 10 + number,
        "embedding": (float(number), 0.0),
        "affinity": None,
        "affinity_margin": None,
        "speech_share": None,
        "why": "no speech",
    }
    ScoreFolder(folder.scores).write(ClipScore(**{**values, **changed}))


def test_the_answer_is_plain_and_says_why(study):
    clips, folder = study
    answer = NextClip("uncertainty", folder)({"strategy": "uncertainty"}, clips)
    assert json.loads(json.dumps(answer)) == answer
    assert (answer["id"], answer["frame"], answer["uncertainty"], answer["rank"]) == ("b", 11, 0.9, 1.0)
    assert answer["strategy"] == answer["chosen_by"] == "uncertainty"
    assert set(answer) == {
        *("id", "frame", "strategy", "chosen_by"),
        *("uncertainty", "affinity", "distance", "rank", "why"),
    }


def test_shown_clips_come_again_only_when_no_other_is_left(study):
    clips, folder = study
    given = [NextClip("uncertainty", folder)({}, clips)["id"] for _ in range(5)]
    assert given == ["b", "c", "d", "a", "b"]
    clips.labelled = ["a", "b", "c", "d"]
    assert NextClip("uncertainty", folder)({}, clips) is None


def test_labelled_and_excluded_clips_are_not_given(study):
    clips, folder = study
    clips.labelled = ["b"]
    for strategy in STRATEGIES:
        answer = NextClip(strategy, folder, np.random.RandomState(0))({"exclude": ["a", "c"]}, clips)
        assert answer["id"] == "d", strategy
    assert NextClip("first", folder)({"exclude": "a"}, clips)["id"] == "c"
    with pytest.raises(InputError, match="exclude"):
        NextClip("first", folder)({"exclude": {"id": "a"}}, clips)


def test_distance_is_that_to_labelled_and_shown_clips(study):
    clips, folder = study
    clips.labelled = ["a"]
    strategy = NextClip("diversity", folder)
    first, second = strategy({}, clips), strategy({}, clips)
    assert (first["id"], first["distance"]) == ("d", 3.0)
    assert (second["id"], second["distance"]) == ("b", 1.0)  # b and c are 1 away from a or d


def test_scores_of_another_file_or_model_do_not_count(study):
    clips, folder = study
    (clips.folder / "b.mp4").write_bytes(b"another clip")
    assert NextClip("uncertainty", folder)({}, clips)["id"] == "c"
    write_score(folder, clips, "a", 0, uncertainty=1.0, models={"plane": "9:9", "pretrained": None})
    assert NextClip("uncertainty", folder)({}, clips)["id"] == "d"


def test_a_clip_that_is_taken_away_meanwhile_counts_as_unscored(study, monkeypatch):
    clips, folder = study
    there = clips.get_image_uri

    def gone(name: str) -> str:
        if name == "b":
            raise ImageNotFoundException("there is no such clip.")
        return there(name)

    monkeypatch.setattr(clips, "get_image_uri", gone)
    assert NextClip("uncertainty", folder)({}, clips)["id"] == "c"


def test_without_scores_it_is_the_first_and_says_so(study):
    clips, folder = study
    for file in folder.scores.glob("*.json"):
        file.unlink()
    answer = NextClip("mixed", folder)({}, clips)
    assert (answer["id"], answer["chosen_by"], answer["rank"]) == ("a", "first", None)
    assert "run scoring" in answer["why"]


def test_what_was_shown_is_forgotten_in_time(tmp_path):
    served = ServedClips(tmp_path / "served.json")
    served.add("a", 1000.0)
    served.add("b", 1500.0)
    assert set(served.recent(1600.0)) == {"a", "b"}
    assert set(served.recent(1000.0 + SERVED_SECONDS)) == {"b"}
    assert served.recent(900.0) == {}
    served.add("c", 1500.0 + SERVED_SECONDS)
    assert json.loads((tmp_path / "served.json").read_text()) == {"served": {"c": 1500.0 + SERVED_SECONDS}}
    for damage in ("{", "[]", '{"served": 3}', '{"served": {"a": "soon"}}'):
        (tmp_path / "served.json").write_text(damage)
        assert served.recent(1600.0) == {}


def test_an_unknown_name_is_refused(study):
    with pytest.raises(InputError, match="is none of"):
        NextClip("best", study[1])
