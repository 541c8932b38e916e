# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Making the datalist of tongue ultrasound corpora as a command: the table at the end, one clear line for a mistake."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from monai_usspeech.data.datalist import ScanDatalist
from monai_usspeech.data.files import InputError, check_folder_and_output
from monai_usspeech.data.tongue_corpora import SPEECH_KINDS, CorpusCount, read_tongue_corpora

__all__ = ["tongue_table", "write_tongue_datalist"]


def write_tongue_datalist(
    folder: str | os.PathLike | None,
    output: str | os.PathLike | None,
    check: Callable[[], None] | None = None,
    name: str | None = None,
    kinds: Sequence[str] | str = SPEECH_KINDS,
    picture: str = "whole",
    min_seconds: float = 1.0,
) -> ScanDatalist:
    """Make the datalist of UltraSuite or TaL, write it, and print what is in it.

    This is the run id ``datalist`` of ``configs/data/tongue.json``; ``prepare`` makes a store of what it writes.

    Args:
        folder: see :func:`~monai_usspeech.data.tongue_corpora.read_tongue_corpora`, also for ``name``, ``kinds``,
            ``picture`` and ``min_seconds``.
        output: the JSON file to write, in a folder that exists.
        check: called first; what it raises as ``InputError`` is told like any other mistake. The configuration puts the
            check of the command line here.

    Returns:
        The list that was written.

    Raises:
        SystemExit: with status 1 when something given cannot be used.
    """
    try:
        if check is not None:
            check()
        if folder is None or output is None:
            raise InputError("name both: --folder FOLDER --output FILE")
        check_folder_and_output(folder, output)
        datalist, counts, notes = read_tongue_corpora(folder, name, kinds, picture, min_seconds)
        datalist.save(output)
    except InputError as error:
        raise SystemExit(f"datalist: {error}") from None
    print(f"\n{tongue_table(counts)}")
    for note in notes:
        print(f"Note: {note}.")
    print(f"Datalist: {os.fspath(output)}")
    return datalist


def tongue_table(counts: Sequence[CorpusCount]) -> str:
    """Speakers, sessions, utterances and minutes of ultrasound of each corpus, and of all."""
    rows = [["corpus", "speakers", "sessions", "utterances", "minutes"]]
    total = CorpusCount(
        "all",
        sum(count.speakers for count in counts),
        sum(count.sessions for count in counts),
        sum(count.utterances for count in counts),
        sum(count.seconds for count in counts),
    )
    for count in (*counts, total):
        numbers = (count.speakers, count.sessions, count.utterances)
        rows.append([count.corpus, *map(str, numbers), f"{count.seconds / 60:.1f}"])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    )
