# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Running a study: every cell once, in order, and again only what is not done."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import monai_usspeech.studies.cells as cells_module
from monai_usspeech.data.files import InputError
from monai_usspeech.studies.cell_process import CellProcess, last_error
from monai_usspeech.studies.cells import cell_content, cell_record, cell_state, fingerprint
from monai_usspeech.studies.command import plan_study, run_study
from monai_usspeech.studies.interruption import StudyInterrupted
from monai_usspeech.studies.lock import FolderBusyError, FolderLock
from monai_usspeech.studies.progress import cell_table, duration, failure_table
from monai_usspeech.studies.runner import cell_environment, run_cells, visible_devices
from monai_usspeech.studies.study_file import write_study
from tests.studies.small_study import calls, make_files, order, program, settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_files(tmp_path, n_subjects=3)


def one_fold(root: Path, **changed: Any) -> dict[str, Any]:
    """Six cells: two pretrainings, planes of three methods, retrieval of one."""
    return settings(root, **{"folds": [0], "seeds": [0], **changed})


def run(root: Path, workers: int = 1, **changed: Any) -> dict[str, str]:
    """Run what is left; the state of each cell that this call ended."""
    cells = plan_study(one_fold(root, **changed), [root]).part
    outcomes = run_cells(cells, workers, program=program(root), poll=0.01)
    return {outcome.cell.name.removesuffix("/fold0-seed0"): outcome.state for outcome in outcomes}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_cell_runs_once_and_after_the_one_it_needs(root: Path, workers: int):
    states = run(root, workers)
    assert set(states.values()) == {"done"} and len(states) == 6
    started = [name.removesuffix("/fold0-seed0") for name in calls(root)]
    assert sorted(started) == sorted(states)
    assert started.index("pretrain/ours") < started.index("planes/ours")
    assert started.index("pretrain/video") < started.index("planes/video")
    for cell in plan_study(one_fold(root), [root]).cells:
        record = cell_record(cell)
        assert record["state"] == "done" and record["returncode"] == 0 and record["seconds"] > 0
        assert record["command"] == cell.command(program(root))
        assert not (cell.folder / "cell.lock").exists()
    assert run(root) == {} and len(calls(root)) == 6


def test_more_seeds_and_folds_add_their_cells_alone(root: Path):
    run(root)
    cells = plan_study(one_fold(root, seeds=[0, 1]), [root]).cells
    assert [cell_state(cell) for cell in cells].count("done") == 6
    outcomes = run_cells(cells, program=program(root), poll=0.01)
    assert {outcome.cell.seed for outcome in outcomes} == {1} and len(calls(root)) == 12


def test_a_failed_cell_stops_its_dependants_alone_and_is_tried_again(root: Path):
    order(root, "pretrain", "ours", "fail")
    order(root, "planes", "random", "nothing")
    cells = plan_study(one_fold(root), [root]).cells
    outcomes = run_cells(cells, program=program(root), poll=0.01)
    states = {outcome.cell.name.removesuffix("/fold0-seed0"): outcome for outcome in outcomes}
    assert {name: outcome.state for name, outcome in states.items()} == {
        "planes/random": "failed",
        "pretrain/video": "done",
        "planes/video": "done",
        "pretrain/ours": "failed",
        "planes/ours": "skipped",
        "retrieval/ours": "skipped",
    }
    table = failure_table(outcomes)
    assert "failed   pretrain/ours/fold0-seed0: error: the probe fell down." in table
    assert str(root / "study/pretrain/ours/fold0-seed0/log.txt") in table
    assert "wrote no results.json" in states["planes/random"].note
    assert states["planes/ours"].note == "needs pretrain/ours/fold0-seed0, which failed"
    failed = json.loads((root / "study/pretrain/ours/fold0-seed0/cell.json").read_text())
    assert (failed["state"], failed["returncode"], failed["error"]) == ("failed", 3, "error: the probe fell down.")
    order(root, "pretrain", "ours", "")
    order(root, "planes", "random", "")
    assert run(root) == dict.fromkeys(["planes/random", "pretrain/ours", "planes/ours", "retrieval/ours"], "done")


def test_a_product_that_is_gone_is_made_again(root: Path):
    run(root)
    (root / "study/planes/random/fold0-seed0/results.json").unlink()
    assert run(root) == {"planes/random": "done"}


@pytest.mark.parametrize(
    ("file", "content", "cells", "said"),
    [
        ("task.json", {"learning_rate": 0.2}, 4, "learning_rate was 0.1 and is 0.2"),
        ("ours.json", {"alpha": 3.0}, 3, "alpha was 2.0 and is 3.0"),
    ],
)
def test_a_finished_cell_of_another_configuration_is_refused(root: Path, file, content, cells, said):
    run(root)
    path = root / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    cells_module._configuration.cache_clear()  # another process would read the file anew
    refused = []
    for cell in plan_study(one_fold(root), [root]).cells:
        try:
            cell_state(cell)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) == cells  # with what was pretrained by it: the pretraining's fingerprint is part of theirs
    assert any(said in text for text in refused) and all("another output_dir" in text for text in refused)
    with pytest.raises(InputError, match="finished with another configuration"):
        run(root)
    assert len(calls(root)) == 6


