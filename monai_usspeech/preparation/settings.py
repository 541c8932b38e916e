# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What ``prepare`` is asked to do, checked before any work, and the fingerprints that say whether it was done."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_usspeech.data.datalist import Scan
from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.oracle import ORACLE
from monai_usspeech.data.store_writer import CODECS, STORE_SAMPLE_RATE
from monai_usspeech.transforms.voice_activity import voice_activity

__all__ = ["PREPARATION_VERSION", "PrepareSettings", "check_switch", "content_fingerprint", "file_identity"]

PREPARATION_VERSION = 1
"""Raise it when the same settings give other frames or other speech: every store is then prepared anew."""

_MIB = 1 << 20


@dataclass(frozen=True)
class PrepareSettings:
    """Settings of ``prepare``.

    Args:
        size: height and width of the kept frames, pixels.
        frame_rate: wanted frames per second. The nearest whole stride over the source's frames is taken; a slower
            source keeps all of its frames. None keeps every frame.
        codec: ``"jpeg"`` or ``"raw"`` (lossless, about three times as large).
        quality: JPEG quality, 1 to 95.
        voice_activity: methods whose flags are stored (``"energy"``, ``"silero"``, and ``"oracle"`` where the datalist
            says when what is said names what is shown).
        min_seconds: a scan shorter than this fails: no training clip fits into it.
        allow_truncated: keep a scan whose video ends before the length it declares, instead of failing it.

    Raises:
        InputError: for a value outside its range; the message names the setting.
    """

    size: int = 288
    frame_rate: float | None = 10.0
    codec: str = "jpeg"
    quality: int = 90
    voice_activity: Sequence[str] = ("energy",)
    min_seconds: float = 2.0
    allow_truncated: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.voice_activity, (str, list, tuple)):
            raise InputError(f"voice_activity: must be a list of methods, got {self.voice_activity!r}.")
        methods = (self.voice_activity,) if isinstance(self.voice_activity, str) else tuple(self.voice_activity)
        object.__setattr__(self, "voice_activity", methods)
        if not _whole(self.size, 16, 2048):
            raise InputError(f"size: must be a whole number of pixels from 16 to 2048, got {self.size!r}.")
        if self.frame_rate is not None and not _number(self.frame_rate, 0.0):
            raise InputError(f"frame_rate: must be frames per second, or null for all, got {self.frame_rate!r}.")
        if self.codec not in CODECS:
            hint = nearest_name(str(self.codec), CODECS)
            raise InputError(f"codec: must be one of {', '.join(CODECS)}, got {self.codec!r}.{hint}")
        if not _whole(self.quality, 1, 95):
            raise InputError(f"quality: must be a whole number from 1 to 95, got {self.quality!r}.")
        if not (self.min_seconds == 0 or _number(self.min_seconds, 0.0)):
            raise InputError(f"min_seconds: must be seconds, 0 or more, got {self.min_seconds!r}.")
        check_switch("allow_truncated", self.allow_truncated)

    def check_voice_activity(self) -> None:
        """Run each method on a second of silence: an unknown or uninstalled one shows before any work is done.

        Raises:
            InputError: when a method cannot be used.
        """
        for method in self.voice_activity:
            if method == ORACLE:  # from the datalist, not from the sound
                continue
            try:
                voice_activity(np.zeros(STORE_SAMPLE_RATE, np.float32), STORE_SAMPLE_RATE, method)
            except (ValueError, ImportError, RuntimeError) as error:
                raise InputError(f"voice_activity: {method!r} cannot be used: {error}") from error


def check_switch(name: str, value: Any) -> None:
    """Refuse anything but true and false: the text ``"false"`` would count as true.

    Raises:
        InputError: naming the switch.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name}: must be True or False, got {value!r}.")


def _number(value: Any, above: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > above


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def file_identity(path: str | os.PathLike) -> dict[str, Any]:
    """What tells a file from another without reading all of it.

    Size and SHA-256 of the first, middle and last MiB (a file of up to 3 MiB is read whole). The time of the last
    change is left out on purpose: a copied or touched file is still the same recording.

    Raises:
        InputError: when the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            for start in (0, max(size // 2 - _MIB // 2, _MIB), max(size - _MIB, 2 * _MIB)):
                if start < size:
                    file.seek(start)
                    digest.update(file.read(_MIB))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    digest.update(size.to_bytes(8, "little"))
    return {"name": Path(path).name, "bytes": size, "sha256": digest.hexdigest()}


def _fingerprint(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def content_fingerprint(scan: Scan, settings: PrepareSettings, fps: float | None) -> dict[str, Any]:
    """What the kept frames and speech of a scan depend on.

    Args:
        scan: the datalist's entry.
        settings: the settings of the run.
        fps: the datalist's frames per second for formats without a clock.

    Returns:
        ``{"sources": {...}, "settings": {...}, "sha256": ...}``. Equal ``sha256`` means that decoding again would give
        the same bytes. File names, subject, planes, gaze, fold and voice activity methods do not enter: a change of
        those never needs the video again.
    """
    speech = scan.speech if scan.speech in (None, "video") else file_identity(scan.speech)
    sources = {"video": file_identity(scan.video), "speech": speech}
    chosen = {
        "version": PREPARATION_VERSION,
        "fps": fps,
        "fan": None if scan.fan is None else list(scan.fan),
        "speech_offset": scan.speech_offset,
        "size": settings.size,
        "frame_rate": settings.frame_rate,
        "codec": settings.codec,
        "quality": settings.quality if settings.codec == "jpeg" else None,
        "allow_truncated": settings.allow_truncated,
    }
    files = {key: value["sha256"] if isinstance(value, dict) else value for key, value in sources.items()}
    return {"sources": sources, "settings": chosen, "sha256": _fingerprint([files, chosen])}
