# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.datalist import ScanDatalist
from monai_usspeech.data.files import InputError
from monai_usspeech.data.oracle import oracle_flags, read_oracle


def table(folder: Path, text: str) -> Path:
    path = folder / "a_oracle.csv"
    path.write_text(text)
    return path


def test_intervals_are_read_sorted_and_further_columns_passed_over(tmp_path: Path):
    path = table(tmp_path, "start,end,word,plane\n3.5,4.25,femur,femur\n1,2,heart,4CH\n1.5,2.5,four chambers,4CH\n")
    assert read_oracle(path) == ((1.0, 2.0), (1.5, 2.5), (3.5, 4.25))
    assert read_oracle(table(tmp_path, "start,end\n")) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty; give the columns start,end.$"),
        ("start,stop\n1,2\n", 'no column "end"'),
        ("start,end\n1,x\n", 'line 2: end is "x"'),
        ("start,end\n1,2\n3,3\n", "line 3: end 3 is not after start 3"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, text: str, message: str):
    with pytest.raises(InputError, match=message):
        read_oracle(table(tmp_path, text))


def test_a_flag_is_set_when_its_middle_lies_in_an_interval():
    rng = np.random.RandomState(0)
    for _ in range(20):
        starts = rng.uniform(0, 3, 4)
        intervals = [(start, start + length) for start, length in zip(starts, rng.uniform(0.001, 1.5, 4))]
        middles = [0.01 * j + 0.005 for j in range(300)]
        expected = [any(start <= middle < end for start, end in intervals) for middle in middles]
        assert oracle_flags(intervals, 300).tolist() == expected
    assert not oracle_flags([(5.0, 6.0)], 300).any() and oracle_flags([], 0).shape == (0,)


def test_a_datalist_carries_the_field_only_where_it_is_given(tmp_path: Path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    table(tmp_path, "start,end\n0,1\n")
    found = ScanDatalist.from_folder(tmp_path)
    assert [scan.oracle for scan in found] == [(tmp_path / "a_oracle.csv").resolve(), None]
    found.save(tmp_path / "scans.json")
    entries = json.loads((tmp_path / "scans.json").read_text())["scans"]
    assert entries[0]["oracle"] == "a_oracle.csv" and "oracle" not in entries[1]
    assert ScanDatalist.load(tmp_path / "scans.json").scans == found.scans
    table(tmp_path, "start,end\n1,0\n")
    with pytest.raises(InputError, match='"oracle": .*end 0 is not after start 1'):
        ScanDatalist.load(tmp_path / "scans.json")
    (tmp_path / "a_oracle.csv").unlink()
    with pytest.raises(InputError, match='"oracle": no such file'):
        ScanDatalist.load(tmp_path / "scans.json")
