# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""SYNTHETIC scans as ordinary scan files: video, sound, gaze, planes, words and a datalist."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from tqdm import tqdm

from monai_usspeech.data.files import InputError, atomic_file, write_json
from monai_usspeech.phantom.course import PhantomCourse
from monai_usspeech.phantom.oracle import matching_words
from monai_usspeech.phantom.phantom import Phantom
from monai_usspeech.phantom.scan_set import PHANTOM_VERSION, PhantomScanSet
from monai_usspeech.phantom.speech_synthesis import SPEECH_RATE

__all__ = ["PHANTOM_VERSION", "generate", "generate_phantom", "write_scan"]

_COMMENT = "SYNTHETIC: made by monai_usspeech.phantom; not a recording of a person"
_SUFFIXES = (".wav", "_gaze.csv", "_planes.csv", "_words.csv", ".mp4")  # in the order they are written
_ORACLE = "_oracle.csv"  # follows from the others, so a scan without it is whole all the same


def generate_phantom(
    output_dir: str | os.PathLike,
    n_scans: int = 12,
    scans_per_subject: int = 1,
    seconds: float = 60.0,
    frame_rate: float = 30.0,
    size: int = 256,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
    crf: int = 18,
    first_scan: int = 0,
    **settings: Any,
) -> Path:
    """Write SYNTHETIC scans as ordinary scan files.

    ``output_dir`` receives for each scan ``s000.mp4`` (H.264, grey), ``s000.wav`` (24 kHz, 16 bit), ``s000_gaze.csv``,
    ``s000_planes.csv``, ``s000_words.csv`` (``start,end,word,kind``: the truth about what is said) and
    ``s000_oracle.csv`` (``start,end,word,plane``: the words that name what is shown while they sound), and at last
    ``datalist.json``. Every file appears under its name only when it is whole, so scans that are there already are
    skipped, and an interrupted run is taken up where it stopped. The settings are kept in ``phantom.json``.

    With more than one worker, fresh processes are started: call this from under ``if __name__ == "__main__":`` in a
    script of your own.

    Args:
        output_dir: folder to write to; made when it does not exist.
        n_scans: how many scans. A larger number extends a folder.
        scans_per_subject: consecutive scans of the same fetus.
        seconds: length of a scan. frame_rate: frames per second. size: canvas height and width in pixels.
        seed: at least 0.
        workers: processes; None: one per core, but no more than there are scans or thousands of frames to make.
        progress: show a progress bar.
        crf: constant rate factor of the video, 0 (lossless) to 51.
        first_scan: number of the first scan, a multiple of ``scans_per_subject``. Scans with other numbers have other
            names, subjects and random numbers, so 1000 gives scans that no folder of fewer scans has.
        settings: further arguments of :class:`Phantom`, such as ``difficulty``, ``dwell``, ``narration`` or ``grid``.

    Returns:
        path of the datalist.

    Raises:
        InputError: when a setting is out of range, or the folder holds scans made with other settings.
    """
    scans = PhantomScanSet(
        n_scans, first_scan, crf, seed=seed, size=size, frame_rate=frame_rate, seconds=seconds,
        scans_per_subject=scans_per_subject, **settings,
    )  # fmt: skip
    if workers is not None and (not isinstance(workers, int) or workers < 0):
        raise InputError(f"generate_phantom: workers is {workers!r}; give a whole number of at least 0, or none.")
    folder = Path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"generate_phantom: {folder} cannot be made ({reason}); give another output_dir.") from error
    phantom, courses = scans.phantom, scans.courses()
    scans.claim(folder, [*(name + suffix for name in scans.ids for suffix in (*_SUFFIXES, _ORACLE)), "datalist.json"])
    missing = [course.index for course in courses if not _is_whole(folder, course.id)]
    _write_all(phantom, missing, folder, crf, workers, progress)
    for course in courses:  # scans of an earlier version
        if _is_whole(folder, course.id) and not (folder / f"{course.id}{_ORACLE}").exists():
            _write_oracle(folder, course)
    datalist = folder / "datalist.json"
    entries = [_datalist_entry(course) for course in courses]
    write_json(datalist, {"name": f"SYNTHETIC phantom, seed {phantom.seed}", "fps": None, "scans": entries})
    return datalist


