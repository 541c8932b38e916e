# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import hashlib
import json
import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from monai.bundle import run

import monai_usspeech.phantom.writer as writer
from monai_usspeech.data.annotations import read_gaze, read_planes
from monai_usspeech.data.files import InputError
from monai_usspeech.phantom import Phantom, generate, generate_phantom

SETTINGS = {"seconds": 8.0, "frame_rate": 5.0, "size": 96, "grid": (32, 64), "seed": 4, "progress": False}
SCAN = {"seed": 4, "size": 96, "frame_rate": 5.0, "seconds": 8.0, "grid": (32, 64)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "made"
    generate_phantom(path, n_scans=2, scans_per_subject=2, workers=1, **SETTINGS)
    return path


def test_datalist_has_the_schemas_keys_and_names_files_that_exist(folder: Path):
    datalist = json.loads((folder / "datalist.json").read_text())
    assert set(datalist) == {"name", "fps", "scans"} and "SYNTHETIC" in datalist["name"] and datalist["fps"] is None
    keys = {"id", "subject", "video", "speech", "speech_offset", "gaze", "planes", "oracle", "fan"}
    assert [set(scan) for scan in datalist["scans"]] == [keys, keys]
    assert [scan["subject"] for scan in datalist["scans"]] == ["p000", "p000"]
    for scan in datalist["scans"]:
        assert all((folder / scan[key]).is_file() for key in ("video", "speech", "gaze", "planes", "oracle"))


def test_video_holds_the_scans_frames_at_their_times(folder: Path):
    expected = Phantom(**SCAN, scans_per_subject=2).scan(1)
    with av.open(str(folder / "s001.mp4")) as container:
        assert "SYNTHETIC" in container.metadata["comment"]
        frames = [(float(f.time), f.to_ndarray(format="gray")) for f in container.decode(video=0)]
    np.testing.assert_allclose([time for time, _ in frames], expected.times, atol=1e-6)
    error = np.abs(np.stack([image for _, image in frames]).astype(float) - expected.frames)
    assert error.mean() < 4


def test_sound_and_tables_hold_the_scans_tracks(folder: Path):
    expected = Phantom(**SCAN, scans_per_subject=2).scan(1)
    with wave.open(str(folder / "s001.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 1, 2)
        np.testing.assert_array_equal(np.frombuffer(file.readframes(10**9), np.int16), expected.speech)
    assert b"SYNTHETIC" in (folder / "s001.wav").read_bytes()[:300]
    gaze = read_gaze(folder / "s001_gaze.csv")
    np.testing.assert_allclose(gaze.x, expected.gaze.x, atol=0.006)
    np.testing.assert_allclose(gaze.time, expected.gaze.time, atol=1e-4)
    planes = read_planes(folder / "s001_planes.csv")
    assert [p.plane for p in planes] == [p.plane for p in expected.planes]
    np.testing.assert_allclose([p[:2] for p in planes], [p[:2] for p in expected.planes], atol=1e-3)
    with open(folder / "s001_words.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(r["word"], r["kind"]) for r in rows] == [(w.word, w.kind) for w in expected.words]


def test_a_rerun_makes_nothing_anew_and_a_larger_number_extends(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = contents(folder)
    made: list[int] = []
    monkeypatch.setattr(writer, "write_scan", lambda phantom, index, *rest: made.append(index))
    generate_phantom(folder, n_scans=2, scans_per_subject=2, workers=1, **SETTINGS)
    assert made == [] and contents(folder) == before
    generate_phantom(folder, n_scans=4, scans_per_subject=2, workers=1, **SETTINGS)
    assert made == [2, 3]
    (folder / "datalist.json").write_bytes(before["datalist.json"])


def test_other_settings_in_the_same_folder_are_refused_by_name(folder: Path):
    with pytest.raises(InputError, match="seed 4 instead of 5"):
        generate_phantom(folder, n_scans=2, scans_per_subject=2, workers=1, **{**SETTINGS, "seed": 5})


def test_a_folder_from_before_there_were_the_later_settings_is_extended(folder: Path, tmp_path: Path):
    record = json.loads((folder / "phantom.json").read_text())
    for name in ("nuisance", "gaze"):
        del record["settings"][name]
    for name in ("noise_share", "trail", "chatter_share"):
        del record["settings"]["narration"][name]
    record["fingerprint"] = "of other keys"
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "phantom.json").write_text(json.dumps(record))
    generate_phantom(tmp_path, n_scans=2, scans_per_subject=2, workers=1, **SETTINGS)
    with pytest.raises(InputError, match=r"nuisance 1.0 instead of 0.5"):
        generate_phantom(tmp_path, n_scans=2, scans_per_subject=2, workers=1, nuisance=0.5, **SETTINGS)


def test_scans_with_other_numbers_are_those_of_a_larger_folder(tmp_path: Path):
    scans_of = {**SETTINGS, "seconds": 2.0}
    generate_phantom(tmp_path / "all", n_scans=6, scans_per_subject=2, workers=1, **scans_of)
    generate_phantom(tmp_path / "last", n_scans=2, scans_per_subject=2, workers=1, first_scan=4, **scans_of)
    whole, last = contents(tmp_path / "all"), contents(tmp_path / "last")
    scans = {name for name in last if name.startswith("s0")}
    assert {name[:4] for name in scans} == {"s004", "s005"} and len(scans) == 12
    assert all(last[name] == whole[name] for name in scans)
    entries = [json.loads(made["datalist.json"])["scans"] for made in (whole, last)]
    assert entries[1] == entries[0][4:] and {entry["subject"] for entry in entries[1]} == {"p002"}
    # nothing is recorded where the numbers begin with 0, as in every folder of before
    records = [json.loads(made["phantom.json"])["settings"] for made in (whole, last)]
    assert "first_scan" not in records[0] and records[1] == {**records[0], "first_scan": 4}
    generate_phantom(tmp_path / "last", n_scans=4, scans_per_subject=2, workers=1, first_scan=4, **scans_of)
    assert (tmp_path / "last/s007.mp4").exists() and not (tmp_path / "last/s003.mp4").exists()
    with pytest.raises(InputError, match="first_scan 4 instead of 0"):
        generate_phantom(tmp_path / "last", n_scans=4, scans_per_subject=2, workers=1, **scans_of)


def test_the_record_of_a_folder_from_0_is_as_it_was_before_first_scan(folder: Path):
    written = (folder / "phantom.json").read_text()
    settings = {"version": 1, "crf": 18, **Phantom(**SCAN, scans_per_subject=2).settings}
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    expected = {"synthetic": True, "fingerprint": fingerprint, "settings": settings}
    assert written == json.dumps(expected, indent=4) + "\n"


def test_a_first_scan_that_cannot_be_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match="first_scan is 5 in the middle of a subject.* multiple of 3, such as 6"):
        generate_phantom(tmp_path, n_scans=3, scans_per_subject=3, first_scan=5, **SETTINGS)
    for wrong in (-1, 1.5, True, "7"):
        with pytest.raises(InputError, match="first_scan is .*at least 0"):
            generate_phantom(tmp_path, n_scans=3, first_scan=wrong, **SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_somebody_elses_scans_is_left_alone(tmp_path: Path):
    (tmp_path / "s001.wav").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"s001\.wav.*not from the phantom"):
        generate_phantom(tmp_path, n_scans=2, workers=1, **SETTINGS)
    assert contents(tmp_path) == {"s001.wav": b"mine"}


def test_unknown_settings_are_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match="dwel"):
        generate_phantom(tmp_path, dwel=(1, 2))
    with pytest.raises(SystemExit, match="even"):
        generate(output_dir=tmp_path, size=97)
    for setting in ({"n_scans": 1.5}, {"n_scans": 0}, {"crf": 60}, {"workers": -1}):
        with pytest.raises(InputError, match=f"{next(iter(setting))} is"):
            generate_phantom(tmp_path, **{**SETTINGS, **setting})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="another output_dir"):
        generate_phantom(tmp_path / "file", n_scans=1, **SETTINGS)


def test_an_interrupted_run_leaves_no_whole_looking_scan_and_is_taken_up(folder: Path, tmp_path: Path, monkeypatch):
    drawn = writer.PhantomCourse.frames

    def interrupted(self):
        for number, batch in enumerate(drawn(self)):
            if self.index == 1 and number == 1:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(writer.PhantomCourse, "frames", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate_phantom(tmp_path, n_scans=2, scans_per_subject=2, workers=1, **SETTINGS)
    names = {path.name for path in tmp_path.iterdir()}
    assert "s000.mp4" in names
    assert not names & {"s001.mp4", "datalist.json"} and not any(name.endswith(".tmp") for name in names)
    kept = os.stat(tmp_path / "s000.mp4").st_mtime_ns
    generate_phantom(tmp_path, n_scans=2, scans_per_subject=2, workers=1, **SETTINGS)
    assert os.stat(tmp_path / "s000.mp4").st_mtime_ns == kept
    assert contents(tmp_path) == contents(folder)


def test_a_scan_without_a_plane_is_written_as_background(tmp_path: Path):
    generate_phantom(tmp_path, n_scans=1, workers=1, **{**SETTINGS, "seconds": 1.0})
    assert [str(interval.plane) for interval in read_planes(tmp_path / "s000_planes.csv")] == ["background"]


def test_the_bundle_configuration_makes_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = Path(__file__).parents[2] / "configs" / "data" / "phantom.json"
    few = {"output_dir": str(tmp_path / "made"), "n_scans": 1, "seconds": 1.0, "size": 96, "grid": [32, 64]}
    run("generate", config_file=str(config), workers=1, progress=False, **few)
    assert f"SYNTHETIC scans: {tmp_path / 'made' / 'datalist.json'}" in capsys.readouterr().out
    written = json.loads((tmp_path / "made" / "phantom.json").read_text())["settings"]
    assert written["narration"]["gap"] == 0.25 and written["dwell"] == [4.0, 8.0]  # the demonstration's
    hard = {**few, "output_dir": str(tmp_path / "hard"), "difficulty": "hard", "narration#gap": 1.5, "first_scan": 1000}
    run("generate", config_file=str(config), workers=1, progress=False, **hard)
    written = json.loads((tmp_path / "hard" / "phantom.json").read_text())["settings"]
    assert written["narration"]["gap"] == 1.5 and written["narration"]["trail"] == 1.0 and written["nuisance"] == 1.5
    assert (tmp_path / "hard" / "s1000.mp4").is_file() and not (tmp_path / "hard" / "s000.mp4").exists()
    with av.open(str(tmp_path / "made" / "s000.mp4")) as container:
        assert (container.streams.video[0].width, sum(1 for _ in container.decode(video=0))) == (96, 15)


@pytest.mark.slow  # two processes import the package: seconds of processor time
def test_processes_make_the_same_files_as_one(folder: Path, tmp_path: Path):
    generate_phantom(tmp_path, n_scans=2, scans_per_subject=2, workers=2, **SETTINGS)
    assert contents(tmp_path) == contents(folder)
