# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Prepare all scans of a datalist: skip what is whole, do the rest in parallel, and say what became of each."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tqdm import tqdm

from monai_usspeech.data.datalist import ScanDatalist
from monai_usspeech.data.files import InputError, read_json
from monai_usspeech.data.oracle import ORACLE
from monai_usspeech.data.store_writer import remove_leftovers, scan_folder
from monai_usspeech.preparation.contact_sheet import write_contact_sheet
from monai_usspeech.preparation.report import PrepareReport, ScanRow, write_csv
from monai_usspeech.preparation.scan import ScanJob, is_current, prepare_scan
from monai_usspeech.preparation.settings import PrepareSettings, check_switch
from monai_usspeech.preparation.workers import available_cores, run_in_processes

__all__ = ["prepare_scans"]


def _check_store(store: str | os.PathLike) -> Path:
    """The store's folder, made when absent and proved writable."""
    if not os.fspath(store).strip():
        raise InputError("store: name the folder that the prepared scans shall go to.")
    folder = Path(store).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"store: {folder} cannot be written ({reason}); name another folder.") from error
    return folder


def _check_oracle(scans: ScanDatalist, methods: Sequence[str]) -> None:
    lacking = [scan.id for scan in scans if scan.speech is not None and scan.oracle is None]
    if ORACLE in methods and lacking:
        raise InputError(
            f'voice_activity: {ORACLE!r} needs the field "oracle" of each scan with speech, which {len(lacking)} of'
            f" {len(scans)} lack (first: {lacking[0]!r}). Scans made by generate have it; make the phantom's datalist"
            f" anew, or take {ORACLE!r} out."
        )


def _extra_scans(store: Path, datalist: ScanDatalist) -> list[str]:
    """Ids of whole scans in the store that the datalist does not name."""
    wanted = {scan_folder(store, scan.id) for scan in datalist}
    others = (path for path in store.glob("*/meta.json") if not path.parent.name.startswith("."))
    return sorted(_id_of(path) for path in others if path.parent not in wanted)


def _id_of(meta: Path) -> str:
    try:
        return str(read_json(meta)["id"])
    except (InputError, KeyError, TypeError):  # damaged: it can still be named by its folder
        return meta.parent.name


def _crash_row(job: ScanJob, status: int) -> ScanRow:
    cause = f"exit status {status}"
    if status < 0:
        cause = signal.Signals(-status).name
        cause += ": out of memory?" if cause == "SIGKILL" else ": the decoder crashed on this file"
    return ScanRow(job.scan.id, job.scan.subject, "failed", note=f"{job.scan.video}: the process died ({cause}).")


class _Progress:
    """The bar: it counts scans, in fractions while they run."""

    def __init__(self, bar: tqdm, rows: dict[str, ScanRow]) -> None:
        self._bar, self._rows = bar, rows
        self._shares: dict[str, float] = {}  # of the scans that run
        self._done = 0
        self._failed = sum(row.status == "failed" for row in rows.values())
        self._kept = 0

    def advance(self, job: ScanJob, share: float) -> None:
        """A scan has come to ``share`` of its video."""
        self._shares[job.scan.id] = max(share, self._shares.get(job.scan.id, 0.0))
        self._show()

    def finish(self, job: ScanJob, row: ScanRow) -> None:
        """A scan is done."""
        self._shares.pop(job.scan.id, None)
        self._done += 1
        self._show()
        self._rows[job.scan.id] = row
        self._kept, self._failed = self._kept + (row.status == "kept"), self._failed + (row.status == "failed")
        self._bar.set_postfix(kept=self._kept, failed=self._failed, refresh=False)

    def _show(self) -> None:
        self._bar.n = self._done + sum(self._shares.values())  # steps added up would not end on the total
        self._bar.update(0)


def _run(jobs: Sequence[ScanJob], rows: dict[str, ScanRow], workers: int, progress: bool) -> None:
    """Do the jobs and put their rows into ``rows``."""
    bar_format = "{l_bar}{bar}| {n:.1f}/{total_fmt} scans [{elapsed}<{remaining}{postfix}]"
    with tqdm(total=len(jobs), desc="prepare", bar_format=bar_format, mininterval=0.3, disable=not progress) as bar:
        shown = _Progress(bar, rows)
        if workers <= 1:
            for job in jobs:
                shown.finish(job, prepare_scan(job, partial(shown.advance, job)))
            return
        with closing(run_in_processes(prepare_scan, jobs, workers)) as outcomes:
            for job, done, content in outcomes:
                if not done:
                    shown.advance(job, content)
                else:
                    shown.finish(job, _crash_row(job, content) if isinstance(content, int) else content)