def test_a_cell_goes_on_only_as_what_it_was_begun_as(root: Path):
    order(root, "planes", "random", "nothing")
    run(root)
    (root / "study/planes/random/fold0-seed0/run_state.pt").touch()  # it came so far
    order(root, "planes", "random", "")
    with pytest.raises(InputError, match="begun with another configuration.*learning_rate was 0.1 and is 0.3"):
        run(root, downstream_options={"learning_rate": 0.3}, methods=["random"])
    assert run(root, methods=["random"]) == {"planes/random": "done"}


def test_a_cell_that_runs_says_as_what(root: Path):
    order(root, "planes", "random", "sleep")
    cell = next(cell for cell in plan_study(one_fold(root), [root]).cells if cell.stage == "planes")
    process = CellProcess(cell, program(root), cell_environment(0, 1))
    try:
        record = cell_record(cell)
        assert record["state"] == "running" and record["fingerprint"] == fingerprint(cell_content(cell))
        assert cell_state(cell) == "left"
    finally:
        process.tell_to_stop()
        process.wait_until_stopped()


def test_what_does_not_change_a_result_may_change(root: Path):
    run(root)
    assert run(root, downstream_options={"num_workers": 4}, pretrain_options={"num_workers": 2}) == {}
    moved = root.rename(root.with_name(f"{root.name}_moved"))
    assert run(moved) == {}


def test_a_weights_file_counts_by_its_content(root: Path):
    (root / "own.pt").write_bytes(b"one")
    methods = {"own": {"initialisation": "own.pt"}}
    tasks = {"planes": {"configs": ["task.json"]}}
    assert run(root, all_methods=methods, all_tasks=tasks) == {"planes/own": "done"}
    (root / "own.pt").write_bytes(b"another")
    with pytest.raises(InputError, match="initialisation was 'sha256"):
        run(root, all_methods=methods, all_tasks=tasks)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_processes_and_the_next_run_goes_on(root: Path, number: int):
    order(root, "planes", "video", "sleep")
    folder = root / "study/planes/video/fold0-seed0"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have been ignored by who started us

    def interrupt() -> None:
        _wait_for(folder / "asleep")
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(StudyInterrupted, match=signal.Signals(number).name):
            run(root)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    record = json.loads((folder / "cell.json").read_text())
    assert record["state"] == "interrupted" and record["returncode"] == -signal.SIGTERM
    assert not (folder / "cell.lock").exists()
    states = {cell.name: cell_state(cell) for cell in plan_study(one_fold(root), [root]).cells}
    assert states["planes/video/fold0-seed0"] == "partly" and states["pretrain/video/fold0-seed0"] == "done"
    order(root, "planes", "video", "")
    assert set(run(root).values()) == {"done"}
    total = json.loads((folder / "cell.json").read_text())["seconds"]
    assert total > record["seconds"]  # over all attempts


def test_a_cell_that_another_process_runs_is_left_to_it(root: Path):
    folder = root / "study/pretrain/ours/fold0-seed0"
    folder.mkdir(parents=True)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        since = {"host": socket.gethostname(), "pids": [other.pid], "since": "2026-01-01T00:00:00+00:00"}
        (folder / "cell.lock").write_text(json.dumps(since))
        cells = plan_study(one_fold(root), [root]).cells
        outcomes = {o.cell.name: o for o in run_cells(cells, program=program(root), poll=0.01)}
    finally:
        other.kill()
        other.wait()
    busy = outcomes["pretrain/ours/fold0-seed0"]
    assert busy.state == "busy" and f"process {other.pid} on {socket.gethostname()}" in busy.note
    assert "remove this file" in busy.note
    assert outcomes["planes/ours/fold0-seed0"].state == "skipped"
    assert outcomes["planes/video/fold0-seed0"].state == "done"
    assert run(root) == dict.fromkeys(["pretrain/ours", "planes/ours", "retrieval/ours"], "done")  # it has ended


def test_a_lock_of_another_machine_stays(tmp_path: Path):
    path = tmp_path / "cell.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pids": [1], "since": "yesterday"}))
    with pytest.raises(FolderBusyError, match="process 1 on elsewhere is at work here since yesterday.*remove"):
        FolderLock(path)
    path.write_text("half a")
    with pytest.raises(FolderBusyError, match="not readable; remove it"):
        FolderLock(path)
    path.unlink()
    lock = FolderLock(path)
    with pytest.raises(FolderBusyError):
        FolderLock(path)
    lock.release()
    FolderLock(path).release()
    assert not list(tmp_path.iterdir())


