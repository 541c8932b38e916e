# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.label.clip_labels import MAX_LABEL_BYTES, ClipLabel, FrameLabel, parse_label, read_label

WHOLE = {
    "schema": 1,
    "clip": {"class": "abdomen", "subject": "p001"},
    "frames": [{"frame": 3, "class": "kidneys"}, {"frame": 12, "class": "femur", "gaze": [0.25, 0.75]}],
    "revision": 2,
    "saved": "2026-01-31T12:00:00+00:00",
    "annotator": "A. B.",
}


def test_a_label_comes_back_as_it_was():
    label = parse_label(WHOLE)
    assert label == ClipLabel(
        plane="abdomen",
        subject="p001",
        frames=(FrameLabel(3, "kidneys"), FrameLabel(12, "femur", (0.25, 0.75))),
        revision=2,
        saved="2026-01-31T12:00:00+00:00",
        annotator="A. B.",
    )
    assert label.to_json() == WHOLE
    assert parse_label(json.loads(json.dumps(label.to_json()))) == label
    assert label.planes == ("abdomen", "femur", "kidneys")


@pytest.mark.parametrize("content", [{"clip": {"class": "femur"}}, {"frames": [{"frame": 0, "class": "femur"}]}])
def test_one_class_is_enough(content):
    label = parse_label({"schema": 1, **content})
    assert label.planes == ("femur",)
    assert parse_label(label.to_json()) == label


def test_names_and_order_are_brought_into_one_form():
    frames = [{"frame": 9, "class": "BRAIN-CB"}, {"frame": 2, "class": "nose_lips"}, {"frame": 4, "class": "spine cor"}]
    label = parse_label({"schema": 1, "clip": {"class": "Brain (Tv.)"}, "frames": frames})
    assert label.plane == "BrainTv"
    assert [(frame.frame, frame.plane) for frame in label.frames] == [(2, "lips"), (4, "SpineCor"), (9, "BrainTc")]
    assert all(plane in PLANES for plane in label.planes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, r'"schema": is 2; this version reads labels of schema 1'),
        ({"schema": True}, r'"schema": is true'),
        ({"frame": []}, r'"frame": unknown key\. Did you mean "frames"\?'),
        ({"clip": {"clas": "femur"}}, r'"clip": "clas": unknown key\. Did you mean "class"\?'),
        ({"clip": ["femur"]}, r'"clip": is \["femur"\]; give an object'),
        ({"clip": {"class": "femurr"}}, r'"class": plane "femurr" is not a standard plane\. Did you mean "femur"\?'),
        ({"clip": {"class": 3}}, r'"class": is 3; give the name of a standard plane'),
        ({"clip": {"class": "femur" * 50}}, r'"class": is .*give the name of a standard plane'),
        ({"clip": {"subject": ""}}, r'"subject": is ""; give a text'),
        ({"clip": {"subject": "a\nb"}}, r'"subject": is "a\\nb"; give a text'),
        ({"annotator": "x" * 201}, r'"annotator": is .*give a text of 1 to 200'),
        ({"frames": {"12": "femur"}}, r'"frames": is .*give a list'),
        ({"frames": ["femur"]}, r'"frames", entry 1: is "femur"; give an object'),
        ({"frames": [{"frame": 1}]}, r'"frames", entry 1: "class": missing'),
        ({"frames": [{"class": "femur"}]}, r'"frames", entry 1: "frame": missing'),
        ({"frames": [{"frame": 1, "class": "femur", "x": 1}]}, r'entry 1: "x": unknown key'),
        ({"frames": [{"frame": 1, "class": "femur"}, {"frame": 1, "class": "lips"}]}, "frame 1 has two labels"),
        ({"saved": "yesterday"}, r'"saved": is "yesterday"; give a time'),
        ({"saved": 5}, r'"saved": is 5; give a time'),
        ({"revision": 0}, r'"revision": is 0'),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_label({**WHOLE, **change}, "labels/final/a.json")
    assert str(caught.value).startswith("labels/final/a.json: ")


@pytest.mark.parametrize("frame", [-1, 1.0, True, "1", None, 2**31, 10**400])
def test_a_frame_is_a_whole_number(frame):
    with pytest.raises(InputError, match=r'entry 1: "frame": is .*give the frame\'s number'):
        parse_label({"schema": 1, "frames": [{"frame": frame, "class": "femur"}]})


@pytest.mark.parametrize(
    "gaze", [[0.5], [0.5, 0.5, 0.5], [1.5, 0.5], [-0.1, 0.5], [True, 0.5], "xy", [None, 0], [10**400, 0]]
)
def test_gaze_is_two_shares_of_the_picture(gaze):
    with pytest.raises(InputError, match=r'"gaze": is .*shares of the whole picture'):
        parse_label({"schema": 1, "frames": [{"frame": 1, "class": "femur", "gaze": gaze}]})


def test_gaze_that_is_no_number_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"schema": 1, "frames": [{"frame": 1, "class": "femur", "gaze": [NaN, 0]}]}')
    with pytest.raises(InputError, match="shares of the whole picture"):
        read_label(tmp_path / "a.json")


@pytest.mark.parametrize("content", [{}, {"clip": {}}, {"clip": None, "frames": []}, {"clip": {"subject": "p001"}}])
def test_a_label_without_a_class_is_none(content):
    with pytest.raises(InputError, match="names no plane"):
        parse_label({"schema": 1, **content})


@pytest.mark.parametrize("content", [None, 3, "femur", ["femur"]])
def test_a_label_is_an_object(content):
    with pytest.raises(InputError, match="give an object such as"):
        parse_label(content)


def test_more_frames_than_a_label_takes_are_refused():
    frames = [{"frame": number, "class": "femur"} for number in range(100_001)]
    with pytest.raises(InputError, match="has 100001 entries; a label takes 100000"):
        parse_label({"schema": 1, "frames": frames})


def test_halves_of_characters_do_not_get_into_a_message():
    for text in ('{"schema": 1, "clip": {"class": "\\ud800"}}', '{"schema": 1, "\\ud800": 1}'):
        with pytest.raises(InputError) as caught:
            parse_label(json.loads(text))
        str(caught.value).encode("utf-8")


def test_a_file_is_read_under_a_name_of_its_own(tmp_path):
    path = tmp_path / "upload"
    path.write_text(json.dumps(WHOLE))
    assert read_label(path) == parse_label(WHOLE)
    path.write_text("{")
    with pytest.raises(InputError, match=r"^clip a: not valid JSON"):
        read_label(path, "clip a")
    with pytest.raises(InputError, match="upload: not valid JSON"):
        read_label(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"NRRD0004\n", "not valid JSON"),
        (b"[" * 200_000, "nested too deeply|not valid JSON"),
        (b'{"schema": ' + b"1" * 5000 + b"}", "not valid JSON|schema 1"),
        (b" " * (MAX_LABEL_BYTES + 1), r"larger than a label may be \(1 MiB\)"),
    ],
)
def test_a_file_that_is_no_label_is_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_label(tmp_path / "a.json")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match=r"a\.json: cannot be read"):
        read_label(tmp_path / "a.json")
