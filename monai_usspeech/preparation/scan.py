# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Prepare one scan: from its files to its folder in the store."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_usspeech.data.annotations import GazeTrack, PlaneInterval, read_gaze, read_planes
from monai_usspeech.data.datalist import Scan
from monai_usspeech.data.files import InputError, write_json
from monai_usspeech.data.oracle import ORACLE
from monai_usspeech.data.store import ScanStoreWriter, StoredScan
from monai_usspeech.data.store_writer import (
    add_voice_activity,
    remove_leftovers,
    remove_scan,
    scan_folder,
    write_gaze,
)
from monai_usspeech.data.video import open_video
from monai_usspeech.preparation.frames import KeptFrames, find_fan, write_frames
from monai_usspeech.preparation.report import ScanRow, stored_row
from monai_usspeech.preparation.settings import PrepareSettings, content_fingerprint, file_identity
from monai_usspeech.preparation.speech import oracle_source, scan_flags, scan_speech
from monai_usspeech.transforms.fan_geometry import Box

__all__ = ["ScanJob", "is_current", "prepare_scan"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanJob:
    """One scan to prepare.

    Attributes:
        scan: the datalist's entry.
        store: the store's folder.
        settings: what is asked for.
        fps: the datalist's frames per second for formats without a clock.
        name: the datalist's name, which reports show.
    """

    scan: Scan
    store: Path
    settings: PrepareSettings
    fps: float | None = None
    name: str = ""


def _stored(job: ScanJob) -> StoredScan | None:
    """The scan as it is in the store, or None when it is absent or not whole."""
    folder = scan_folder(job.store, job.scan.id)
    if not (folder / "meta.json").is_file():
        return None
    try:
        return StoredScan(folder)
    except InputError:  # another format, or a file of the wrong length: to be prepared again
        return None


def _annotations(job: ScanJob) -> dict[str, Any]:
    """What ``meta.json`` holds beside frames and speech; none of it needs the video."""
    scan = job.scan
    return {
        "data": job.name,
        "subject": scan.subject,
        "fold": scan.fold,
        "annotation_sources": {
            "gaze": None if scan.gaze is None else file_identity(scan.gaze),
            "planes": None if scan.planes is None else file_identity(scan.planes),
        },
    }


def _missing_methods(job: ScanJob, stored: StoredScan) -> list[str]:
    if not stored.has_speech:
        return []
    known: dict[str, Any] = stored.meta["voice_activity"]
    missing = [method for method in job.settings.voice_activity if method not in known]
    if ORACLE in job.settings.voice_activity and ORACLE in known:
        changed = known[ORACLE].get("source") != oracle_source(job.scan)
        return [*missing, ORACLE] if changed else missing
    return missing


def is_current(job: ScanJob) -> ScanRow | None:
    """The row of a scan that needs no work, or None.

    Raises:
        InputError: when a source file cannot be read.
    """
    stored = _stored(job)
    if stored is None or stored.meta.get("content", {}).get("sha256") != _wanted(job)["sha256"]:
        return None
    annotations = _annotations(job)
    if any(stored.meta.get(key) != value for key, value in annotations.items()) or _missing_methods(job, stored):
        return None
    if _too_short(stored.duration, job.settings):
        return None
    return stored_row(stored, "skipped", next(iter(job.settings.voice_activity), None))


def _wanted(job: ScanJob) -> dict[str, Any]:
    return content_fingerprint(job.scan, job.settings, job.fps)


def _too_short(duration: float, settings: PrepareSettings) -> bool:
    return duration < settings.min_seconds - 1e-3  # 30 frames of 33.333 ms are one second


def _check_length(scan: Scan, frames: int, duration: float, settings: PrepareSettings) -> None:
    if _too_short(duration, settings):
        count = "1 frame" if frames == 1 else f"{frames} frames"
        raise InputError(
            f"{scan.video}: too short ({count}, {duration:.2f} s); min_seconds asks for {settings.min_seconds:g} s."
        )


def _annotation_notes(
    gaze: GazeTrack | None, planes: Sequence[PlaneInterval], size: tuple[int, int], duration: float
) -> list[str]:
    """Things that are allowed, but mostly mean that a file belongs to another scan."""
    notes = []
    if gaze is not None:
        fixed = np.isfinite(gaze.x) & np.isfinite(gaze.y)
        inside = (gaze.x >= 0) & (gaze.x < size[1]) & (gaze.y >= 0) & (gaze.y < size[0]) & fixed
        if not fixed.any():
            notes.append("the gaze track has no fix")
        elif inside.sum() < 0.5 * fixed.sum():
            notes.append(f"{1 - inside.sum() / fixed.sum():.0%} of the gaze lies outside the frame")
    late = sum(interval.start >= duration for interval in planes)
    if late:
        notes.append(f"{late} plane intervals begin after the end of the video")
    return notes


def _write_scan(job: ScanJob, progress: Callable[[float], None]) -> None:
    """Decode and write everything of one scan."""
    scan, settings = job.scan, job.settings
    gaze = None if scan.gaze is None else read_gaze(scan.gaze)  # cheap and often wrong: before the long part
    planes = () if scan.planes is None else read_planes(scan.planes)
    content = _wanted(job)
    with (
        open_video(scan.video, fps=job.fps) as source,
        ScanStoreWriter(job.store, scan.id, settings.codec, settings.quality) as writer,
    ):
        declared = source.info.duration
        if declared is not None and source.info.n_frames:  # say so before a fan is looked for in one frame
            _check_length(scan, source.info.n_frames, declared, settings)
        box, notes = find_fan(scan, source)
        frames = write_frames(source, box, settings, writer, progress)
        if source.truncated and not settings.allow_truncated:
            raise InputError(
                f"{scan.video}: the file ends early ({'; '.join(source.problems)}); copy it again from where it was"
                " recorded, or set allow_truncated to keep what is there."
            )
        _check_length(scan, frames.count, frames.duration, settings)
        speech_notes = _write_speech(job, writer, source.info, frames.duration)
        if gaze is not None:
            writer.set_gaze(gaze.time, gaze.x, gaze.y)
        size = (source.info.height, source.info.width)
        notes = (*notes, *frames.notes, *speech_notes, *_annotation_notes(gaze, planes, size, frames.duration))
        writer.finish(_meta(job, content, box, size, frames, planes) | {"notes": list(notes)})


def _write_speech(job: ScanJob, writer: ScanStoreWriter, info: Any, duration: float) -> tuple[str, ...]:
    if job.scan.speech is None:
        return ()
    speech = scan_speech(job.scan, info, duration)
    if speech is None:
        return ("the sound is digitally silent; kept as a scan without speech",)
    writer.set_speech(speech.samples, speech.range, speech.statistics)
    for method in job.settings.voice_activity:
        writer.set_voice_activity(method, *scan_flags(job.scan, speech.samples, speech.range, method))
    covered = (speech.range[1] - speech.range[0]) / duration
    return (*speech.problems, *([f"the speech covers {covered:.0%} of the video"] if covered < 0.9 else []))


def _plane_rows(planes: Sequence[PlaneInterval]) -> list[list[Any]]:
    return [[interval.start, interval.end, str(interval.plane)] for interval in planes]


def _meta(
    job: ScanJob,
    content: dict[str, Any],
    box: Box,
    size: tuple[int, int],
    frames: KeptFrames,
    planes: Sequence[PlaneInterval],
) -> dict[str, Any]:
    return {
        **_annotations(job),
        "content": content,
        "duration": frames.duration,
        "frame_rate": frames.frame_rate,
        "frozen_share": frames.frozen,
        "fan_box": list(box),
        "source_size": list(size),
        "planes": _plane_rows(planes),
    }


def _refresh(job: ScanJob, stored: StoredScan) -> None:
    """Bring a scan whose frames and speech are right up to date: flags, gaze, planes, subject. No video is decoded."""
    scan = job.scan
    gaze = None if scan.gaze is None else read_gaze(scan.gaze)
    planes = () if scan.planes is None else read_planes(scan.planes)
    for method in _missing_methods(job, stored):
        samples = stored.read_speech(0.0, stored.meta["speech"]["samples"])
        add_voice_activity(stored.path, method, *scan_flags(scan, samples, stored.speech_range, method))
    if gaze is not None:
        write_gaze(stored.path, gaze.time, gaze.x, gaze.y)
    meta = StoredScan(stored.path).meta | _annotations(job) | {"gaze": gaze is not None, "planes": _plane_rows(planes)}
    write_json(stored.path / "meta.json", meta)


def prepare_scan(job: ScanJob, progress: Callable[[float], None] = lambda share: None) -> ScanRow:
    """Prepare one scan, or do what is missing of it. Never raises for a bad scan: the row says why it failed.

    Args:
        job: the scan.
        progress: called with the share of the video that is done, 0 to 1.
    """
    scan, folder = job.scan, scan_folder(job.store, job.scan.id)
    try:
        remove_leftovers(job.store, scan.id)
        stored = _stored(job)
        if stored is not None and stored.meta.get("content", {}).get("sha256") == _wanted(job)["sha256"]:
            if _too_short(stored.duration, job.settings):
                remove_scan(folder)  # min_seconds was raised: what is refused must not stay in the store
                _check_length(scan, stored.n_frames, stored.duration, job.settings)
            _refresh(job, stored)
        else:
            remove_scan(folder)  # made from other files or with other settings: it must not pass for this one
            _write_scan(job, progress)
        return stored_row(StoredScan(folder), "kept", next(iter(job.settings.voice_activity), None))
    except InputError as error:
        return ScanRow(scan.id, scan.subject, "failed", note=str(error))
    except Exception as error:  # one scan's surprise must not stop the other scans
        logger.error("scan %s: unexpected error\n%s", scan.id, traceback.format_exc())
        return ScanRow(scan.id, scan.subject, "failed", note=f"{type(error).__name__}: {error}")
