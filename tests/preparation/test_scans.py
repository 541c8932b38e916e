# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tqdm import tqdm

import monai_usspeech.preparation.scan as scan_module
from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import FLAG_FROZEN, ScanStore
from monai_usspeech.preparation import prepare, prepare_scans
from monai_usspeech.preparation.report import ScanRow
from monai_usspeech.preparation.scans import _Progress
from tests.data.media_factory import click_times, click_track, make_audio, make_video
from tests.preparation.scan_files import FPS, SIZE, cut_faststart, fan_frames, fan_mask, make_datalist, speech_wave

QUICK = {"size": 64, "workers": 0, "progress": False, "contact_sheet": False}


def contents(store: Path) -> dict[str, bytes]:
    """Every file of every scan folder, by relative name."""
    files = (path for path in sorted(store.rglob("*")) if path.parent != store and path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_datalist(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def store(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    report = prepare_scans(files, folder, **{**QUICK, "contact_sheet": True})
    assert report.kept == ("s000", "s001", "s002") and not report.failed and not report.skipped
    return folder


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "copy"))


def test_a_scan_comes_out_as_it_went_in(store: Path) -> None:
    for number, scan in enumerate(ScanStore(store)):
        source = fan_frames(number, 4 * FPS)
        assert scan.subject == f"p{number // 2:03d}" and scan.source_size == SIZE[::-1] and scan.size == (64, 64)
        np.testing.assert_allclose(scan.times, np.arange(40) / 10, atol=1e-6)
        np.testing.assert_array_equal(scan.source_frames, 2 * np.arange(40))
        assert scan.duration == pytest.approx(4.0)
        top, left, bottom, right = scan.fan_box
        assert fan_mask()[top:bottom, left:right].mean() > 0.99
        assert (bottom - top) * (right - left) > 0.25 * fan_mask().sum()
        kept = scan.read_frames([7])[0]
        assert kept.mean() == pytest.approx(source[14, top:bottom, left:right].mean(), abs=4)
        assert not (scan.flags & FLAG_FROZEN).any()
        assert scan.speech_range == (0.0, 4.0) and scan.meta["speech"]["samples"] == 96_000
        written = speech_wave(number, 4.0)[0]
        np.testing.assert_allclose(scan.read_speech(0, 96_000) / 32768.0, written, atol=2 / 32768)
        assert len(scan.voice_activity("energy")) == 400 and 0.1 < scan.voice_activity("energy").mean() < 1
        assert scan.speech_statistics is not None and len(scan.speech_statistics["band_mean"]) == 256
        assert scan.gaze is not None and len(scan.gaze.time) == 120
        assert [(p.start, p.end, str(p.plane)) for p in scan.planes] == [(0.5, 1.5, "4CH"), (2.0, 4.0, "femur")]


def test_the_clock_outside_the_fan_is_not_in_the_frames(store: Path) -> None:
    # Tissue goes up to 200, the clock is 255; what coding adds stays below 235.
    assert max(scan.read_frames(range(scan.n_frames)).max() for scan in ScanStore(store)) < 235


def test_table_and_contact_sheet(store: Path) -> None:
    rows = list(csv.DictReader((store / "prepare.csv").open()))
    assert [row["id"] for row in rows] == ["s000", "s001", "s002"] and {row["status"] for row in rows} == {"kept"}
    assert float(rows[0]["seconds"]) == pytest.approx(4) and int(rows[0]["frames"]) == 40
    shares = [float(row["speech_share"]) for row in rows]
    np.testing.assert_allclose(shares, [scan.voice_activity().mean() for scan in ScanStore(store)])
    assert (store / "fan_crops.png").stat().st_size > 10_000


def test_a_damaged_scan_costs_neither_table_nor_contact_sheet(files: Path, copy: Path) -> None:
    frames = copy / "s001" / "frames.bin"
    frames.write_bytes(bytes(len(frames.read_bytes())))
    (copy / "gone").mkdir()
    (copy / "gone" / "meta.json").write_text("{")
    report = prepare_scans(files, copy, **{**QUICK, "contact_sheet": True})
    assert report.failed == ("s001",) and report.skipped == ("s000", "s002") and report.extra == ("gone",)
    assert "delete the folder" in report.table[1].note and (copy / "fan_crops.png").exists()
    rows = list(csv.DictReader((copy / "prepare.csv").open()))
    assert [row["status"] for row in rows] == ["skipped", "failed", "skipped"]


def test_running_again_does_nothing(files: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "prepare_scan", lambda *_: pytest.fail("nothing was to be done"))
    before = contents(copy)
    report = prepare_scans(files, copy, **QUICK)
    assert report.skipped == ("s000", "s001", "s002") and not report.kept
    assert contents(copy) == before
    assert [row.speech_share for row in report.table] == [s.voice_activity().mean() for s in ScanStore(copy)]


def test_only_what_is_missing_or_changed_is_done(files: Path, copy: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(files.parent, tmp_path / "files"))
    before = contents(copy)
    (folder / "s001.wav").write_bytes(make_audio(tmp_path / "new.wav", speech_wave(9, 4.0), 24_000).read_bytes())
    (copy / "s002" / "meta.json").unlink()
    report = prepare_scans(folder / "scans.json", copy, **QUICK)
    assert (report.kept, report.skipped) == (("s001", "s002"), ("s000",))
    after = contents(copy)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"s001/{name}" for name in ("speech.pcm", "voice_energy.npy", "index.npz", "meta.json")}
    assert prepare_scans(folder / "scans.json", copy, **{**QUICK, "size": 48}).kept == ("s000", "s001", "s002")
    assert {scan.size for scan in ScanStore(copy)} == {(48, 48)}


