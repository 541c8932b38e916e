# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from monai_usspeech.studies import warm_start
from monai_usspeech.studies.plan import PROGRAM
from monai_usspeech.studies.warm_start import StartedProcess, start_process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="cells are forked on Linux CPUs"),
]

TELL = (
    "$print('session', os.getsid(0) == os.getpid(), 'threads', torch.get_num_threads(), os.environ.get('TOLD'),"
    " os.environ.get('HOME'), os.getcwd(), sys.argv[1:3], sys.stdin.read(), flush=True)"
)
RUNS = {
    "tell": [TELL],
    "stop": ["$sys.exit('store: no such folder; make it.')"],
    "fail": ["$print(undefined)"],
    "sleep": ["$print('asleep', flush=True)", "$time.sleep(60)"],
}


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch):
    """As if the tests were ``python -m monai.bundle``."""
    monkeypatch.setattr(warm_start, "_may_fork", lambda: True)


def start(folder: Path, run_id: str, threads: int = 1) -> tuple[StartedProcess, Path]:
    """A run of a configuration that imports nothing of ours."""
    imports = [f"$import {name}" for name in ("os", "sys", "time", "torch")]
    config, log = folder / "config.json", folder / f"{run_id}.txt"
    config.write_text(json.dumps({"imports": imports, **RUNS}))
    command = [*PROGRAM, "run", run_id, "--config_file", str(config)]
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": str(threads), "TOLD": "something"}
    with open(log, "ab") as file:
        return start_process(command, file, environment), log


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_is_what_the_command_would_be(tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch):
    warm, log = start(tmp_path, "tell", threads)
    assert isinstance(warm, warm_start._WarmProcess) and warm.wait(60) == 0 == warm.poll() == warm.returncode
    said = [line for line in log.read_text().splitlines() if line.startswith("session")]
    monkeypatch.undo()
    cold, log = start(tmp_path, "tell", threads)
    assert isinstance(cold, subprocess.Popen) and cold.wait(60) == 0
    assert said == [line for line in log.read_text().splitlines() if line.startswith("session")][-1:]
    assert said == [f"session True threads {threads} something None {os.getcwd()} ['run', 'tell'] "]


@pytest.mark.parametrize(("run_id", "last"), [("stop", "store: no such folder; make it."), ("fail", "undefined")])
def test_what_ends_it_is_in_the_log_and_in_the_status(tmp_path: Path, run_id: str, last: str):
    process, log = start(tmp_path, run_id)
    assert process.wait(60) == 1
    assert last in log.read_text().splitlines()[-1]


def test_a_study_that_is_a_command_forks_and_a_script_does_not(tmp_path: Path):
    config = tmp_path / "config.json"
    imports = ["$import monai_usspeech.studies.warm_start as warm_start"]
    config.write_text(json.dumps({"imports": imports, "ask": ["$print('forks', warm_start._may_fork())"]}))
    words = [*PROGRAM, "run", "ask", "--config_file", str(config)]
    assert "forks True" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
    script = "import monai_usspeech.studies.warm_start as warm_start; print('forks', warm_start._may_fork())"
    assert "forks False" in subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout


def test_it_ends_by_a_signal_and_not_before(tmp_path: Path):
    process, log = start(tmp_path, "sleep")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    assert process.poll() is None
    until = time.monotonic() + 60
    while "asleep" not in log.read_text() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)  # it leads its group
    assert process.wait(60) == -signal.SIGTERM
