# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""One process at a time in a folder, also among machines that share it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from monai_usspeech.data.files import InputError, read_json, write_json

__all__ = ["FolderBusyError", "FolderLock", "folder_lock"]


class FolderBusyError(InputError):
    """Another process is at work in a folder."""


class FolderLock:
    """The lock file of a folder: which processes on which machine are at work there.

    It appears under its name with its content, by a hard link, which only one process can succeed in (also on network
    file systems). A lock whose processes have all ended on this machine is taken over; about those of another machine
    nothing can be known, and they stay until somebody removes the file.

    Args:
        path: the lock file; its folder must exist.

    Raises:
        FolderBusyError: when another process holds it, naming that process and what to do.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._take()

    def add(self, pid: int) -> None:
        """Name one more process that is at work: should this one be killed, the lock holds until that one has ended."""
        self._write(self.path, [os.getpid(), pid])

    def release(self) -> None:
        """Remove the lock file."""
        self.path.unlink(missing_ok=True)

    def _write(self, path: Path, pids: list[int]) -> None:
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_json(path, {"host": socket.gethostname(), "pids": pids, "since": since})

    def _take(self) -> None:
        mine = self.path.with_name(f".{self.path.name}.{socket.gethostname()}.{os.getpid()}")
        self._write(mine, [os.getpid()])
        try:
            for _ in range(2):
                try:
                    os.link(mine, self.path)
                    return
                except FileExistsError:
                    self._remove_stale()
            raise FolderBusyError(f"{self.path}: another process took it at the same moment; run the command again.")
        finally:
            mine.unlink(missing_ok=True)

    def _remove_stale(self) -> None:
        """Take a dead process's lock away, or say who holds it."""
        try:
            content = read_json(self.path)
            host, pids, since = content["host"], [int(pid) for pid in content["pids"]], content["since"]
        except (InputError, KeyError, TypeError, ValueError):
            if not self.path.exists():  # released in this moment
                return
            raise FolderBusyError(f"{self.path}: not readable; remove it if no process is at work here.") from None
        alive = [pid for pid in pids if _is_alive(pid)]
        if host != socket.gethostname() or alive:
            who = f"process {', '.join(map(str, alive or pids))} on {host}"
            raise FolderBusyError(
                f"{self.path}: {who} is at work here since {since}. Wait for it, or, if it has ended, remove this file."
            )
        aside = self.path.with_name(f".{self.path.name}.stale.{socket.gethostname()}.{os.getpid()}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        if read_json(aside) != content:  # in between somebody else had taken it over: give it back
            os.rename(aside, self.path)
            return
        aside.unlink()


@contextmanager
def folder_lock(path: str | os.PathLike, wait: float = 10.0) -> Iterator[FolderLock]:
    """Hold a folder's lock for the body, waiting for up to ``wait`` seconds for another process to let go of it."""
    deadline = time.monotonic() + wait
    while True:
        try:
            lock = FolderLock(path)
            break
        except FolderBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    try:
        yield lock
    finally:
        lock.release()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a process that has ended but that nobody waited for: common in containers
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True
