# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.annotations import (
    PLANES,
    GazeTrack,
    PlaneInterval,
    StandardPlane,
    plane_at,
    read_gaze,
    read_planes,
)
from monai_usspeech.data.files import InputError

BACKGROUND = PLANES.index("background")


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- names ---


def test_planes_are_the_fourteen_names_in_the_order_of_the_paper():
    expected = "3VT 4CH abdomen femur BrainTv kidneys LVOT lips profile RVOT BrainTc SpineCor SpineSag background"
    assert PLANES == tuple(expected.split())
    assert [str(plane) for plane in StandardPlane] == list(PLANES)
    assert [f"{plane}" for plane in StandardPlane] == list(PLANES)
    assert json.dumps(StandardPlane.FOUR_CHAMBERS) == '"4CH"'


# --- gaze ---


def test_gaze_is_read_as_written(tmp_path: Path):
    gaze = read_gaze(table(tmp_path, "time,x,y\n-0.5,10,20\n0.25,,\n0.25,nan,NaN\n1e1, 12.5 ,7\n"))
    np.testing.assert_array_equal(gaze.time, [-0.5, 0.25, 0.25, 10.0])
    np.testing.assert_array_equal(gaze.x, [10, np.nan, np.nan, 12.5])
    np.testing.assert_array_equal(gaze.y, [20, np.nan, np.nan, 7])
    np.testing.assert_array_equal(gaze.has_fix, [True, False, False, True])
    assert {values.dtype for values in (gaze.time, gaze.x, gaze.y)} == {np.dtype(np.float64)}
    assert len(gaze) == 4


@pytest.mark.parametrize(
    "text",
    [
        "y,pupil,x,time\n2,9,1,0\n4,9,3,1\n",  # other order, a further column
        "\ufefftime,x,y\r\n0,1,2\r\n1,3,4\r\n",  # as spreadsheet programs save it
        '\n "time", x ,y\n\n0,"1",2\n,,\n1,3,4',  # blank lines, quotes, spaces, no last line break
        "time,x,y\n0,1,2,comment\n1,3,4\n",  # a cell too many
    ],
)
def test_gaze_does_not_mind_how_the_table_was_saved(tmp_path: Path, text: str):
    gaze = read_gaze(table(tmp_path, text))
    np.testing.assert_array_equal([gaze.time, gaze.x, gaze.y], [[0, 1], [1, 3], [2, 4]])


def test_gaze_without_any_fix_is_allowed_and_says_so_on_request(tmp_path: Path):
    gaze = read_gaze(table(tmp_path, "time,x,y\n0,,\n0.5,,\n"))
    assert np.isnan(gaze.x).all() and np.isnan(gaze.y).all()
    assert gaze.summary() == "2 gaze samples from 0.00 to 0.50 s, 0 with a fix"
    assert GazeTrack(*np.empty((3, 0))).summary() == "no gaze samples"


def test_gaze_reads_no_further_than_asked(tmp_path: Path):
    path = table(tmp_path, "time,x,y\n0,1,1\n\n1,1,1\n2,wrong,1\n")
    assert len(read_gaze(path, max_rows=2)) == 2
    with pytest.raises(InputError, match="line 5"):
        read_gaze(path, max_rows=3)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("", ["the file is empty", "time,x,y", "null for gaze"]),
        (" \n\n", ["the file is empty"]),
        ("time,x,y\n", ["a header and no rows", "null for gaze"]),
        ("time,y\n0,1\n", ['no column "x"', '"time", "y"']),
        ("Time,X,Y\n0,1,1\n", ['no column "time"', 'Did you mean "Time"?']),
        ("timestamp,x,y\n0,1,1\n", ['no column "time"', 'Did you mean "timestamp"?']),
        ("time,gaze_a,gaze_b\n0,1,1\n", ['no column "x"', '"gaze_a", "gaze_b"', "time,x,y"]),
        ("0.1,2,3\n", ['no column "time"', '"0.1", "2", "3"', '"time,x,y"']),
        ("time;x;y\n0;1;1\n", ['no column "time"', "separated by commas"]),
        ("time,x,x,y\n0,1,1,1\n", ['2 columns "x"']),
        ("time,x,y\n0,1,1\n\n1,left,1\n", ["line 4", 'x is "left"', "no number", "no fix"]),
        ("time,x,y\n0,1,inf\n", ["line 2", 'y is "inf"']),
        ("time,x,y\n,1,1\n", ["line 2", "time is empty"]),
        ("time,x,y\nnan,1,1\n", ["line 2", 'time is "nan"']),
        ('time,x,y\n"0,5",1,1\n', ["line 2", 'time is "0,5"', "point before the decimals"]),
        ("time,x,y\n0,1\n", ["line 2", "2 cells where the header has 3"]),
        ("time,x,y\n0,1,\n", ["line 2", "x is given and y is empty"]),
        ("time,x,y\n0,1,1\n1,,1\n", ["line 3", "y is given and x is empty"]),
        ("time,x,y\n0,1,1\n2,1,1\n1.5,1,1\n", ["line 4", "1.5 comes after 2 (line 3)", "sort"]),
        (b"time,x,y\n0,\xff,1\n", ["not a text table", "UTF-8"]),
        ("time,x,y\n0,1,1\n".encode("utf-16"), ["not a text table", "UTF-8"]),
    ],
)
def test_gaze_that_cannot_be_used_is_named_with_its_mend(tmp_path: Path, text: str | bytes, parts: list[str]):
    with pytest.raises(InputError) as error:
        read_gaze(table(tmp_path, text))
    for part in ["table.csv", *parts]:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_annotation_file_is_named(tmp_path: Path):
    for read in (read_gaze, read_planes):
        with pytest.raises(InputError, match="absent.csv: no such file"):
            read(tmp_path / "absent.csv")
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path)


