# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Run cells as processes of their own, several at a time, each after the one it needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from monai_usspeech.preparation.workers import available_cores
from monai_usspeech.studies.cell_process import CellProcess
from monai_usspeech.studies.cells import cell_state, is_finished
from monai_usspeech.studies.interruption import interruptible
from monai_usspeech.studies.lock import FolderBusyError
from monai_usspeech.studies.plan import PROGRAM, StudyCell

__all__ = ["CellOutcome", "cell_environment", "run_cells", "visible_devices"]


@dataclass(frozen=True)
class CellOutcome:
    """What became of a cell in this run.

    Args:
        cell: the cell.
        state: ``"done"``, ``"failed"``, ``"skipped"`` (what it needs is not there) or ``"busy"`` (another process).
        seconds: how long it ran.
        note: why it is not done.
    """

    cell: StudyCell
    state: str
    seconds: float = 0.0
    note: str = ""


def visible_devices(devices: Sequence[int | str] | None = None) -> tuple[str, ...]:
    """The GPUs to share out, as CUDA numbers or names them.

    Args:
        devices: a choice; None takes all that this process sees, an empty tuple none.

    Returns:
        One word for each; empty when there is at most one, which needs no sharing out.
    """
    if devices is not None:
        return tuple(map(str, devices))
    count = torch.cuda.device_count()
    if count < 2:
        return ()
    named = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    return tuple(named[:count]) if named else tuple(map(str, range(count)))


def cell_environment(slot: int, workers: int, devices: Sequence[str] = ()) -> dict[str, str]:
    """The environment of a cell's process: its share of the cores, and its GPU in turn.

    Args:
        slot: which of the processes that run at a time, from 0.
        workers: how many run at a time.
        devices: the GPUs to share out; empty leaves that as it is.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // workers)))
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return environment


@contextmanager
def _all_ended(running: Mapping[int, CellProcess]) -> Iterator[None]:
    """However the body ends, no process of it goes on; cells that are cut off are recorded as interrupted."""
    try:
        yield
    finally:
        for process in running.values():
            process.tell_to_stop()
        for process in running.values():
            process.wait_until_stopped()


def run_cells(
    cells: Sequence[StudyCell],
    workers: int = 1,
    devices: Sequence[int | str] | None = None,
    program: Sequence[str] = PROGRAM,
    watch: Callable[[Sequence[CellProcess], Sequence[CellOutcome]], None] | None = None,
    poll: float = 0.1,
) -> list[CellOutcome]:
    """Run those cells that are not done, each as a process of its own.

    A cell whose process fails makes the cells that need it be skipped; the others go on. Running again continues.

    Args:
        cells: each after the one it needs; what is done already is passed over.
        workers: how many processes at a time.
        devices: see :func:`visible_devices`.
        program: what runs a cell, see :data:`~monai_usspeech.studies.plan.PROGRAM`.
        watch: called again and again with what runs, and once with each newly ended cell.
        poll: seconds between two looks.

    Returns:
        The outcomes, in the order of ending.

    Raises:
        StudyInterrupted: on SIGINT, SIGTERM or SIGHUP, after the processes have been told to stop and have ended.
        InputError: before anything runs, when a finished cell was made with another configuration.
    """
    finished = {cell.name for cell in cells if cell_state(cell) == "done"}
    finished |= {cell.needs.name for cell in cells if cell.needs is not None and is_finished(cell.needs)}
    waiting = [cell for cell in cells if cell.name not in finished]
    workers = max(1, min(workers, len(waiting)))
    gpus = visible_devices(devices)
    outcomes: list[CellOutcome] = []
    running: dict[int, CellProcess] = {}

    def tell(*new: CellOutcome) -> None:
        outcomes.extend(new)
        finished.update(outcome.cell.name for outcome in new if outcome.state == "done")
        if watch is not None:
            watch(list(running.values()), new)

    with interruptible() as check, _all_ended(running):
        while waiting or running:
            check()
            for slot in [slot for slot, process in running.items() if process.has_ended()]:
                process = running.pop(slot)
                tell(CellOutcome(process.cell, process.state, process.seconds, process.error))
            coming = {cell.name for cell in waiting} | {process.cell.name for process in running.values()}
            tell(*_give_up(waiting, finished | coming, outcomes))
            for slot in sorted(set(range(workers)) - set(running)):
                cell = next((cell for cell in waiting if cell.needs is None or cell.needs.name in finished), None)
                if cell is None:
                    break
                waiting.remove(cell)
                try:
                    running[slot] = CellProcess(cell, program, cell_environment(slot, workers, gpus))
                except FolderBusyError as error:
                    tell(CellOutcome(cell, "busy", note=str(error)))
            if running:
                time.sleep(poll)
    return outcomes


def _give_up(waiting: list[StudyCell], hopeful: set[str], outcomes: Sequence[CellOutcome]) -> list[CellOutcome]:
    """Take the cells out of ``waiting`` whose pretraining is neither there nor will be."""
    states = {outcome.cell.name: outcome.state for outcome in outcomes}
    given_up = []
    for cell in list(waiting):
        if cell.needs is not None and cell.needs.name not in hopeful:
            waiting.remove(cell)
            why = {"failed": "failed", "busy": "another process is at work on"}
            what = why.get(states.get(cell.needs.name, ""), "is not there")
            given_up.append(CellOutcome(cell, "skipped", note=f"needs {cell.needs.name}, which {what}"))
    return given_up