def test_labels_and_flags_are_added_without_the_video(
    files: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "open_video", lambda *_, **__: pytest.fail("the video was opened"))
    pytest.importorskip("silero_vad")
    frames = (copy / "s000" / "frames.bin").read_bytes()
    report = prepare_scans(files, copy, voice_activity=["energy", "silero"], **QUICK)
    assert report.kept == ("s000", "s001", "s002")
    assert ScanStore(copy)["s000"].voice_activity_methods == ("energy", "silero")

    scans = list(ScanDatalist.load(files))
    labels = tmp_path / "planes.csv"
    labels.write_text("start,end,plane\n0,1,kidneys\n")
    scans[0] = replace(scans[0], subject="p777", planes=labels, gaze=None)
    report = prepare_scans(ScanDatalist("test", tuple(scans)), copy, **QUICK)
    assert (report.kept, report.skipped) == (("s000",), ("s001", "s002"))
    scan = ScanStore(copy)["s000"]
    assert scan.subject == "p777" and str(scan.planes[0].plane) == "kidneys" and scan.gaze is None
    assert (copy / "s000" / "frames.bin").read_bytes() == frames
    assert prepare_scans(ScanDatalist("test", tuple(scans)), copy, **QUICK).skipped == ("s000", "s001", "s002")


def test_scans_that_the_datalist_dropped_are_mentioned(files: Path, copy: Path) -> None:
    scans = ScanDatalist.load(files)
    report = prepare_scans(ScanDatalist("test", scans.scans[:1]), copy, **QUICK)
    assert report.extra == ("s001", "s002") and "not in the datalist (left as they are): s001, s002" in str(report)


def test_speech_offset_and_stream_starts_are_honoured(tmp_path: Path) -> None:
    frames, clicks = fan_frames(0, 3 * FPS), [0.5, 1.75]
    wave = click_track(2.4, clicks, 24_000)
    own = make_video(tmp_path / "own.mkv", fps=FPS, size=SIZE, frames=frames, start=0.3, audio=wave, audio_rate=24_000,
                     audio_codec="pcm_s16le", audio_start=0.7)  # fmt: skip
    beside = make_audio(tmp_path / "beside.wav", wave, 24_000)

    def again(number: int) -> Path:
        return Path(shutil.copy(own, tmp_path / f"own{number}.mkv"))

    box = (60, 60, 120, 120)
    scans = (
        Scan("own", "p", own, "video", fan=box),
        Scan("early", "p", again(1), beside, speech_offset=-0.2, fan=box),
        Scan("late", "p", again(2), beside, speech_offset=1.0, fan=box),
        Scan("none", "p", again(3), beside, speech_offset=-60.0, fan=box),
    )
    report = prepare_scans(ScanDatalist("offsets", scans), tmp_path / "store", **QUICK)
    assert report.failed == ("none",) and "speech_offset (-60)" in report.table[3].note
    for scan, shift, span in (("own", 0.4, (0.4, 2.8)), ("early", -0.2, (0, 2.2)), ("late", 1.0, (1.0, 3.0))):
        stored = ScanStore(tmp_path / "store")[scan]
        found = click_times(stored.read_speech(0, 72_000) / 32768.0, 24_000)
        np.testing.assert_allclose(found, [c + shift for c in clicks], atol=2e-3)
        np.testing.assert_allclose(stored.speech_range, span, atol=2e-3)


def test_the_bar_ends_on_the_number_of_scans(tmp_path: Path):
    jobs = [SimpleNamespace(scan=Scan(f"s{number}", "p", tmp_path / "a.mp4")) for number in range(36)]
    with tqdm(total=len(jobs), file=io.StringIO()) as bar:
        shown = _Progress(bar, {})
        for job in jobs:
            for step in range(1, 8):
                shown.advance(job, step / 7.3)
            shown.finish(job, ScanRow(job.scan.id, "p", "kept"))
        assert bar.n == len(jobs)


