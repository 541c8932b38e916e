# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monai_usspeech.data.annotations import PLANES, read_gaze
from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.files import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


def scan_entry(number: int = 1, **changes: Any) -> dict[str, Any]:
    entry = {"id": f"s{number:03d}", "subject": f"p{number:03d}", "video": f"s{number:03d}.mp4"}
    return {**entry, **changes}


def write_datalist(folder: Path, *entries: Any, **changes: Any) -> Path:
    """A datalist file in ``folder``; files that its entries name are left to the test."""
    path = folder / "scans.json"
    path.write_text(json.dumps({"name": "test", "scans": list(entries), **changes}))
    return path


def problems_of(path: Path, check_files: bool = False) -> list[str]:
    """The lines of the error, without the headline."""
    with pytest.raises(InputError) as error:
        ScanDatalist.load(path, check_files=check_files)
    lines = str(error.value).splitlines()
    return lines[1:] if len(lines) > 1 else lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of one scan."""
    for name in ("s001.mp4", "s001.wav", "s002.mp4"):
        (tmp_path / name).write_bytes(b"content")
    (tmp_path / "s001_gaze.csv").write_text("time,x,y\n0,1,2\n")
    (tmp_path / "s001_planes.csv").write_text("start,end,plane\n0,1,femur\n")
    return tmp_path


# --- reading ---


def test_every_field_arrives(folder: Path):
    entry = scan_entry(
        speech="s001.wav",
        speech_offset=-1,
        gaze="s001_gaze.csv",
        planes="s001_planes.csv",
        fan=[10, 20, 110, 220],
        fold=2,
    )
    datalist = ScanDatalist.load(write_datalist(folder, entry, fps=30))
    root = folder.resolve()
    assert datalist.name == "test" and datalist.fps == 30
    assert list(datalist) == [
        Scan(
            id="s001",
            subject="p001",
            video=root / "s001.mp4",
            speech=root / "s001.wav",
            speech_offset=-1.0,
            gaze=root / "s001_gaze.csv",
            planes=root / "s001_planes.csv",
            fan=(10, 20, 110, 220),
            fold=2,
        )
    ]


def test_what_is_left_out_has_a_stated_default(folder: Path):
    (scan,) = ScanDatalist.load(write_datalist(folder, scan_entry()))
    assert (scan.speech, scan.speech_offset, scan.gaze, scan.planes, scan.fan, scan.fold) == (None, 0.0) + (None,) * 4
    nulls = scan_entry(speech=None, gaze=None, planes=None, fan=None, fold=None)
    assert ScanDatalist.load(write_datalist(folder, nulls, fps=None)).scans == (scan,)


def test_paths_are_relative_to_the_datalist_and_not_to_the_working_folder(folder: Path, monkeypatch):
    (folder / "lists").mkdir()
    absolute = str(folder / "s002.mp4")
    path = write_datalist(folder / "lists", scan_entry(video="../s001.mp4"), scan_entry(2, video=absolute))
    monkeypatch.chdir(folder / "lists")
    videos = [scan.video for scan in ScanDatalist.load("scans.json")]
    monkeypatch.chdir("/")
    assert videos == [scan.video for scan in ScanDatalist.load(path)]
    assert videos == [folder.resolve() / "s001.mp4", folder.resolve() / "s002.mp4"]


def test_the_word_video_means_the_track_and_a_file_called_video_can_be_told_apart(folder: Path):
    (folder / "video").write_bytes(b"content")
    entries = scan_entry(speech="video"), scan_entry(2, speech="./video")
    path = write_datalist(folder, *entries)
    track, file = (scan.speech for scan in ScanDatalist.load(path))
    assert track == "video" and file == folder.resolve() / "video"
    ScanDatalist.load(path).save(path)
    assert [scan.speech for scan in ScanDatalist.load(path)] == [track, file]


def test_subjects_are_listed_once_and_sorted(folder: Path):
    entries = [scan_entry(number, subject=subject) for number, subject in enumerate("caba")]
    datalist = ScanDatalist.load(write_datalist(folder, *entries), check_files=False)
    assert datalist.subjects == ("a", "b", "c")
    assert len(datalist) == 4 and [scan.subject for scan in datalist] == list("caba")


# --- what is refused ---


@pytest.mark.parametrize(
    "entry, parts",
    [
        (scan_entry(vidoe="x.mp4"), ['"vidoe": unknown key', 'Did you mean "video"?']),
        (scan_entry(qqqq=1), ['"qqqq": unknown key', "speech_offset"]),
        ({"id": "s001", "video": "a.mp4"}, ['"subject": missing']),
        (scan_entry(subject=12), ['"subject": is 12', "in quotes"]),
        (scan_entry(subject=" "), ['"subject": is " "']),
        (scan_entry(video=None), ['"video": is null']),
        (scan_entry(video=""), ['"video": is ""']),
        (scan_entry(video="a\u0000.mp4"), ['"video"', "control character"]),
        (scan_entry(gaze=["a.csv"]), ['"gaze": is ["a.csv"]']),
        (scan_entry(speech=True), ['"speech": is true']),
        (scan_entry(speech="./s001.mp4"), ['"speech": is the video file', 'write "video"']),
        (scan_entry(speech_offset="1.5"), ['"speech_offset": is "1.5"', "seconds as a number"]),
        (scan_entry(speech_offset=None), ['"speech_offset": is null']),
        (scan_entry(speech_offset=float("nan")), ['"speech_offset": is NaN']),
        (scan_entry(fan=[0, 0, 10]), ['"fan"', "[top, left, bottom, right]", "null to detect"]),
        (scan_entry(fan=[10, 0, 10, 20]), ['"fan": is [10, 0, 10, 20]']),
        (scan_entry(fan=[0, 30, 10, 20]), ['"fan"', "left < right"]),
        (scan_entry(fan=[0, -1, 10, 20]), ['"fan"']),
        (scan_entry(fan=[0, 0.5, 10, 20]), ['"fan"', "whole pixels"]),
        (scan_entry(fan="0,0,10,20"), ['"fan"']),
        (scan_entry(fold=-1), ['"fold": is -1']),
        (scan_entry(fold=True), ['"fold": is true']),
        (scan_entry(fold="0"), ['"fold": is "0"']),
    ],
)
def test_a_wrong_field_is_named_with_file_scan_and_mend(tmp_path: Path, entry: dict, parts: list[str]):
    (line,) = problems_of(write_datalist(tmp_path, scan_entry(9), entry))
    for part in ["scans.json: ", 'scan 2 "s001"', *parts]:
        assert part in line


@pytest.mark.parametrize(
    "name", ["a/b", "a\\b", "..", ".hidden", "end.", " s", "s ", "a:b", "a\nb", "NUL", "com1.x", "x" * 201]
)
def test_an_id_that_cannot_name_a_folder_is_refused(tmp_path: Path, name: str):
    (line,) = problems_of(write_datalist(tmp_path, scan_entry(id=name)))
    assert '"id"' in line and "name a folder" in line


@pytest.mark.parametrize("name", ["s001", "Käthe 2", "2024-01-31_a.b", "conus", "(1)"])
def test_an_id_that_can_name_a_folder_is_taken(tmp_path: Path, name: str):
    (scan,) = ScanDatalist.load(write_datalist(tmp_path, scan_entry(id=name)), check_files=False)
    (tmp_path / scan.id).mkdir()
    assert os.listdir(tmp_path).count(name) == 1


@pytest.mark.parametrize(
    "changes, parts",
    [
        ({"fsp": 30}, ['"fsp": unknown key', 'Did you mean "fps"?']),
        ({"name": ""}, ['"name": is ""']),
        ({"fps": 0}, ['"fps": is 0', "above 0"]),
        ({"fps": -25}, ['"fps": is -25']),
        ({"fps": "25"}, ['"fps": is "25"']),
        ({"fps": True}, ['"fps": is true']),
        ({"fps": float("inf")}, ['"fps": is Infinity']),
        ({"scans": []}, ['"scans": is []', "at least one scan"]),
        ({"scans": {"s001": {}}}, ['"scans": is {"s001"', "give a list"]),
        ({"scans": ["s001.mp4"]}, ['scan 1: is "s001.mp4"', '"video": ...']),
    ],
)
def test_a_wrong_field_of_the_list_is_named(tmp_path: Path, changes: dict, parts: list[str]):
    (line,) = problems_of(write_datalist(tmp_path, scan_entry(), **changes))
    for part in ["scans.json: ", *parts]:
        assert part in line


def test_a_list_without_its_keys_is_named(tmp_path: Path):
    path = tmp_path / "scans.json"
    path.write_text("{}")
    lines = [line.split(": ", 1)[1] for line in problems_of(path)]
    assert lines == ['"name": missing; add it.', '"scans": missing; add it.']
    path.write_text("[]")
    assert "give an object" in problems_of(path)[0]


def test_two_scans_cannot_share_an_id_a_folder_or_a_video(tmp_path: Path):
    path = write_datalist(
        tmp_path, scan_entry(1), scan_entry(2, id="s001"), scan_entry(3, id="S001"), scan_entry(4, video="./s001.mp4")
    )
    lines = problems_of(path)
    assert len(lines) == 3
    assert 'scan 2 "s001": "id"' in lines[0] and 'that of scan 1 "s001"' in lines[0]
    assert 'scan 3 "S001": "id"' in lines[1] and 'that of scan 1 "s001"' in lines[1]
    assert 'scan 4 "s004": "video"' in lines[2] and 'that of scan 1 "s001"' in lines[2]


@pytest.mark.parametrize("fold, told", [(1, "fold 1 here and in fold 0"), (None, "no fold here and in fold 0")])
def test_a_subject_in_two_folds_is_refused(tmp_path: Path, fold: int | None, told: str):
    entries = [scan_entry(1, fold=0), scan_entry(2, subject="p", fold=0), scan_entry(3, subject="p", fold=fold)]
    (line,) = problems_of(write_datalist(tmp_path, *entries))
    assert 'scan 3 "s003": "fold": subject "p"' in line and told in line and 'scan 2 "s002"' in line


def test_all_problems_are_told_at_once_and_counted(folder: Path):
    path = write_datalist(
        folder, scan_entry(video="absent.mp4", fan=[1]), scan_entry(2, speach=None), {"id": 5}, scan_entry(2), fps=-1
    )
    with pytest.raises(InputError) as error:
        ScanDatalist.load(path)
    headline, *lines = str(error.value).splitlines()
    assert headline.startswith(f"{len(lines)} problems")
    assert all(line.startswith(f"{path}: ") for line in lines)
    told = ("absent.mp4", '"fan"', '"speach"', '"id": is 5', '"subject": missing', '"fps"', 'that of scan 2 "s002"')
    for part in told:
        assert any(part in line for line in lines), part


# --- the files that a datalist names ---


@pytest.mark.parametrize(
    "changes, parts",
    [
        ({"video": "absent.mp4"}, ['"video": no such file {folder}/absent.mp4', "correct the path"]),
        ({"video": "S001.avi"}, ["no such file {folder}/S001.avi", "The folder has s001.mp4, s001.wav"]),
        ({"video": "nowhere/s001.mp4"}, ["no such file {folder}/nowhere/s001.mp4", "relative to the datalist"]),
        ({"video": "."}, ['"video"', "is a folder"]),
        ({"speech": "absent.wav"}, ['"speech": no such file {folder}/absent.wav']),
        ({"speech": "Video"}, ['"speech"', 'write "video" for the sound track']),
        ({"gaze": "absent.csv"}, ['"gaze": no such file {folder}/absent.csv']),
        ({"gaze": "s001_planes.csv"}, ['"gaze": {folder}/s001_planes.csv: no column "time"']),
        ({"planes": "absent.csv"}, ['"planes": no such file {folder}/absent.csv']),
        ({"planes": "s001_gaze.csv"}, ['"planes": {folder}/s001_gaze.csv: no column "start"']),
    ],
)
def test_a_file_that_cannot_be_used_is_named_as_resolved(folder: Path, changes: dict, parts: list[str]):
    path = write_datalist(folder, scan_entry(**changes))
    (line,) = problems_of(path, check_files=True)
    for part in ["scans.json: ", 'scan 1 "s001"', *parts]:
        assert part.format(folder=folder.resolve()) in line
    assert len(ScanDatalist.load(path, check_files=False)) == 1


@pytest.mark.skipif(os.sep != "/", reason="both slashes part folders here")
def test_backslashes_are_explained(folder: Path):
    (line,) = problems_of(write_datalist(folder, scan_entry(video="sub\\s001.mp4")), check_files=True)
    assert "write / between folders" in line


def test_only_the_first_rows_of_gaze_are_read_before_work_begins(folder: Path):
    rows = [f"{row / 90:.4f},1,2\n" for row in range(500)]
    path = write_datalist(folder, scan_entry(gaze="s001_gaze.csv"))
    (folder / "s001_gaze.csv").write_text("time,x,y\n" + "".join(rows[:50] + ["wrong,1,2\n"] + rows[50:]))
    assert "line 52" in problems_of(path, check_files=True)[0]
    (folder / "s001_gaze.csv").write_text("time,x,y\n" + "".join(rows + ["wrong,1,2\n"]))
    (scan,) = ScanDatalist.load(path)
    with pytest.raises(InputError, match="line 502"):
        read_gaze(scan.gaze)


# --- writing ---


def full_datalist(folder: Path) -> ScanDatalist:
    entries = [
        scan_entry(1, speech="s001.wav", gaze="s001_gaze.csv", planes="s001_planes.csv", fan=[0, 1, 2, 3], fold=1),
        scan_entry(2, speech="video", speech_offset=0.25),
    ]
    return ScanDatalist.load(write_datalist(folder, *entries, fps=12.5))


@pytest.mark.parametrize("place", [".", "lists/deep", "../sibling"])
def test_a_saved_list_loads_equal_from_any_folder_and_holds_relative_paths(folder: Path, place: str):
    data = folder / "data"
    data.mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        path.rename(data / path.name)
    datalist = full_datalist(data)
    target = data / place
    target.mkdir(parents=True, exist_ok=True)
    datalist.save(target / "saved.json")
    assert ScanDatalist.load(target / "saved.json") == datalist
    assert str(folder) not in (target / "saved.json").read_text()


def test_a_saved_list_moves_with_its_files(folder: Path):
    full_datalist(folder).save(folder / "saved.json")
    moved = folder.rename(folder.with_name(f"{folder.name}_moved"))
    assert [scan.video for scan in ScanDatalist.load(moved / "saved.json")] == [
        moved.resolve() / "s001.mp4",
        moved.resolve() / "s002.mp4",
    ]


def test_saving_through_a_linked_folder_finds_the_files_again(folder: Path):
    # ".." after a link leads to the parent of what the link points to, not to the parent of the link
    (folder / "far" / "away").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "far" / "away", target_is_directory=True)
    datalist = full_datalist(folder)
    datalist.save(folder / "link" / "saved.json")
    assert ScanDatalist.load(folder / "link" / "saved.json") == datalist


def test_a_linked_file_keeps_the_name_that_tells_its_format(folder: Path):
    (folder / "store").mkdir()
    (folder / "s001.mp4").rename(folder / "store" / "0a1b2c")
    (folder / "s001.mp4").symlink_to(folder / "store" / "0a1b2c")
    (scan,) = ScanDatalist.load(write_datalist(folder, scan_entry()))
    assert scan.video == folder.resolve() / "s001.mp4"


def test_a_list_made_in_python_is_checked_like_a_file(folder: Path):
    scan = Scan("s001", "p001", folder / "s001.mp4")
    with pytest.raises(InputError, match=r'2 problems(.|\n)*"mine": scan 2 "s001": "id"(.|\n)*"video"'):
        ScanDatalist("mine", (scan, scan))
    with pytest.raises(InputError, match='"fan"'):
        ScanDatalist("mine", (replace(scan, fan=(0, 0, 0, 0)),))
    datalist = ScanDatalist("mine", [scan])  # type: ignore[arg-type]
    datalist.save(folder / "mine.json")
    assert ScanDatalist.load(folder / "mine.json").scans[0].video == folder.resolve() / "s001.mp4"


# --- a first list from a folder ---


def test_a_folder_gives_a_first_list(folder: Path):
    (folder / "._s001.mp4").write_bytes(b"left by a file manager")
    datalist = ScanDatalist.from_folder(folder)
    root = folder.resolve()
    assert datalist.name == root.name
    assert list(datalist) == [
        Scan(
            "s001",
            "s001",
            root / "s001.mp4",
            speech=root / "s001.wav",
            gaze=root / "s001_gaze.csv",
            planes=root / "s001_planes.csv",
        ),
        Scan("s002", "s002", root / "s002.mp4"),
    ]
    datalist.save(folder / "scans.json")
    assert ScanDatalist.load(folder / "scans.json") == datalist


def test_a_folder_of_folders_takes_subjects_from_the_path(tmp_path: Path):
    for name in ("p1/a.avi", "p1/b.avi", "p2/a.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "p2" / "a.WAV").touch()
    datalist = ScanDatalist.from_folder(tmp_path, "**/*.avi", subject="^(p[0-9]+)/", name="mine")
    assert datalist.name == "mine"
    assert [(scan.id, scan.subject) for scan in datalist] == [("p1_a", "p1"), ("p1_b", "p1"), ("p2_a", "p2")]
    assert [scan.speech for scan in datalist] == [None, None, tmp_path.resolve() / "p2" / "a.WAV"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"pattern": "*.avi"}, r'no file fits "\*.avi"; it holds 2 .mp4, 2 .csv, 1 .wav'),
        ({"folder": "absent"}, "there is no such folder"),
        ({"subject": "^(p[0-9]+)_"}, "s001.mp4: subject .* finds nothing"),
        ({"subject": "s[0-9]+"}, "first group"),
        ({"subject": "(["}, "not a regular expression"),
    ],
)
def test_a_folder_that_gives_no_list_is_explained(folder: Path, arguments: dict, message: str):
    root = folder / arguments.pop("folder", ".")
    with pytest.raises(InputError, match=message):
        ScanDatalist.from_folder(root, **arguments)


def test_a_folder_of_real_recordings_gives_a_list(real_data: Path, tmp_path: Path):
    datalist = ScanDatalist.from_folder(real_data / "us_speech", "**/*.avi", subject="(day[0-9]+)")
    datalist.save(tmp_path / "scans.json")
    loaded = ScanDatalist.load(tmp_path / "scans.json")
    assert loaded == datalist and len(loaded) >= 2
    assert all(scan.video.is_file() for scan in loaded)


# --- the user page ---


def test_the_examples_of_the_user_page_work(tmp_path: Path, monkeypatch, capsys):
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?)```", page, flags=re.DOTALL))
    assert set(blocks) == {"scans.json", "s001_gaze.csv", "s001_planes.csv"}
    for name, text in blocks.items():
        (tmp_path / name).write_text(text)
    for name in {*re.findall(r'"([^"]+\.(?:mp4|wav|avi))"', blocks["scans.json"])}:
        (tmp_path / name).touch()
    (tmp_path / "scans").mkdir()
    for name in ("p001_a.mp4", "p001_b.mp4", "p002_a.mp4"):
        (tmp_path / "scans" / name).touch()
    monkeypatch.chdir(tmp_path)
    shown: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(code, shown)
    assert "3 scans of 2 subjects" in capsys.readouterr().out
    assert [PLANES[label] for label in shown["labels"]] == ["abdomen", "femur", "background"]
    saved = ScanDatalist.load("scans/scans.json")
    assert saved.subjects == ("p001", "p002")
    folds = {scan.subject: scan.fold for scan in ScanDatalist.load("scans_with_folds.json")}
    assert sorted(folds.values()) == [0, 1]
    assert f"# {shown['gaze'].summary()}" in page
