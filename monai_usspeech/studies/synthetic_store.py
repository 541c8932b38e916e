# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""A store of SYNTHETIC scans as one step: made by the phantom, prepared, and known again by its record.

It lies in this room because it needs both the phantom and the preparation, which know nothing of one another: the
phantom writes ordinary scan files, and the preparation reads ordinary scan files.

``phantom_store.json`` in the store says what it was made from and whether it is whole. It is written before the first
scan is prepared, so that a store that was cut off goes on only as what it was begun as; the folder of scan files has a
record of its own, which keeps it from being begun as two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import InputError, changed_values, nearest_name, read_json, write_json
from monai_usspeech.data.store_writer import scan_folder
from monai_usspeech.phantom.scan_set import PhantomScanSet, with_later_settings
from monai_usspeech.phantom.writer import generate_phantom
from monai_usspeech.preparation.scans import prepare_scans
from monai_usspeech.preparation.settings import PREPARATION_VERSION, PrepareSettings
from monai_usspeech.studies.lock import FolderLock, folder_lock

__all__ = ["SyntheticStore"]

_RECORD = "phantom_store.json"
_PATIENCE = 24 * 3600.0  # seconds that the parts of a study wait for the one that makes their data


class SyntheticStore:
    """A scan store made by the phantom, whether it is there already or not.

    Args:
        store: the store's folder.
        settings: arguments of :func:`~monai_usspeech.phantom.generate_phantom` that say what the scans are, such as
            ``{"n_scans": 60, "first_scan": 1000, "seed": 7, "difficulty": "standard"}``.
        prepare: arguments of :func:`~monai_usspeech.preparation.prepare_scans` that say how they are prepared, such as
            ``{"size": 72, "voice_activity": ["energy", "oracle"]}``.
        scans: folder of the scan files; None: beside the store, its name with ``_scans`` behind it. Once the store is
            whole they are not needed any more, but to extend it.

    Attributes:
        folder: the store. scan_files: folder of the scan files. scan_set: which scans.

    Raises:
        InputError: when a setting is unknown or out of range.
    """

    def __init__(
        self,
        store: str | os.PathLike,
        settings: Mapping[str, Any] | None = None,
        prepare: Mapping[str, Any] | None = None,
        scans: str | os.PathLike | None = None,
    ) -> None:
        self.folder = Path(store)
        if not self.folder.name.strip():
            raise InputError(f"store: is {os.fspath(store)!r}; name a folder that the synthetic scans shall go to.")
        self.scan_files = self.folder.with_name(f"{self.folder.name}_scans") if scans is None else Path(scans)
        self._settings, self._prepare = dict(settings or {}), dict(prepare or {})
        self.scan_set = PhantomScanSet(**self._settings)
        known = [field.name for field in fields(PrepareSettings)]
        for name in self._prepare:
            if name not in known:
                raise InputError(f'{self.folder}: prepare has no setting "{name}".{nearest_name(name, known)}')
        chosen = PrepareSettings(**self._prepare)
        chosen.check_voice_activity()
        self._wanted = _plain(
            {
                "scans": {**self.scan_set.settings, "n_scans": self.scan_set.n_scans},
                "prepare": {**asdict(chosen), "version": PREPARATION_VERSION},
            }
        )

    def is_whole(self) -> bool:
        """Whether the store is there as it is wanted: nothing is left to do.

        Raises:
            InputError: when there is one that was made, or begun, with other settings, or by other means.
        """
        record = self._record()
        return bool(record.get("whole")) and self._counts(record) == self._counts(self._wanted) and self._all_there()

    def make(self, workers: int | None = None, progress: bool = True) -> bool:
        """Make what is missing of the scans and of the store; an interrupted run is taken up where it stopped.

        Processes that ask for the same store at the same time wait for the first of them.

        Args:
            workers: processes; None: one per core.
            progress: print what is made, and show bars.

        Returns:
            Whether anything was to be made.

        Raises:
            InputError: as :meth:`is_whole`, and when a scan cannot be prepared.
        """
        if self.is_whole():
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made ({error.strerror or error}); name another.") from error
        with self._lock(progress):
            if self.is_whole():  # another process has made it meanwhile
                return False
            if progress:
                print(f"{self}: scan files in {self.scan_files}", flush=True)
            datalist = generate_phantom(self.scan_files, workers=workers, progress=progress, **self._settings)
            write_json(self.folder / _RECORD, {"synthetic": True, "whole": False, **self._wanted})
            report = prepare_scans(datalist, self.folder, workers=workers, progress=progress, **self._prepare)
            bad = next((row for row in report.table if row.status == "failed"), None)
            if bad is not None:
                raise InputError(
                    f"{self.folder}: {len(report.failed)} of {len(report.table)} scans could not be prepared (first:"
                    f" {bad.note}). Remove the files of those scans in {self.scan_files} and run this again."
                )
            sizes = {"bytes": _bytes(self.folder), "scan_file_bytes": _bytes(self.scan_files)}
            write_json(self.folder / _RECORD, {"synthetic": True, "whole": True, **self._wanted, **sizes})
            if progress:
                store, files = (f"{size / 1e6:.0f} MB" for size in sizes.values())
                print(f"{self}: made, {store}; its scan files, {files}, may be removed.", flush=True)
        return True

    def __str__(self) -> str:
        found = self.scan_set
        hours = found.n_scans * found.phantom.seconds / 3600
        return (
            f"SYNTHETIC store {self.folder} ({found.n_scans} scans, {found.ids[0]} to {found.ids[-1]}, of"
            f" {found.phantom.seconds:g} s: {hours:.2g} h, seed {found.phantom.seed})"
        )

    def _lock(self, progress: bool) -> AbstractContextManager[FolderLock]:
        path = self.folder / "phantom_store.lock"
        if progress and path.exists():
            print(f"{path}: waiting for the process it names; if that has ended, remove this file.", flush=True)
        return folder_lock(path, wait=_PATIENCE)

    def _record(self) -> dict[str, Any]:
        """The store's record, proved to be of the same settings; empty where there is no store."""
        path = self.folder / _RECORD
        if not path.exists():
            if next(self.folder.glob("*/meta.json"), None) is not None:
                raise InputError(f"{self.folder}: the store there was made by other means; name another folder for it.")
            return {}
        record = read_json(path)
        try:
            before = {"scans": with_later_settings(record["scans"]), "prepare": record["prepare"]}
            more = self.scan_set.n_scans - int(record["scans"]["n_scans"])
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}: not the record of a synthetic store; remove the folder to make it anew."
            ) from None
        wanted = {**self._wanted, "scans": with_later_settings(self._wanted["scans"])}
        if more > 0:  # scans may be added, as to a folder of scan files
            before["scans"]["n_scans"] += more
        changed = changed_values(_flat(before), _flat(wanted))
        if changed:
            raise InputError(
                f"{self.folder}: the store there was made with other settings: {'; '.join(changed)}. Name another"
                f" folder, or remove it and {self.scan_files}."
            )
        return dict(record)

    @staticmethod
    def _counts(record: Mapping[str, Any]) -> int:
        return int(record["scans"]["n_scans"])

    def _all_there(self) -> bool:
        return all((scan_folder(self.folder, name) / "meta.json").is_file() for name in self.scan_set.ids)


def _plain(content: Any) -> Any:
    """As JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(content))


def _flat(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a#b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        here = f"{path}#{name}" if path else name
        flat.update(_flat(value, here) if isinstance(value, Mapping) else {here: value})
    return flat


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