def test_frozen_frames_are_flagged(tmp_path: Path) -> None:
    frames = fan_frames(0, 3 * FPS).copy()
    frames[20:40] = frames[20]
    as_usual = {"x264-params": "mbtree=1"}  # x264's default; without it a still picture flickers
    video = make_video(tmp_path / "a.mp4", fps=FPS, size=SIZE, frames=frames, options=as_usual)
    prepare_scans(ScanDatalist("x", (Scan("a", "p", video, fan=(60, 60, 120, 120)),)), tmp_path / "store", **QUICK)
    flags = ScanStore(tmp_path / "store")["a"].flags
    np.testing.assert_array_equal(np.flatnonzero(flags & FLAG_FROZEN), np.arange(11, 20))


def _nan_sound(path: Path) -> Path:
    wave = speech_wave(0, 3.0)
    wave[0, 1000] = np.nan
    return make_audio(path.with_suffix(".wav"), wave, 24_000, codec="pcm_f32le")


def _bad(folder: Path, kind: str) -> tuple[Scan, str]:
    """A scan with one thing wrong, and what must be said about it."""
    frames, path = fan_frames(0, 3 * FPS), folder / f"{kind}.mp4"
    scan = Scan(kind, "p", path)
    if kind == "one_frame":
        make_video(path, fps=FPS, size=SIZE, frames=frames[:1])
        return scan, r"too short \(1 frame, .*min_seconds"
    if kind == "text":
        path.write_text("This is not a video.\n" * 100)
        return scan, r"text\.mp4: .*(text|not a video)"
    if kind == "empty":
        path.write_bytes(b"")
        return scan, r"empty\.mp4: the file is empty"
    make_video(path, fps=FPS, size=SIZE, frames=frames)
    if kind == "cut":
        cut_faststart(path)
        return scan, r"ends early .*allow_truncated"
    if kind == "cut_before_index":
        path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
        return scan, r"cut_before_index\.mp4: "
    if kind == "no_sound":
        return replace(scan, speech="video"), "no sound track.*null"
    if kind == "nan_sound":
        return replace(scan, speech=_nan_sound(path)), "NaN"
    if kind == "box":
        return replace(scan, fan=(0, 0, 500, 500)), r'"fan" of the datalist.*160x192'
    black = np.zeros((3 * FPS, SIZE[1], SIZE[0]), np.uint8)
    make_video(path, fps=FPS, size=SIZE, frames=black)
    return scan, r'no ultrasound fan was found.*"fan": \[top, left, bottom, right\]'


BAD = ("one_frame", "text", "empty", "cut", "cut_before_index", "no_sound", "nan_sound", "box", "no_fan")


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_scan_is_named_and_the_next_goes_on(files: Path, tmp_path: Path, kind: str) -> None:
    scan, reason = _bad(tmp_path, kind)
    good = ScanDatalist.load(files).scans[0]
    report = prepare_scans(ScanDatalist("bad", (scan, good)), tmp_path / "store", **QUICK)
    assert report.failed == (kind,) and report.kept == ("s000",)
    note = next(row.note for row in report.table if row.id == kind)
    assert str(tmp_path) in note and len(note) < 500 and "\n" not in note
    assert re.search(reason, note, re.IGNORECASE), note
    assert [s.id for s in ScanStore(tmp_path / "store")] == ["s000"]
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == ["prepare.csv", "s000"]


def _break_list(files: Path, kind: str) -> None:
    folder = files.parent
    if kind == "gaze_column":
        (folder / "s001_gaze.csv").write_text("time,x\n0,1\n")
    elif kind == "plane_name":
        (folder / "s001_planes.csv").write_text("start,end,plane\n0,1,femurr\n")
    elif kind == "missing":
        (folder / "s001.wav").unlink()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("gaze_column", "s001_gaze.csv.*y"), ("plane_name", 'Did you mean "femur"'), ("missing", "s001.wav")],
)
def test_what_the_datalist_can_tell_stops_before_any_work(files: Path, tmp_path: Path, kind: str, reason: str) -> None:
    folder = Path(shutil.copytree(files.parent, tmp_path / "files"))
    _break_list(folder / "scans.json", kind)
    with pytest.raises(InputError, match=reason):
        prepare_scans(folder / "scans.json", tmp_path / "store", **QUICK)
    assert not (tmp_path / "store").exists()


def test_a_late_gaze_fault_fails_the_scan(files: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(files.parent, tmp_path / "files"))
    rows = (folder / "s001_gaze.csv").read_text().splitlines()
    (folder / "s001_gaze.csv").write_text("\n".join([*rows, "9.0,oops,3"]) + "\n")
    report = prepare_scans(ScanDatalist.load(folder / "scans.json", check_files=False), tmp_path / "store", **QUICK)
    assert report.failed == ("s001",) and "s001_gaze.csv" in report.table[1].note


