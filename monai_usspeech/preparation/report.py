# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What became of each scan: one row a scan, as a table to read and as CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np

from monai_usspeech.data.files import atomic_file
from monai_usspeech.data.store import StoredScan
from monai_usspeech.transforms.voice_activity import clip_activity

__all__ = ["PrepareReport", "ScanRow", "format_table", "stored_row", "write_csv"]

Status = Literal["kept", "skipped", "failed"]
AFFINITY_SHARE = 0.5
"""A 2 s clip has high affinity when at least this share of it is speech."""


@dataclass(frozen=True)
class ScanRow:
    """One scan.

    Attributes:
        id: the scan.
        subject: its subject.
        status: ``"kept"`` (prepared or brought up to date now), ``"skipped"`` (was whole already), ``"failed"``.
        seconds: length of the video.
        frames: frames kept.
        speech_share: share of the video in which somebody talks; None without speech.
        affinity_share: share of the 2 s clips that are mostly speech; None without speech.
        fan_box: (top, left, bottom, right) kept, in source pixels.
        note: what a person should know; for a failed scan, why.
    """

    id: str
    subject: str
    status: Status
    seconds: float | None = None
    frames: int | None = None
    speech_share: float | None = None
    affinity_share: float | None = None
    fan_box: tuple[int, int, int, int] | None = None
    note: str = ""


@dataclass(frozen=True)
class PrepareReport:
    """The outcome of a run.

    Attributes:
        kept: ids prepared or brought up to date in this run.
        failed: ids that failed.
        skipped: ids that were whole already.
        table: one row for each scan of the datalist, in its order.
        extra: ids in the store that the datalist does not have.
    """

    kept: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    table: tuple[ScanRow, ...]
    extra: tuple[str, ...] = ()

    @classmethod
    def from_rows(cls, rows: Sequence[ScanRow], extra: Sequence[str] = ()) -> PrepareReport:
        """Sort the rows' ids by status."""
        kept, failed, skipped = (tuple(r.id for r in rows if r.status == s) for s in ("kept", "failed", "skipped"))
        return cls(kept, failed, skipped, tuple(rows), tuple(extra))

    def __str__(self) -> str:
        lines = [format_table(self.table), ""]
        if self.extra:
            lines.append(f"In the store but not in the datalist (left as they are): {', '.join(self.extra)}")
        seconds = sum(row.seconds or 0.0 for row in self.table if row.status != "failed")
        lines.append(
            f"{len(self.kept)} prepared, {len(self.skipped)} already whole, {len(self.failed)} failed;"
            f" {seconds / 60:.1f} minutes of video in the store."
        )
        return "\n".join(lines)


def stored_row(scan: StoredScan, status: Status, method: str | None) -> ScanRow:
    """The row of a scan that is in the store.

    Args:
        scan: the scan.
        status: ``"kept"`` or ``"skipped"``.
        method: voice activity method to measure the speech with; None for none.
    """
    speech = affinity = None
    if scan.has_speech and method is not None:
        flags = scan.voice_activity(method)
        clips = np.asarray(clip_activity(flags)) if len(flags) >= 200 else np.zeros(0)
        speech = float(flags.mean()) if len(flags) else 0.0
        affinity = float((clips >= AFFINITY_SHARE).mean()) if len(clips) else 0.0
    note = "; ".join(scan.meta["notes"])
    return ScanRow(
        scan.id, scan.subject, status, scan.duration, scan.n_frames, speech, affinity, scan.fan_box, note
    )  # fmt: skip


def _cells(row: ScanRow) -> list[str]:
    def percent(share: float | None) -> str:
        return "-" if share is None else f"{100 * share:.0f} %"

    return [
        row.id,
        row.subject,
        row.status,
        "-" if row.seconds is None else f"{row.seconds:.1f}",
        "-" if row.frames is None else str(row.frames),
        percent(row.speech_share),
        percent(row.affinity_share),
        "-" if row.fan_box is None else ",".join(map(str, row.fan_box)),
        row.note,
    ]


def format_table(rows: Sequence[ScanRow]) -> str:
    """The rows as aligned text."""
    head = ["scan", "subject", "status", "seconds", "frames", "speech", "affinity", "fan box", "note"]
    cells = [head, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head) - 1)]
    numbers = {3, 4, 5, 6}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, [*widths, 0]))
        ).rstrip()
        for line in cells
    )


def write_csv(path: str | os.PathLike, rows: Sequence[ScanRow]) -> None:
    """Write the rows as CSV with a header; whole or not at all."""
    with atomic_file(path, "w") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ScanRow)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            content = asdict(row)
            content["fan_box"] = "" if row.fan_box is None else " ".join(map(str, row.fan_box))
            writer.writerow(content)