def generate(**arguments: Any) -> None:
    """Run :func:`generate_phantom` from a bundle's config: say where the scans are, or what is wrong, in one line.

    Args:
        arguments: as for :func:`generate_phantom`.

    Raises:
        SystemExit: with the message, when a setting is wrong.
    """
    try:
        datalist = generate_phantom(**arguments)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"SYNTHETIC scans: {datalist}")


def _is_whole(folder: Path, scan_id: str) -> bool:
    return all((folder / f"{scan_id}{suffix}").is_file() for suffix in _SUFFIXES)


def _datalist_entry(course: PhantomCourse) -> dict[str, Any]:
    scan_id = course.id
    return {
        "id": scan_id, "subject": course.subject, "video": f"{scan_id}.mp4", "speech": f"{scan_id}.wav",
        "speech_offset": 0.0, "gaze": f"{scan_id}_gaze.csv", "planes": f"{scan_id}_planes.csv", "fan": None,
        "oracle": f"{scan_id}{_ORACLE}",
    }  # fmt: skip


def _write_all(
    phantom: Phantom, indices: Sequence[int], folder: Path, crf: int, workers: int | None, progress: bool
) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    frames = len(indices) * phantom.seconds * phantom.frame_rate
    workers = min(workers or max(1, min(cores, int(frames // 1000))), len(indices))  # a process takes seconds to start
    with tqdm(total=len(indices), desc="phantom scans", unit="scan", disable=not progress or not indices) as bar:
        if workers <= 1:
            for index in indices:
                write_scan(phantom, index, folder, crf)
                bar.update()
            return
        # spawned, not forked: a fork of a process in which torch has started its threads can hang
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            tasks = [pool.submit(write_scan, phantom, index, folder, crf) for index in indices]
            try:
                for task in as_completed(tasks):
                    task.result()
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def write_scan(phantom: Phantom, index: int, folder: str | os.PathLike, crf: int = 18) -> None:
    """Write the six files of one scan, the video last.

    Args:
        phantom: the settings. index: number of the scan. folder: an existing folder. crf: rate factor of the video.
    """
    course = phantom.course(index)
    stem = str(Path(folder) / course.id)
    _write_wav(f"{stem}.wav", course.speech())
    gaze = course.gaze()
    points = [("" if np.isnan(value) else f"{value:.2f}" for value in axis) for axis in (gaze.x, gaze.y)]
    _write_csv(f"{stem}_gaze.csv", "time,x,y", zip((f"{time:.4f}" for time in gaze.time), *points))
    # a scan too short for a plane is all background; a table without rows would be an error
    planes = course.planes or ((0.0, phantom.seconds, "background"),)
    _write_csv(f"{stem}_planes.csv", "start,end,plane", ((f"{a:.3f}", f"{b:.3f}", plane) for a, b, plane in planes))
    words = ((f"{w.start:.4f}", f"{w.end:.4f}", w.word, w.kind) for w in course.narration.words)
    _write_csv(f"{stem}_words.csv", "start,end,word,kind", words)
    _write_oracle(Path(folder), course)
    _write_video(f"{stem}.mp4", course.frames(), phantom.frame_rate, phantom.size, crf)


def _write_oracle(folder: Path, course: PhantomCourse) -> None:
    found = matching_words(course.planes, course.narration.words)
    rows = ((f"{w.start:.4f}", f"{w.end:.4f}", w.word, w.plane) for w in found)
    _write_csv(str(folder / f"{course.id}{_ORACLE}"), "start,end,word,plane", rows)


def _write_csv(path: str, header: str, rows: Iterable[Iterable[Any]]) -> None:
    with atomic_file(path, "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header.split(","))
        table.writerows(rows)


def _write_wav(path: str, samples: np.ndarray) -> None:
    with atomic_file(path) as file, av.open(file, "w", format="wav") as container:
        container.metadata["comment"] = _COMMENT
        stream = container.add_stream("pcm_s16le", rate=SPEECH_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SPEECH_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _write_video(path: str, batches: Iterable[np.ndarray], frame_rate: float, size: int, crf: int) -> None:
    rate = Fraction(frame_rate).limit_denominator(1001)
    with atomic_file(path) as file, av.open(file, "w", format="mp4") as container:
        container.metadata["comment"] = _COMMENT
        # without mbtree and with one thread the same frames give the same bytes; with mbtree they do not always
        options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for batch in batches:
            for image in batch:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))
