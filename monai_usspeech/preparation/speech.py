# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The speech of one scan: read once, put on the video's time line, measured, and flagged where somebody talks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_usspeech.data.datalist import Scan
from monai_usspeech.data.files import InputError
from monai_usspeech.data.oracle import ORACLE, oracle_flags, read_oracle
from monai_usspeech.data.speech import is_digital_silence, read_speech, speech_on_video_time, speech_origin
from monai_usspeech.data.store_writer import STORE_SAMPLE_RATE
from monai_usspeech.data.video import VideoInfo
from monai_usspeech.preparation.settings import file_identity
from monai_usspeech.transforms.spectrogram import spectrogram_statistics
from monai_usspeech.transforms.voice_activity import voice_activity

__all__ = ["ScanSpeech", "oracle_source", "scan_flags", "scan_speech", "speech_flags"]

_FLAG_SAMPLES = STORE_SAMPLE_RATE // 100


@dataclass(frozen=True)
class ScanSpeech:
    """Speech on the video's time line.

    Attributes:
        samples: int16 ``[N]``, 24 kHz, sample 0 at the first frame, zeros where nothing was recorded.
        range: (first, last) second that the recording covers.
        statistics: spectrogram levels of the covered part.
        problems: what the reader found wrong.
    """

    samples: np.ndarray
    range: tuple[float, float]
    statistics: dict[str, Any]
    problems: tuple[str, ...] = ()


def scan_speech(scan: Scan, video: VideoInfo, duration: float) -> ScanSpeech | None:
    """Read the speech of a scan.

    Args:
        scan: the datalist's entry.
        video: facts of its video.
        duration: seconds of video kept.

    Returns:
        The speech, or None when the recording is digitally silent: nothing can be learned from it.

    Raises:
        InputError: when the sound cannot be read, is not finite, or covers next to nothing of the video.
    """
    same_file = scan.speech == "video"
    path = scan.video if same_file or scan.speech is None else Path(scan.speech)
    track = read_speech(path, STORE_SAMPLE_RATE)
    if is_digital_silence(track):
        return None
    origin = speech_origin(video, track, scan.speech_offset, same_file)
    samples, (first, last) = speech_on_video_time(track, origin, duration)
    if last <= first:
        raise InputError(
            f"{path}: the speech runs from {origin:.2f} to {origin + track.duration:.2f} s of video time and the video"
            f" from 0 to {duration:.2f} s; correct speech_offset ({scan.speech_offset:g})."
        )
    covered = samples[round(first * STORE_SAMPLE_RATE) : round(last * STORE_SAMPLE_RATE)]
    try:
        statistics = spectrogram_statistics(covered, STORE_SAMPLE_RATE)
    except ValueError as error:
        raise InputError(f"{path}: the speech covers only {last - first:.3f} s of the video ({error}).") from error
    return ScanSpeech(samples, (float(first), float(last)), statistics, track.problems)


def speech_flags(samples: np.ndarray, speech_range: tuple[float, float], method: str) -> np.ndarray:
    """Voice activity on the video's time line.

    The detector sees only what was recorded: padding would lower its idea of the noise floor.

    Args:
        samples: int16 ``[N]``, 24 kHz.
        speech_range: (first, last) second that the recording covers.
        method: ``"energy"`` or ``"silero"``.

    Returns:
        bool ``[N // 240]``: one flag per 10 ms; False where nothing was recorded.
    """
    flags = np.zeros(len(samples) // _FLAG_SAMPLES, np.bool_)
    first = -int(-speech_range[0] * 100 // 1)  # the first flag that is covered as a whole
    last = min(int(speech_range[1] * 100), len(flags))
    wave = samples[first * _FLAG_SAMPLES : last * _FLAG_SAMPLES].astype(np.float32) / 32768.0
    if len(wave):
        found = np.asarray(voice_activity(wave, STORE_SAMPLE_RATE, method), np.bool_)[: last - first]
        flags[first : first + len(found)] = found
    return flags


def oracle_source(scan: Scan) -> dict[str, Any]:
    """What tells the scan's oracle file from another.

    Raises:
        InputError: when the datalist gives none for this scan, or it cannot be read.
    """
    if scan.oracle is None:
        raise InputError(
            f'scan "{scan.id}": the datalist gives no "oracle", which voice_activity asks for; add the file, or take'
            f" {ORACLE!r} out of voice_activity."
        )
    return file_identity(scan.oracle)


def scan_flags(
    scan: Scan, samples: np.ndarray, speech_range: tuple[float, float], method: str
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """The flags of one method for a scan, whether they come from its sound or from a file.

    Args:
        scan: the datalist's entry.
        samples: int16 ``[N]``, 24 kHz, on the video's time line.
        speech_range: (first, last) second that the recording covers.
        method: ``"energy"``, ``"silero"`` or ``"oracle"``.

    Returns:
        bool ``[N // 240]``, and what identifies the file they come from; None where that is the sound itself.

    Raises:
        InputError: when the oracle is asked for and cannot be used.
    """
    if method != ORACLE:
        return speech_flags(samples, speech_range, method), None
    source = oracle_source(scan)
    heard = [
        (max(start, speech_range[0]), min(end, speech_range[1]))
        for start, end in read_oracle(scan.oracle or "")
        if start < speech_range[1] and end > speech_range[0]
    ]
    return oracle_flags(heard, len(samples) // _FLAG_SAMPLES), source
