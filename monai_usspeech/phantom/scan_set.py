# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which scans a folder holds and how they were made: checked before any is made, recorded, and compared later on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_usspeech.data.files import InputError, read_json, write_json
from monai_usspeech.phantom.course import PhantomCourse
from monai_usspeech.phantom.phantom import Phantom

__all__ = ["PHANTOM_VERSION", "PhantomScanSet", "with_later_settings"]

#: raised whenever the same settings give other scans than before
PHANTOM_VERSION = 1
#: settings that came later, with the value that gives the scans of before
_LATER: dict[str, Any] = {
    "nuisance": 1.0,
    "gaze": Phantom().settings["gaze"],
    "narration": {"noise_share": 0.0, "trail": 0.0, "chatter_share": None},
    "first_scan": 0,
}


def with_later_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings, with those that there were not yet when they were recorded."""
    full = {**_LATER, **settings}
    full["narration"] = {**_LATER["narration"], **full["narration"]}
    return full


class PhantomScanSet:
    """Scans ``first_scan`` to ``first_scan + n_scans - 1`` of a phantom.

    Scan ``index`` is the same in every set of the same phantom. Two sets that share no number share no scan, no
    subject, no name and no random stream.

    Args:
        n_scans: how many, at least 1.
        first_scan: number of the first, at least 0; a multiple of ``scans_per_subject``, or a subject would be cut
            in two.
        crf: constant rate factor of the videos, 0 to 51.
        settings: arguments of :class:`Phantom`.

    Attributes:
        phantom: the source. n_scans, first_scan, crf: as given.
        ids: names of the scans.

    Raises:
        InputError: when a setting is unknown or out of range.
    """

    def __init__(self, n_scans: int = 12, first_scan: int = 0, crf: int = 18, **settings: Any) -> None:
        try:
            self.phantom = Phantom(**settings)
        except TypeError as error:
            raise InputError(f"generate_phantom: {error}") from error
        if not isinstance(n_scans, int) or n_scans < 1:
            raise InputError(f"generate_phantom: n_scans is {n_scans!r}; give a whole number of at least 1.")
        if not isinstance(crf, int) or not 0 <= crf <= 51:
            raise InputError(f"generate_phantom: crf is {crf!r}; give a whole number in 0..51.")
        if not isinstance(first_scan, int) or isinstance(first_scan, bool) or first_scan < 0:
            raise InputError(f"generate_phantom: first_scan is {first_scan!r}; give a whole number of at least 0.")
        each = self.phantom.scans_per_subject
        if first_scan % each:
            raise InputError(
                f"generate_phantom: first_scan is {first_scan} in the middle of a subject; with scans_per_subject"
                f" {each} give a multiple of {each}, such as {-(-first_scan // each) * each}."
            )
        self.n_scans, self.first_scan, self.crf = n_scans, first_scan, crf
        self.ids = tuple(self.phantom.scan_id(index) for index in range(first_scan, first_scan + n_scans))

    @property
    def settings(self) -> dict[str, Any]:
        """What the scans depend on, as JSON-able values; the number of scans does not enter: a set can be extended."""
        first = {"first_scan": self.first_scan} if self.first_scan else {}
        return {"version": PHANTOM_VERSION, "crf": self.crf, **self.phantom.settings, **first}

    def courses(self) -> list[PhantomCourse]:
        """The scans, without their pixels."""
        return [self.phantom.course(self.first_scan + number) for number in range(self.n_scans)]

    def claim(self, folder: Path, names: list[str]) -> None:
        """Record the settings in a folder as ``phantom.json``, or compare them with those recorded there.

        Args:
            folder: it exists. names: the files that will be written there.

        Raises:
            InputError: when the folder was made with other settings, or one of the files is somebody else's.
        """
        settings = self.settings
        fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        path = folder / "phantom.json"
        if not path.exists():
            taken = next((name for name in names if (folder / name).exists()), None)
            if taken:
                raise InputError(
                    f"{folder / taken}: this file is not from the phantom. Give output_dir an empty folder."
                )
            write_json(path, {"synthetic": True, "fingerprint": fingerprint, "settings": settings})
            return
        found = read_json(path)
        before, wanted = with_later_settings(found.get("settings", {})), with_later_settings(settings)
        if found.get("fingerprint") != fingerprint and before != wanted:
            other = [f"{k} {before.get(k)} instead of {v}" for k, v in wanted.items() if before.get(k) != v]
            raise InputError(
                f"{path}: the scans in this folder were made with other settings ({'; '.join(other) or 'unknown'}). "
                "Give another output_dir, or remove the folder."
            )