def test_cores_and_devices_are_shared_out(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("monai_usspeech.studies.runner.available_cores", lambda: 8)
    assert cell_environment(0, 3)["OMP_NUM_THREADS"] == "2"
    assert [cell_environment(slot, 3, ("4", "5"))["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4", "5", "4"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert cell_environment(0, 3)["OMP_NUM_THREADS"] == "7"
    assert visible_devices([2, "GPU-1"]) == ("2", "GPU-1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6, 7")
    assert visible_devices() == ("6", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_devices() == ("0", "1")
    cells = plan_study(one_fold(root, methods=["random"]), [root]).cells
    run_cells(cells, devices=[3], program=program(root), poll=0.01)
    assert "threads 7 device 3" in (cells[0].folder / "log.txt").read_text()


def test_the_table_says_what_is_left_and_for_how_long(root: Path):
    cells = plan_study(one_fold(root), [root]).cells
    text = cell_table(cells, workers=1)
    assert "6 cells: 6 left." in text and "known once a cell of each stage is done" in text
    order(root, "pretrain", "ours", "fail")
    order(root, "retrieval", "ours", "fail")
    run_cells(cells, program=program(root), poll=0.01)
    for cell in cells:  # known times: 100 s for each finished cell
        path = cell.folder / "cell.json"
        if path.is_file():
            path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 100.0}))
    lines = [line.split() for line in cell_table(cells, 1).splitlines()]
    assert ["pretrain", "video", "0", "0", "done", "1.7", "min"] in lines
    assert ["pretrain", "ours", "0", "0", "failed", "about", "1.7", "min"] in lines
    without = [cell for cell in cells if cell.stage != "retrieval"]  # left: one pretraining, one of planes
    assert "5 cells: 3 done, 1 failed, 1 left. Left: about 1.7 min with 2 at a time." in cell_table(without, 2)
    assert [duration(s) for s in (5, 90, 7200, 200000)] == ["5 s", "1.5 min", "2.0 h", "2.3 days"]


def test_the_study_file_grows_and_refuses_another_study(root: Path):
    def write(**changed: Any) -> dict[str, Any]:
        plan = plan_study(one_fold(root, **changed), [root])
        return json.loads(write_study(plan.study, plan.data, plan.held_out, plan.subjects).read_text())

    first = write(methods=["ours", "random"], reference="ours")
    assert list(first["methods"]) == ["random", "ours"] and first["folds"] == [0] and first["data"]["scans"] == 3
    sides = first["splits"]["0"]
    assert sorted(sides["test"] + sides["pretraining"]) == ["p000", "p001", "p002"] and len(sides["test"]) == 1
    assert first["versions"]["torch"] and first["reference"] == "ours"
    grown = write(methods=["video"], folds=[2], seeds=[4])
    assert list(grown["methods"]) == ["random", "ours", "video"]
    assert (grown["folds"], grown["seeds"], sorted(grown["splits"])) == ([0, 2], [0, 4], ["0", "2"])
    assert grown["created"] == first["created"]
    for changed in ({"split_seed": 1}, {"n_folds": 2}):
        with pytest.raises(InputError, match=f"{next(iter(changed))} was .* Choose another output_dir"):
            write(**changed)
    other = make_files(root / "other", n_subjects=4)
    with pytest.raises(InputError, match="the scans were others"):
        write(dataset_dir=str(other / "store"))


def test_the_command_ends_with_a_table_and_a_status(root: Path, capsys: pytest.CaptureFixture[str]):
    order(root, "planes", "ours", "fail")
    with pytest.raises(SystemExit) as ended:
        run_study(one_fold(root), [root], program(root), report=False)
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "failed   planes/ours/fold0-seed0: error: the probe fell down." in printed.err
    assert len([line for line in printed.out.splitlines() if " of 6, " in line]) == 6  # a line for each cell
    order(root, "planes", "ours", "")
    outcomes = run_study(one_fold(root), [root], program(root), report=False)
    assert [outcome.cell.name for outcome in outcomes] == ["planes/ours/fold0-seed0"]
    assert json.loads((root / "study/study.json").read_text())["tasks"]["retrieval"]["methods"] == ["ours"]
    with pytest.raises(SystemExit, match=r'^study: methods: nothing defines "us"'):
        run_study(one_fold(root, methods=["us"]), [root], program(root))


def test_two_parts_do_the_whole_together(root: Path):
    for cells in ("1/2", "2/2"):
        plan = plan_study(settings(root, seeds=[0], cells=cells), [root])
        run_cells(plan.part, 3, program=program(root), poll=0.01)
    assert len(calls(root)) == len(set(calls(root))) == len(plan.cells) == 18


def test_the_line_of_a_log_that_tells(tmp_path: Path):
    log = tmp_path / "log.txt"

    def told(text: str) -> str:
        log.write_text(f"\n# started then: x\nerror: an old one\n\n# started now: y\n{text}")
        return last_error(log)

    assert told("a\nTraceback\n  File\nValueError: bad\n") == "ValueError: bad"
    assert told("torch.OutOfMemoryError: full\nsome cleanup\n") == "torch.OutOfMemoryError: full"
    assert told("loading\n 10%|# | 1/10\r 20%|## | 2/10\r") == "loading"
    assert told("") == ""
