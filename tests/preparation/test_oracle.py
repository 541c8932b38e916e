# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the phantom knows about its words, on its way into the store."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import ScanStore
from monai_usspeech.phantom import Phantom, generate_phantom
from monai_usspeech.phantom.oracle import matching_words
from monai_usspeech.preparation import prepare_scans

PHANTOM = {"seconds": 10.0, "frame_rate": 5.0, "size": 96, "grid": (32, 64), "seed": 4}
QUICK = {"size": 48, "workers": 0, "progress": False, "contact_sheet": False}
BOTH = ["energy", "oracle"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    generate_phantom(folder, n_scans=2, workers=1, progress=False, **PHANTOM)
    return folder


@pytest.fixture
def files(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "files"))


def true_flags(index: int) -> np.ndarray:
    course = Phantom(**PHANTOM).course(index)
    rows = matching_words(course.planes, course.narration.words)
    return np.array([any(a <= 0.01 * j + 0.005 < b for a, b, *_ in rows) for j in range(1000)])


def test_the_store_holds_when_a_matching_word_sounds(files: Path, tmp_path: Path):
    report = prepare_scans(files / "datalist.json", tmp_path / "store", voice_activity=BOTH, **QUICK)
    assert report.kept == ("s000", "s001")
    shares = []
    for number, scan in enumerate(ScanStore(tmp_path / "store")):
        flags, expected = scan.voice_activity("oracle"), true_flags(number)
        assert flags.shape == expected.shape and (flags != expected).sum() <= 2  # the table rounds to 0.1 ms
        shares.append(expected.mean())
    assert max(shares) > 0.05
    again = prepare_scans(files / "datalist.json", tmp_path / "store", voice_activity=BOTH, **QUICK)
    assert again.skipped == ("s000", "s001")


def test_it_is_added_and_renewed_without_decoding(files: Path, tmp_path: Path):
    store = tmp_path / "store"
    prepare_scans(files / "datalist.json", store, **QUICK)
    frames = (store / "s000" / "frames.bin").stat().st_mtime_ns
    assert ScanStore(store)["s000"].voice_activity_methods == ("energy",)
    prepare_scans(files / "datalist.json", store, voice_activity=BOTH, **QUICK)
    assert ScanStore(store)["s000"].voice_activity_methods == ("energy", "oracle")
    (files / "s000_oracle.csv").write_text("start,end\n1,2\n9.5,99\n")
    report = prepare_scans(files / "datalist.json", store, voice_activity=BOTH, **QUICK)
    assert (report.kept, report.skipped) == (("s000",), ("s001",))
    assert np.flatnonzero(ScanStore(store)["s000"].voice_activity("oracle")).tolist() == [
        *range(100, 200),
        *range(950, 1000),
    ]
    assert (store / "s000" / "frames.bin").stat().st_mtime_ns == frames
    # Without it everything stays as it is, the flags included.
    assert prepare_scans(files / "datalist.json", store, **QUICK).skipped == ("s000", "s001")


def test_a_datalist_without_the_truth_is_refused_before_any_work(files: Path, tmp_path: Path):
    content = json.loads((files / "datalist.json").read_text())
    del content["scans"][1]["oracle"]
    (files / "datalist.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="'oracle' needs the field \"oracle\" .* 1 of 2 lack .first: 's001'"):
        prepare_scans(files / "datalist.json", tmp_path / "store", voice_activity=BOTH, **QUICK)
    assert not (tmp_path / "store").exists()
    content["scans"][1]["speech"] = None  # without speech there is nothing to know
    (files / "datalist.json").write_text(json.dumps(content))
    report = prepare_scans(files / "datalist.json", tmp_path / "store", voice_activity=BOTH, **QUICK)
    assert report.kept == ("s000", "s001") and not ScanStore(tmp_path / "store")["s001"].has_speech


def test_scans_of_an_earlier_version_get_their_table(files: Path, made: Path):
    (files / "s001_oracle.csv").unlink()
    video = (files / "s001.mp4").stat().st_mtime_ns
    generate_phantom(files, n_scans=2, workers=1, progress=False, **PHANTOM)
    assert (files / "s001_oracle.csv").read_bytes() == (made / "s001_oracle.csv").read_bytes()
    assert (files / "s001.mp4").stat().st_mtime_ns == video
    with open(made / "s001_oracle.csv") as table:
        assert list(csv.DictReader(table).fieldnames or ()) == ["start", "end", "word", "plane"]
