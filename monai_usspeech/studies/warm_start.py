# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Start the process of a cell; where that is safe from one that has imported the libraries already.

Importing MONAI and what it brings takes several seconds, as long as a small evaluation. Cells on CPUs are therefore
forked from a process that has only imported (the fork server of :mod:`multiprocessing`). Where there is a GPU each cell
is started anew: CUDA must not be touched before a fork, and the seconds do not count there.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import BinaryIO, Protocol

import torch
from threadpoolctl import threadpool_limits

from monai_usspeech.studies.plan import PROGRAM

__all__ = ["StartedProcess", "start_process"]

_MODULE = PROGRAM[-1]
_IMPORTED = [_MODULE, "monai_usspeech"]


class StartedProcess(Protocol):
    """What a study does with a process, as :class:`subprocess.Popen` has it."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs or nobody has looked."""

    def poll(self) -> int | None:
        """Look whether it has ended: its ``returncode``."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; :class:`subprocess.TimeoutExpired` after ``timeout`` seconds."""


def start_process(command: Sequence[str], log: BinaryIO, environment: Mapping[str, str]) -> StartedProcess:
    """Start a command as the leader of a session of its own, so that what it starts can be ended with it.

    Args:
        command: a program and its arguments. :data:`~monai_usspeech.studies.plan.PROGRAM` is forked where it can be.
        log: an open file, where its output goes.
        environment: all of its environment.
    """
    n_words = len(PROGRAM)
    if tuple(command[:n_words]) == PROGRAM and _may_fork():
        return _WarmProcess(command[n_words:], log.name, environment)
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
    )


def _may_fork() -> bool:
    """Whether cells may be forked: on Linux, without a GPU, and when the study itself is ``python -m monai.bundle``.

    A fork imports the main module of its study again. That one does nothing then; a script without a guard would run.
    """
    main = getattr(sys.modules["__main__"], "__spec__", None)
    is_command = main is not None and main.name == f"{_MODULE}.__main__"
    return is_command and sys.platform == "linux" and not torch.cuda.is_available()


class _WarmProcess:
    """``python -m monai.bundle`` in a fork of a process that has imported it, with the face of ``subprocess.Popen``."""

    def __init__(self, arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
        context: ForkServerContext = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(list(arguments), os.path.realpath(log), dict(environment), os.getcwd())
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(_MODULE, timeout or 0.0)
        return self._process.exitcode


def _run(arguments: Sequence[str], log: str, environment: Mapping[str, str], folder: str) -> None:
    """In the fork: become what the command would have been, and run it."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdigit():  # the libraries read it when they were loaded, which was before
        torch.set_num_threads(int(threads))
        threadpool_limits(int(threads))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as PYTHONUNBUFFERED, read at the start
    sys.argv = [_MODULE, *arguments]
    runpy.run_module(_MODULE, run_name="__main__", alter_sys=True)