def test_digital_silence_is_kept_without_speech(tmp_path: Path) -> None:
    silence = np.zeros((1, 72_000), np.float32)
    frames = fan_frames(0, 3 * FPS)
    video = make_video(tmp_path / "a.mp4", fps=FPS, size=SIZE, frames=frames, audio=silence, audio_rate=24_000)
    report = prepare_scans(ScanDatalist("x", (Scan("a", "p", video, "video"),)), tmp_path / "store", **QUICK)
    assert report.kept == ("a",) and "digitally silent" in report.table[0].note and report.table[0].speech_share is None
    assert not ScanStore(tmp_path / "store")["a"].has_speech
    again = prepare_scans(ScanDatalist("x", (Scan("a", "p", video, "video"),)), tmp_path / "store", **QUICK)
    assert again.skipped == ("a",) and "digitally silent" in again.table[0].note


def test_truncated_and_short_scans_are_kept_when_asked_for(tmp_path: Path) -> None:
    cut, one = _bad(tmp_path, "cut")[0], _bad(tmp_path, "one_frame")[0]
    scans = ScanDatalist("x", (cut, replace(one, fan=(60, 60, 120, 120))))
    report = prepare_scans(scans, tmp_path / "store", allow_truncated=True, min_seconds=0, **QUICK)
    assert report.kept == ("cut", "one_frame") and "cut short" in report.table[0].note
    assert ScanStore(tmp_path / "store")["one_frame"].n_frames == 1
    refused = prepare_scans(scans, tmp_path / "store", allow_truncated=True, min_seconds=1, **QUICK)
    assert refused.failed == ("one_frame",) and refused.skipped == ("cut",)
    assert [scan.id for scan in ScanStore(tmp_path / "store")] == ["cut"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("size", 7), ("size", "64"), ("frame_rate", 0), ("frame_rate", float("nan")), ("codec", "jpg"), ("quality", 0),
     ("min_seconds", -1), ("voice_activity", ["energetic"]), ("workers", -1), ("workers", 1.5),
     ("voice_activity", 5), ("contact_sheet", "false"), ("show_source", "no"), ("allow_truncated", 1)],
)  # fmt: skip
def test_settings_out_of_range_are_named(files: Path, tmp_path: Path, setting: str, value: object) -> None:
    with pytest.raises(InputError, match=setting):
        prepare_scans(files, tmp_path / "store", **{**QUICK, setting: value})
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_is_named(files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for odd in (tmp_path / "file", tmp_path / "file" / "below", ""):
        with pytest.raises(InputError, match="store"):
            prepare_scans(files, odd, **QUICK)


def _command_says(capsys: pytest.CaptureFixture, call: Callable[[], object]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        call()
    return caught.value.code, capsys.readouterr().out


def test_the_command_ends_with_a_status(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    message, _ = _command_says(capsys, lambda: prepare(None, None))
    assert "--datalist" in str(message) and "--store" in str(message)
    message, _ = _command_says(capsys, lambda: prepare(tmp_path / "no.json", tmp_path / "store"))
    assert str(message) == f"prepare: {tmp_path / 'no.json'}: no such file."
    listed = ScanDatalist.load(files)
    ScanDatalist(listed.name, (_bad(tmp_path, "text")[0], listed.scans[0])).save(tmp_path / "x.json")
    status, shown = _command_says(capsys, lambda: prepare(tmp_path / "x.json", tmp_path / "store", **QUICK))
    assert status == 1 and "1 prepared, 0 already whole, 1 failed" in shown and "s000" in shown
    assert prepare(files, tmp_path / "store", **QUICK).skipped == ("s000",)


def test_the_store_knows_the_name_of_the_datalist(files: Path, store: Path, tmp_path: Path) -> None:
    listed = ScanDatalist.load(files)
    assert ScanStore(store).names == (listed.name,)
    copied = shutil.copytree(store, tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in copied.glob("*/frames.bin")}
    ScanDatalist("renamed", listed.scans).save(tmp_path / "renamed.json")
    assert len(prepare_scans(tmp_path / "renamed.json", copied, **QUICK).kept) == len(listed.scans)
    assert ScanStore(copied).names == ("renamed",)
    assert {path: path.stat().st_mtime_ns for path in copied.glob("*/frames.bin")} == before  # no video was read


def test_store_metadata_is_plain(store: Path) -> None:
    meta = json.loads((store / "s000" / "meta.json").read_text())
    assert meta["content"]["settings"]["size"] == 64 and meta["content"]["sources"]["video"]["name"] == "s000.mp4"
    assert str(store.parent) not in json.dumps(meta)  # no path of this machine travels with a store