def _plan(scans: ScanDatalist, folder: Path, settings: PrepareSettings) -> tuple[list[ScanJob], dict[str, ScanRow]]:
    """Which scans need work, and the rows of those that do not."""
    jobs, rows = [], {}
    for scan in scans:
        job = ScanJob(scan, folder, settings, scans.fps, scans.name)
        try:
            row = is_current(job)
        except InputError:  # its own attempt will say in its row what is wrong
            row = None
        if row is None:
            jobs.append(job)
        else:
            rows[scan.id] = row
    return jobs, rows


def prepare_scans(
    datalist: ScanDatalist | str | os.PathLike,
    store: str | os.PathLike,
    size: int = 288,
    frame_rate: float | None = 10.0,
    codec: str = "jpeg",
    quality: int = 90,
    voice_activity: Sequence[str] = ("energy",),
    min_seconds: float = 2.0,
    workers: int | None = None,
    progress: bool = True,
    contact_sheet: bool = True,
    show_source: bool = False,
    allow_truncated: bool = False,
) -> PrepareReport:
    """Turn scan files into a scan store.

    Each scan is decoded once, as a stream; its fan is found and its inner rectangle cut out and resized; its speech is
    put on the video's time line. Scans that are in the store already, made from the same files with the same settings,
    are left alone; a further voice activity method, new labels or another subject are added without decoding. A scan
    that fails is named with its reason and the others go on. An interruption at any moment leaves nothing that reads
    as whole.

    Beside the scans the store gets ``prepare.csv`` (the table) and ``fan_crops.png`` (a picture of each scan, to look
    over).

    Args:
        datalist: the datalist, or its JSON file.
        store: the store's folder; made when absent.
        size: see :class:`~monai_usspeech.preparation.settings.PrepareSettings`, as for the next five.
        frame_rate: wanted frames per second.
        codec: ``"jpeg"`` or ``"raw"``.
        quality: JPEG quality.
        voice_activity: methods whose flags are stored.
        min_seconds: shorter scans fail.
        workers: processes; None takes one per core, 0 and 1 work in this process.
        progress: show a bar.
        contact_sheet: write ``fan_crops.png``.
        show_source: also show the whole source frame there. It may carry a patient's name: keep such a sheet private.
        allow_truncated: keep videos that end before their declared length.

    Returns:
        What was kept, skipped and failed, with a row for each scan.

    Raises:
        InputError: when the datalist, a setting or the store's folder cannot be used; before any work is done.
    """
    settings = PrepareSettings(
        size, frame_rate, codec, quality, voice_activity, min_seconds, allow_truncated
    )  # fmt: skip
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise InputError(f"workers: must be a whole number, 0 or more, or null for one per core; got {workers!r}.")
    scans = datalist if isinstance(datalist, ScanDatalist) else ScanDatalist.load(datalist)
    for name, value in {"contact_sheet": contact_sheet, "show_source": show_source}.items():
        check_switch(name, value)
    settings.check_voice_activity()
    _check_oracle(scans, settings.voice_activity)
    folder = _check_store(store)
    extra = _extra_scans(folder, scans)
    jobs, rows = _plan(scans, folder, settings)
    try:
        _run(jobs, rows, min(available_cores() if workers is None else workers, len(jobs)), progress)
    finally:
        for job in jobs:
            remove_leftovers(folder, job.scan.id)  # of workers that were ended in the middle
    table = [rows[scan.id] for scan in scans]
    if contact_sheet:
        unreadable = write_contact_sheet(folder, scans, table, show_source)
        table = [
            ScanRow(row.id, row.subject, "failed", note=unreadable[row.id]) if row.id in unreadable else row
            for row in table
        ]
    report = PrepareReport.from_rows(table, extra)
    write_csv(folder / "prepare.csv", report.table)
    return report