def test_gaze_track_refuses_arrays_of_different_lengths():
    with pytest.raises(ValueError, match=r"\(3,\), \(3,\), \(2,\)"):
        GazeTrack(np.zeros(3), np.zeros(3), np.zeros(2))


# --- planes ---


def test_planes_are_sorted_by_start_and_may_touch(tmp_path: Path):
    intervals = read_planes(table(tmp_path, "start,end,plane\n4,5.5,femur\n0,2,3VT\n2,3, lips \n"))
    assert intervals == (
        PlaneInterval(0.0, 2.0, StandardPlane.THREE_VESSELS_TRACHEA),
        PlaneInterval(2.0, 3.0, StandardPlane.LIPS),
        PlaneInterval(4.0, 5.5, StandardPlane.FEMUR),
    )


@pytest.mark.parametrize(
    "text, parts",
    [
        ("", ["the file is empty", "start,end,plane"]),
        ("start,end,plane\n", ["a header and no rows", '"background"']),
        ("start,end,plan\n0,1,lips\n", ['no column "plane"', 'Did you mean "plan"?']),
        ("start,end,plane\n0,1,brainTx\n", ["line 2", '"brainTx"', 'Did you mean "BrainT']),
        ("start,end,plane\n0,1,NOSE_LIP\n", ['Did you mean "NOSE_LIPS"?']),
        ("start,end,plane\n0,1,lips\n1,2,kidney\n", ["line 3", 'Did you mean "kidneys"?']),
        ("start,end,plane\n0,1,xq\n", ['"xq" is not a standard plane', "3VT, 4CH, abdomen"]),
        ("start,end,plane\n0,1,\n", ["line 2", 'plane "" is not a standard plane']),
        ("start,end,plane\n0:10,1,lips\n", ["line 2", 'start is "0:10"']),
        ("start,end,plane\n0,,lips\n", ["line 2", "end is empty"]),
        ("start,end,plane\n2,1,lips\n", ["line 2", "end 1 is not after start 2"]),
        ("start,end,plane\n2,2,lips\n", ["line 2", "end 2 is not after start 2"]),
        (
            "start,end,plane\n5,9,femur\n0,1,3VT\n1,5.5,lips\n",
            ["lips (line 4, 1 to 5.5 s)", "femur (line 2, 5 to 9 s)", "overlap"],
        ),
        ("start,end,plane\n0,9,femur\n1,2,lips\n", ["line 2", "line 3", "overlap"]),
    ],
)
def test_planes_that_cannot_be_used_are_named_with_their_mend(tmp_path: Path, text: str, parts: list[str]):
    with pytest.raises(InputError) as error:
        read_planes(table(tmp_path, text))
    for part in ["table.csv", *parts]:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_planes_may_have_the_names_of_sononet_and_pulse(tmp_path: Path):
    text = "start,end,plane\n0,1,4ch\n1,2,Brain (Cb.)\n2,3,HCP\n3,4,BG\n"
    names = [str(interval.plane) for interval in read_planes(table(tmp_path, text))]
    assert names == ["4CH", "BrainTc", "BrainTv", "background"]


def test_plane_at_includes_the_start_and_excludes_the_end():
    intervals = [PlaneInterval(1.0, 2.0, StandardPlane.LIPS), PlaneInterval(2.0, 3.0, StandardPlane.FEMUR)]
    before_end = np.nextafter(2.0, 0.0)
    labels = plane_at(intervals, [0.0, 1.0, before_end, 2.0, 3.0, np.nan])
    names = ["background", "lips", "lips", "femur", "background", "background"]
    assert [PLANES[label] for label in labels] == names


def test_plane_at_agrees_with_looking_at_each_interval():
    rng = np.random.RandomState(0)
    edges = np.sort(rng.uniform(0, 60, 40)).reshape(20, 2)
    planes = list(StandardPlane)
    intervals = [PlaneInterval(start, end, planes[rng.randint(13)]) for start, end in edges]
    rng.shuffle(intervals)
    times = np.concatenate([rng.uniform(-5, 65, 496), edges[:2].ravel()]).reshape(20, 25)
    expected = np.full(times.shape, BACKGROUND)
    for place in np.ndindex(*times.shape):
        for start, end, plane in intervals:
            if start <= times[place] < end:
                expected[place] = PLANES.index(plane)
    labels = plane_at(intervals, times)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int64
    assert 0.2 < np.mean(labels == BACKGROUND) < 0.8


def test_plane_at_takes_one_time_and_no_intervals():
    assert plane_at([PlaneInterval(0, 1, StandardPlane.LIPS)], 0.5) == PLANES.index("lips")
    assert plane_at([PlaneInterval(0, 1, StandardPlane.LIPS)], 0.5).shape == ()
    np.testing.assert_array_equal(plane_at([], np.zeros((2, 3))), np.full((2, 3), BACKGROUND))
    assert plane_at([], []).shape == (0,)
