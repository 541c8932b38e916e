# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The process of one cell, its log, and the record it leaves."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import write_json
from monai_usspeech.studies.cells import cell_content, cell_record, fingerprint
from monai_usspeech.studies.lock import FolderLock
from monai_usspeech.studies.plan import StudyCell
from monai_usspeech.studies.warm_start import start_process

__all__ = ["RECORD_FORMAT", "CellProcess", "last_error"]

RECORD_FORMAT = 1
_GRACE = 15.0  # seconds between asking a process to stop and ending it
_TAIL = 65536  # bytes at the end of a log that are looked at
_HEADER = "# started "  # before each attempt in a log
_ERROR = re.compile(r"(error: |[\w.]*(Error|Exception|Interrupt)\b)")
_BAR = re.compile(r"\d+%\||\d+it \[")  # a line of a progress bar


class CellProcess:
    """Start a cell; it writes its output to ``log.txt``, after that of earlier attempts.

    The process leads a session of its own, so that Ctrl-C reaches the study alone, which then ends the process with all
    its data loaders.

    Args:
        cell: what to run.
        program: what runs it; the cell's command follows.
        environment: of the process.

    Raises:
        FolderBusyError: when another process is at work in the cell's folder.
    """

    def __init__(self, cell: StudyCell, program: Sequence[str], environment: Mapping[str, str]) -> None:
        self.cell, self.state, self.error, self.seconds = cell, "running", "", 0.0
        cell.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(cell.folder / "cell.lock")
        try:
            self._content = cell_content(cell)
            self._before = float(cell_record(cell).get("seconds", 0.0))
            self.command = cell.command(program)
            self._began, self._started = time.monotonic(), _now()
            self._write({"state": "running", "error": "", "seconds": round(self._before, 3)})
            with open(self.log, "ab") as log:
                log.write(f"\n{_HEADER}{self._started}: {shlex.join(self.command)}\n".encode())
                log.flush()
                self._process = start_process(self.command, log, environment)
            self._lock.add(self._process.pid)
        except BaseException:
            self._lock.release()
            raise

    @property
    def log(self) -> Path:
        """Everything that the process and its predecessors printed."""
        return self.cell.folder / "log.txt"

    @property
    def elapsed(self) -> float:
        """Seconds since the start of this attempt."""
        return time.monotonic() - self._began

    def has_ended(self) -> bool:
        """Whether the process has ended; when it has, the record is written."""
        if self.state == "running" and self._process.poll() is not None:
            self._conclude("failed", last_error(self.log))
        return self.state != "running"

    def tell_to_stop(self) -> None:
        """Ask the process, and those it started, to end."""
        if not self.has_ended():
            _signal_group(self._process.pid, signal.SIGTERM)

    def wait_until_stopped(self) -> None:
        """Wait for the end, and make it one when that takes long."""
        if self.state != "running":
            return
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            _signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._conclude("interrupted", "interrupted; the next run goes on from its last saved state")

    def epoch(self) -> int | None:
        """The epoch that the run is in, from the last line of its history; None when it has none."""
        try:
            with open(self.cell.folder / "history.jsonl", "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                return int(json.loads(file.read().splitlines()[-1])["epoch"])
        except (OSError, IndexError, KeyError, TypeError, ValueError):
            return None  # not begun, or a line half written

    def _conclude(self, otherwise: str, why: str) -> None:
        """Record the end of the process: done, or ``otherwise``."""
        status = self._process.returncode
        if status == 0 and (self.cell.folder / self.cell.product).is_file():
            self._record("done")
        elif status == 0:
            self._record("failed", f"ended without error, but wrote no {self.cell.product}")
        else:
            self._record(otherwise, why or f"ended with status {status} and said nothing")

    def _record(self, state: str, error: str = "") -> None:
        self.state, self.error, self.seconds = state, error, self.elapsed
        outcome = {
            "state": state,
            "error": error,
            "seconds": round(self._before + self.seconds, 3),
            "returncode": self._process.returncode,
            "finished": _now(),
        }
        self._write(outcome)
        self._lock.release()

    def _write(self, outcome: Mapping[str, Any]) -> None:
        record = {
            "format": RECORD_FORMAT,
            **outcome,
            "command": self.command,
            "started": self._started,
            "fingerprint": fingerprint(self._content),
            "content": self._content,
        }
        write_json(self.cell.folder / "cell.json", record)


def last_error(log: str | os.PathLike) -> str:
    """The line of a log that tells best what went wrong: the last that names an error, else the last that is no bar."""
    with open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        text = file.read().decode("utf-8", "replace")
    text = text.rpartition(f"\n{_HEADER}")[2].partition("\n")[2]  # of the last attempt alone
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip() and not _BAR.search(line)]
    return next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1] if lines else "")


def _signal_group(pid: int, number: int) -> None:
    for send in (os.killpg, os.kill):  # one that was started in this moment does not lead its group yet
        try:
            send(pid, number)
            return
        except ProcessLookupError:
            continue  # or it ended in this moment


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
