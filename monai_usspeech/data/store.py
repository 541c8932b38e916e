# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The scan store: prepared scans on disk, read by position and checked on every read.

One folder per scan::

    frames.bin        frames one after the other, JPEG or plain uint8 rows
    index.npz         offset, length, crc32, time, source_frame, flags per frame; speech_crc32 per 0.25 s of speech
    speech.pcm        int16, mono, 24 kHz, sample 0 at the video's first frame
    voice_<m>.npy     one flag per 10 ms for voice activity method m
    gaze.npz          time, x, y in source pixels (when the scan has gaze)
    meta.json         written last: its presence says that the scan is whole

Everything is read with ``os.pread``, which has no file position, so a store opened before a fork can be used on both
sides of it. Nothing open travels in a pickle.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.store_writer import FLAG_FROZEN, STORE_SAMPLE_RATE, ScanStoreWriter
from monai_usspeech.data.stored_scan import StoredScan

__all__ = ["FLAG_FROZEN", "STORE_SAMPLE_RATE", "ScanStore", "ScanStoreWriter", "StoredScan"]


class ScanStore:
    """The prepared scans of one folder, sorted by id.

    Args:
        root: the folder that ``prepare`` wrote.

    Raises:
        InputError: when there is no such folder, it holds no whole scan, or a scan is damaged.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such scan store; make it with the prepare command.")
        folders = [entry.parent for entry in self.root.glob("*/meta.json") if not entry.parent.name.startswith(".")]
        if not folders:
            raise InputError(f"{self.root}: holds no prepared scan; is it the folder given to prepare as --store?")
        self.scans: tuple[StoredScan, ...] = tuple(sorted(map(StoredScan, folders), key=lambda scan: scan.id))

    def __len__(self) -> int:
        return len(self.scans)

    def __iter__(self) -> Iterator[StoredScan]:
        return iter(self.scans)

    def __getitem__(self, scan_id: str) -> StoredScan:
        for scan in self.scans:
            if scan.id == scan_id:
                return scan
        raise InputError(f"{self.root}: no scan {scan_id!r}.{nearest_name(scan_id, [scan.id for scan in self.scans])}")

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects, each once, sorted."""
        return tuple(sorted({scan.subject for scan in self.scans}))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the datalists that the scans came from, each once, sorted."""
        return tuple(sorted({name for scan in self.scans if (name := str(scan.meta.get("data", "")))}))

    def select(
        self, subjects: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> tuple[StoredScan, ...]:
        """The scans of some subjects.

        Args:
            subjects: keep these only; None keeps all.
            exclude: leave these out.

        Raises:
            InputError: when the names are no list, a named subject is not in the store, or nothing is left.
        """
        known = self.subjects
        wanted = None if subjects is None else _names("subjects", subjects)
        unwanted = _names("exclude_subjects", exclude or ())
        for name in sorted((wanted or set()) | unwanted):
            if name not in known:
                raise InputError(f"{self.root}: no scan of subject {name!r}.{nearest_name(name, known)}")
        chosen = [s for s in self.scans if (wanted is None or s.subject in wanted) and s.subject not in unwanted]
        if not chosen:
            raise InputError(f"{self.root}: no scan is left after choosing subjects; name other subjects.")
        return tuple(chosen)


def _names(field: str, names: Iterable[str]) -> set[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f"{field}: is {names!r}; give a list of subjects, such as ['p001'].")
    return {str(name) for name in names}
