# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""``prepare`` as a command: the table at the end, one clear line for a mistake, and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from monai_usspeech.data.files import InputError
from monai_usspeech.preparation.report import PrepareReport
from monai_usspeech.preparation.scans import prepare_scans

__all__ = ["prepare"]

_INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C


def prepare(
    datalist: str | os.PathLike | None,
    store: str | os.PathLike | None,
    check: Callable[[], None] | None = None,
    **settings: Any,
) -> PrepareReport:
    """Prepare the scans of a datalist, print what became of each, and exit with a status.

    This is the run id ``prepare`` of ``configs/data/scans.json``; from Python, call
    :func:`~monai_usspeech.preparation.scans.prepare_scans`.

    Args:
        datalist: the datalist's JSON file.
        store: the store's folder.
        check: called first; what it raises as ``InputError`` is told like any other mistake. The configuration puts the
            check of the command line here.
        settings: the keyword arguments of :func:`~monai_usspeech.preparation.scans.prepare_scans`.

    Returns:
        The report, when no scan failed.

    Raises:
        SystemExit: with status 1 when a scan failed or something given cannot be used, with 130 after Ctrl-C.
    """
    try:
        if check is not None:
            check()
        if datalist is None or store is None:
            raise InputError("name both the scan list and the store: --datalist FILE --store FOLDER")
        report = prepare_scans(datalist, store, **settings)
    except InputError as error:
        raise SystemExit(f"prepare: {error}") from None
    except KeyboardInterrupt:
        print("\nprepare: interrupted; run the same command again to go on from here.", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None
    print(f"\n{report}\nStore: {os.fspath(store)} (table: prepare.csv, pictures to look over: fan_crops.png)")
    if report.failed:
        raise SystemExit(1)
    return report
