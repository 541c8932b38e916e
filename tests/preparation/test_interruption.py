# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Processes: many give what one gives, a dead one is named, and an interrupted run is completed by the next."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import monai_usspeech.preparation.scans as scans_module
from monai_usspeech.data.datalist import Scan, ScanDatalist
from monai_usspeech.data.store import ScanStore
from monai_usspeech.preparation import PrepareSettings, prepare_scans
from monai_usspeech.preparation.scan import ScanJob
from monai_usspeech.preparation.workers import run_in_processes
from tests.preparation.scan_files import make_datalist
from tests.preparation.test_scans import contents

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = {"size": 64, "progress": False, "contact_sheet": False}
# A shell that starts the tests in the background has SIGINT ignored, and processes inherit that.
RUN = (
    "import signal, sys; from monai_usspeech.preparation import prepare\n"
    "if __name__ == '__main__':\n"
    "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "    prepare(sys.argv[1], sys.argv[2], size=64, progress=False, contact_sheet=False, workers=2)\n"
)


@pytest.fixture(autouse=True)
def ctrl_c_interrupts() -> Iterator[None]:
    """The same for this process: Ctrl-C raises, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datalist of 12 scans: copies of two."""
    path = make_datalist(tmp_path_factory.mktemp("files"), n_scans=2, seconds=6.0)
    scans = []
    for n in range(12):
        scan = ScanDatalist.load(path).scans[n % 2]
        video = Path(shutil.copy(scan.video, path.parent / f"n{n:02d}.mp4"))
        speech = Path(shutil.copy(str(scan.speech), path.parent / f"n{n:02d}.wav"))
        scans.append(replace(scan, id=f"n{n:02d}", video=video, speech=speech))
    ScanDatalist("twelve", tuple(scans)).save(path)
    return path


@pytest.fixture(scope="module")
def uninterrupted(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("whole")
    prepare_scans(files, store, workers=0, **SETTINGS)
    return store


def test_two_workers_give_what_one_gives(files: Path, uninterrupted: Path, tmp_path: Path) -> None:
    report = prepare_scans(files, tmp_path / "store", workers=2, **SETTINGS)
    assert len(report.kept) == 12 and [row.id for row in report.table] == [f"n{n:02d}" for n in range(12)]
    assert contents(tmp_path / "store") == contents(uninterrupted)


def _under_way(store: Path) -> bool:
    """Whether a scan is whole: eleven are left then, and with two workers another is nearly always half written."""
    return any(store.glob("[!.]*/meta.json"))


def _start_and_interrupt(files: Path, store: Path, stop: Callable[[subprocess.Popen], None]) -> subprocess.Popen:
    """Run prepare in its own process group and stop it in the middle."""
    command = [sys.executable, "-c", RUN, files, store]
    process = subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not _under_way(store):
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be interrupted"
        time.sleep(0.001)
    stop(process)
    return process


def _group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_run_leaves_no_half_and_the_next_completes_it(
    files: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    process = _start_and_interrupt(files, store, lambda p: p.send_signal(signal.SIGKILL))
    assert process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while not _group_is_gone(process.pid):
        assert time.monotonic() < deadline, "worker processes outlived the run"
        time.sleep(0.05)
    whole = {f"{scan.id}/" for scan in ScanStore(store)}
    assert 0 < len(whole) < 12
    expected = contents(uninterrupted)
    readable = {name: data for name, data in contents(store).items() if not name.startswith(".")}
    assert readable == {name: data for name, data in expected.items() if name[:4] in whole}
    report = prepare_scans(files, store, workers=0, **SETTINGS)
    assert len(report.skipped) == len(whole) and len(report.kept) == 12 - len(whole)
    assert contents(store) == expected and not list(store.glob(".*"))


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(files: Path, tmp_path: Path) -> None:
    process = _start_and_interrupt(files, tmp_path / "store", lambda p: os.killpg(p.pid, signal.SIGINT))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip().splitlines()[-1].startswith("prepare: interrupted; run the same")
    assert "Traceback" not in said
    assert not list((tmp_path / "store").glob(".*.part-*"))
    assert 0 < len(ScanStore(tmp_path / "store")) < 12


def test_an_interrupt_ends_the_workers_and_clears_up(files: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"

    def press() -> None:
        while not _under_way(store):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        prepare_scans(files, store, workers=2, **SETTINGS)
    assert 0 < len(ScanStore(store)) < 12 and not list(store.glob(".*"))
    assert not multiprocessing.active_children()


def test_ctrl_c_without_workers(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(job: ScanJob, progress: Callable[[float], None]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scans_module, "prepare_scan", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_scans(files, tmp_path / "store", workers=0, **SETTINGS)
    assert not list((tmp_path / "store").iterdir())


def _work_or_die(job: int, progress: Callable[[float], None]) -> str:
    progress(0.5)
    if job == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return f"done {job}"


def test_a_process_that_dies_is_told_apart() -> None:
    results = {job: content for job, done, content in run_in_processes(_work_or_die, range(4), 2) if done}
    assert results == {0: "done 0", 1: -signal.SIGSEGV, 2: "done 2", 3: "done 3"}
    job = ScanJob(Scan("a", "p", Path("a.mp4")), Path("store"), PrepareSettings())
    row = scans_module._crash_row(job, -signal.SIGSEGV)
    assert row.status == "failed" and "SIGSEGV: the decoder crashed on this file" in row.note


def test_the_bundle_command(files: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    scans = ScanDatalist.load(files).scans
    ScanDatalist("x", (scans[0], replace(scans[1], id="bad", video=bad))).save(tmp_path / "scans.json")
    command = [sys.executable, "-m", "monai.bundle", "run", "prepare", "--config_file", "configs/data/scans.json"]
    command += ["--datalist", tmp_path / "scans.json", "--store", tmp_path / "store", "--size", "32", "--workers", "0"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "bad.mp4" in done.stdout and "1 prepared, 0 already whole, 1 failed" in done.stdout
    assert [(scan.id, scan.size) for scan in ScanStore(tmp_path / "store")] == [("n00", (32, 32))]
