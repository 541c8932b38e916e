# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a person sees of a running study: the table of cells, a bar, a line for each finished cell, the time left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from monai_usspeech.studies.cell_process import CellProcess
from monai_usspeech.studies.cells import cell_record, cell_state, typical_seconds
from monai_usspeech.studies.plan import StudyCell
from monai_usspeech.studies.runner import CellOutcome

__all__ = ["StudyProgress", "cell_table", "duration", "failure_table", "remaining_seconds"]

_QUIET = 600.0  # seconds without a word, after which a log that is no terminal gets a sign of life


def duration(seconds: float) -> str:
    """Seconds in words: ``"12 s"``, ``"3.4 min"``, ``"2.1 h"``, ``"1.3 days"``."""
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}" if unit == 1 else f"{seconds / unit:.1f} {name}"
    return f"{seconds / 86400:.1f} days"


def remaining_seconds(left: Sequence[StudyCell], typical: dict[str, float], workers: int) -> float | None:
    """The time that cells will take, from the mean of the finished cells of their stage; None when one has no such.

    Args:
        left: the cells.
        typical: see :func:`~monai_usspeech.studies.cells.typical_seconds`.
        workers: how many run at a time.
    """
    if any(cell.stage not in typical for cell in left):
        return None
    return sum(typical[cell.stage] for cell in left) / workers


def cell_table(cells: Sequence[StudyCell], workers: int) -> str:
    """The cells with their state and time, and what is left of them in all.

    Args:
        cells: the planned cells.
        workers: how many will run at a time.
    """
    typical = typical_seconds(cells)
    rows, left = [("stage", "method", "fold", "seed", "state", "time")], []
    states: Counter[str] = Counter()
    for cell in cells:
        state = cell_state(cell)
        states[state] += 1
        if state == "done":
            taken = duration(float(cell_record(cell).get("seconds", 0.0)))
        else:
            left.append(cell)
            taken = f"about {duration(typical[cell.stage])}" if cell.stage in typical else "unknown"
        rows.append((cell.stage, cell.method, str(cell.fold), str(cell.seed), state, taken))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip() for row in rows]
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    return "\n".join([*lines, "", f"{len(cells)} cells: {counts}. {_time_left(left, typical, workers)}"])


def _time_left(left: Sequence[StudyCell], typical: dict[str, float], workers: int) -> str:
    if not left:
        return "Nothing is left."
    seconds = remaining_seconds(left, typical, workers)
    if seconds is None:
        unknown = sorted({cell.stage for cell in left if cell.stage not in typical})
        return f"How long the rest takes is known once a cell of each stage is done (none yet: {', '.join(unknown)})."
    return f"Left: about {duration(seconds)} with {workers} at a time."


def failure_table(outcomes: Sequence[CellOutcome]) -> str:
    """The cells that are not done, why, and where to read more; empty when all are done."""
    lines = []
    for outcome in outcomes:
        if outcome.state != "done":
            lines.append(f"{outcome.state:8} {outcome.cell.name}: {outcome.note}")
            if outcome.state == "failed":
                lines.append(f"{'':8} log: {outcome.cell.folder / 'log.txt'}")
    return "\n".join(lines)


class StudyProgress:
    """A bar over the cells in a terminal; elsewhere a line for each cell that ends, and one now and then.

    Args:
        cells: all cells of this call, done ones included.
        workers: how many run at a time.
        show: False is silent.
    """

    def __init__(self, cells: Sequence[StudyCell], workers: int, show: bool = True) -> None:
        self.cells, self.workers, self.show = cells, max(1, workers), show
        self._left = {cell.name: cell for cell in cells if cell_state(cell) != "done"}
        self._typical = typical_seconds(cells)
        self._spoke = time.monotonic()
        done = len(cells) - len(self._left)
        terminal = show and sys.stderr.isatty()
        self._bar = tqdm(total=len(cells), initial=done, unit="cell", disable=not terminal, dynamic_ncols=True)

    def __call__(self, running: Sequence[CellProcess], new: Sequence[CellOutcome]) -> None:
        """See ``watch`` of :func:`~monai_usspeech.studies.runner.run_cells`."""
        for outcome in new:
            self._left.pop(outcome.cell.name, None)
            if outcome.state == "done":
                self._typical = typical_seconds(self.cells)
            self._bar.update(1)
            self._say(f"{outcome.state:8} {outcome.cell.name}  {duration(outcome.seconds)}  {outcome.note}".rstrip())
        now = ", ".join(_running_cell(process) for process in running)
        self._bar.set_postfix_str(f"{now}; {self._rest(running)}", refresh=False)
        self._bar.refresh()
        if running and time.monotonic() - self._spoke > _QUIET:
            self._say(f"running  {now}")

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _say(self, what: str) -> None:
        self._spoke = time.monotonic()
        if not self.show:
            return
        ended = len(self.cells) - len(self._left)
        line = f"{what}  [{ended} of {len(self.cells)}, {self._rest(())}]"
        tqdm.write(line) if not self._bar.disable else print(line, flush=True)

    def _rest(self, running: Sequence[CellProcess]) -> str:
        seconds = remaining_seconds(list(self._left.values()), self._typical, self.workers)
        if seconds is None:
            return "time left unknown"
        gone = sum(min(process.elapsed, self._typical[process.cell.stage]) for process in running) / self.workers
        return f"about {duration(max(0.0, seconds - gone))} left"


def _running_cell(process: CellProcess) -> str:
    epoch = process.epoch()
    return process.cell.name + ("" if epoch is None else f" (epoch {epoch})")
