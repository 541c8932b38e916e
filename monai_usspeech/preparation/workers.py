# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""One process per job, so that a decoder that dies takes one scan with it and can be named."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from multiprocessing import connection
from typing import Any, TypeVar

import torch

__all__ = ["available_cores", "run_in_processes"]

Job = TypeVar("Job")


def available_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _die_with_parent() -> None:
    """End this process when the one that started it is gone (killed without a chance to stop its workers)."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(function: Callable[[Any, Callable[[float], None]], Any], job: Any, sender: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what stops
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    sent = 0.0

    def progress(share: float) -> None:
        nonlocal sent
        if share >= sent + 0.01:
            sent = share
            sender.send((False, share))

    result = function(job, progress)
    sender.send((True, result))
    sender.close()


def _context() -> Any:
    """Fork server where there is one: the package is imported once, and no decoder or thread of ours is forked."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monai_usspeech.preparation.scan"])
    return context


def run_in_processes(
    function: Callable[[Job, Callable[[float], None]], Any], jobs: Iterable[Job], workers: int
) -> Generator[tuple[Job, bool, Any], None, None]:
    """Run ``function(job, progress)`` for each job in its own process.

    Closing the generator (or an exception in it) ends the processes that still run.

    Args:
        function: importable; its result and its jobs can be pickled.
        jobs: what to do.
        workers: how many at a time.

    Yields:
        ``(job, False, share)`` while a job runs; ``(job, True, result)`` when it is done, in the order of finishing.
        The result of a job whose process died is the exit status as an int (negative: the signal).
    """
    context = _context()
    waiting = deque(jobs)
    running: dict[Any, tuple[Any, Job]] = {}  # receiving end of the pipe: process, job
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(function, waiting[0], sender), daemon=True)
                process.start()
                sender.close()  # the worker's copy is now the only one: its death ends the pipe
                running[receiver] = (process, waiting.popleft())
            ready: list[Any] = connection.wait(list(running))
            for receiver in ready:
                process, job = running[receiver]
                try:
                    done, content = receiver.recv()
                except EOFError:
                    process.join()
                    done, content = True, int(process.exitcode)
                if done:
                    receiver.close()
                    process.join()
                    del running[receiver]
                yield job, done, content
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()
