# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""One prepared scan of a scan store, read by position and checked on every read."""

from __future__ import annotations

import io
import os
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from monai_usspeech.data.annotations import GazeTrack, PlaneInterval, StandardPlane
from monai_usspeech.data.files import InputError, nearest_name, read_json
from monai_usspeech.data.store_writer import SPEECH_BLOCK, STORE_FORMAT, STORE_SAMPLE_RATE

__all__ = ["MAX_OPEN_SCANS", "StoredScan"]

MAX_OPEN_SCANS = 256
"""Scans whose files and index one process keeps open (two files each: well below the usual limit of 1,024)."""


@dataclass
class _OpenScan:
    """What one process holds of one scan; closed when nobody refers to it, so no reader loses its file in mid-read."""

    index: dict[str, np.ndarray]
    frames: IO[bytes]
    speech: IO[bytes] | None


class _OpenScans:
    """The open scans of this process, the longest open given up first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._scans: OrderedDict[int, StoredScan] = OrderedDict()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()  # a lock held by another thread at the fork would stay held for ever

    def add(self, scan: StoredScan) -> None:
        with self._lock:
            self._scans[id(scan)] = scan
            while len(self._scans) > self.limit:
                self._scans.popitem(last=False)[1].close()


_OPEN_SCANS = _OpenScans(MAX_OPEN_SCANS)


def _decode(data: bytearray) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


class StoredScan:
    """One prepared scan. Files are opened at the first read of each process.

    Args:
        path: the scan's folder.

    Raises:
        InputError: when the folder holds no whole scan of this format.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.meta: dict[str, Any] = self._read_meta()
        if self.meta.get("format") != STORE_FORMAT:
            raise InputError(
                f"{self.path}: store format {self.meta.get('format')} is not the {STORE_FORMAT} that this version"
                f" reads; {self._mend}."
            )
        self._check_sizes()
        self._open_scan: _OpenScan | None = None

    @property
    def _mend(self) -> str:
        return f"delete the folder {self.path} and run prepare again"

    def _read_meta(self) -> dict[str, Any]:
        try:
            meta = read_json(self.path / "meta.json")
        except InputError as error:
            raise InputError(f"{error} To mend it, {self._mend}.") from error
        needed = {"format", "id", "subject", "n_frames", "duration", "size", "frame_bytes", "speech"}
        if not isinstance(meta, dict) or ("format" in meta and meta["format"] == STORE_FORMAT and needed - set(meta)):
            raise InputError(f"{self.path / 'meta.json'}: damaged; {self._mend}.")
        return meta

    def _check_sizes(self) -> None:
        """Compare file sizes with what ``meta.json`` promises: an interrupted copy shows here, not at epoch 40."""
        wanted = {"frames.bin": self.meta["frame_bytes"]}
        if self.has_speech:
            wanted["speech.pcm"] = 2 * self.meta["speech"]["samples"]
        for name, size in wanted.items():
            try:
                found = os.stat(self.path / name).st_size
            except FileNotFoundError:
                raise InputError(f"{self.path / name}: missing; {self._mend}.") from None
            if found != size:
                raise InputError(f"{self.path / name}: {found} bytes where meta.json says {size}; {self._mend}.")

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key not in ("gaze", "planes")}
        state["_open_scan"] = None
        return state

    def __repr__(self) -> str:
        return f"StoredScan({self.id!r}, subject={self.subject!r}, {self.n_frames} frames, {self.duration:.1f} s)"

    # What the scan is -------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The scan's identifier."""
        return str(self.meta["id"])

    @property
    def subject(self) -> str:
        """Who was scanned; folds are made over subjects."""
        return str(self.meta["subject"])

    @property
    def n_frames(self) -> int:
        """Frames kept."""
        return int(self.meta["n_frames"])

    @property
    def duration(self) -> float:
        """Seconds of video, from the first frame to the end of the last."""
        return float(self.meta["duration"])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the kept frames in pixels."""
        return int(self.meta["size"][0]), int(self.meta["size"][1])

    @property
    def source_size(self) -> tuple[int, int]:
        """(H, W) of the source video in pixels."""
        return int(self.meta["source_size"][0]), int(self.meta["source_size"][1])

    @property
    def fan_box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the kept rectangle, in source pixels."""
        top, left, bottom, right = self.meta["fan_box"]
        return int(top), int(left), int(bottom), int(right)

    @property
    def has_speech(self) -> bool:
        """Whether the scan has speech."""
        return self.meta["speech"] is not None

    @property
    def speech_range(self) -> tuple[float, float]:
        """(first, last) second of video time that the speech recording covers; (0, 0) without speech."""
        first, last = self.meta["speech"]["range"] if self.has_speech else (0.0, 0.0)
        return float(first), float(last)

    @property
    def speech_statistics(self) -> dict[str, Any] | None:
        """The scan's spectrogram levels (``max_db``, ``mean``, ``std``, ``band_mean``, ``band_std``), or None."""
        return self.meta["speech"]["statistics"] if self.has_speech else None

    @property
    def voice_activity_methods(self) -> tuple[str, ...]:
        """The methods :meth:`voice_activity` knows for this scan."""
        return tuple(self.meta["voice_activity"])

    @cached_property
    def planes(self) -> tuple[PlaneInterval, ...]:
        """Standard-plane intervals in seconds; empty without labels."""
        rows = self.meta["planes"]
        return tuple(PlaneInterval(float(start), float(end), StandardPlane(plane)) for start, end, plane in rows)

    @cached_property
    def gaze(self) -> GazeTrack | None:
        """The gaze track in source pixels, or None."""
        if not self.meta["gaze"]:
            return None
        arrays = self._load_npz("gaze.npz")
        return GazeTrack(arrays["time"], arrays["x"], arrays["y"])

    @property
    def times(self) -> np.ndarray:
        """Presentation time of each frame: float64 ``[F]``, seconds from the video's first frame."""
        return self._opened().index["time"]

    @property
    def source_frames(self) -> np.ndarray:
        """Number of each frame in the source video: int32 ``[F]``."""
        return self._opened().index["source_frame"]

    @property
    def flags(self) -> np.ndarray:
        """Bits for each frame: uint8 ``[F]``; see :data:`FLAG_FROZEN`."""
        return self._opened().index["flags"]

    # Reading ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give up the open files; the next read opens them again."""
        self._open_scan = None

    def _load_npz(self, name: str) -> dict[str, np.ndarray]:
        try:
            with np.load(self.path / name) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{self.path / name}: damaged ({error}); {self._mend}.") from error

    def _opened(self) -> _OpenScan:
        opened = self._open_scan
        if opened is None:
            try:
                frames = open(self.path / "frames.bin", "rb", buffering=0)
                speech = open(self.path / "speech.pcm", "rb", buffering=0) if self.has_speech else None
            except FileNotFoundError as error:
                raise InputError(f"{error.filename}: missing; {self._mend}.") from None
            opened = self._open_scan = _OpenScan(self._load_npz("index.npz"), frames, speech)
            _OPEN_SCANS.add(self)
        return opened

    def _damaged(self, name: str, what: str) -> InputError:
        return InputError(f"{self.path / name}: {what} is damaged (its checksum differs); {self._mend}.")

    def read_frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read frames by number.

        Args:
            indices: frame numbers, 0 to ``n_frames - 1``, in any order.

        Returns:
            uint8 ``[n, H, W]``.

        Raises:
            InputError: when a frame's bytes are not the ones that were written.
        """
        opened = self._opened()
        out = np.empty((len(indices), *self.size), np.uint8)
        offset, length, crc = (opened.index[key] for key in ("offset", "length", "crc32"))
        raw, handle = self.meta["codec"] == "raw", opened.frames.fileno()
        for row, frame in enumerate(indices):
            if not 0 <= frame < len(offset):
                raise ValueError(f"frame {frame} of scan {self.id!r} does not exist: it has {len(offset)} frames")
            data: Any = out[row] if raw else bytearray(int(length[frame]))  # raw: straight into the result
            got = os.preadv(handle, [data], int(offset[frame]))
            if got != length[frame] or zlib.crc32(data) != crc[frame]:
                raise self._damaged("frames.bin", f"frame {frame}")
            if not raw:
                out[row] = _decode(data)
        return out

    def read_speech(self, start_seconds: float, n_samples: int) -> np.ndarray:
        """Read a stretch of speech.

        Args:
            start_seconds: video time of the first sample; rounded to the nearest sample.
            n_samples: how many samples at 24 kHz.

        Returns:
            int16 ``[n_samples]``; zeros where the scan has no speech.

        Raises:
            InputError: when the bytes are not the ones that were written.
        """
        out = np.zeros(n_samples, np.int16)
        start = round(start_seconds * STORE_SAMPLE_RATE)
        opened = self._opened()
        total = self.meta["speech"]["samples"] if self.has_speech else 0
        first, last = max(start, 0), min(start + n_samples, total)
        if opened.speech is None or first >= last:
            return out
        block = first // SPEECH_BLOCK
        origin, end = block * SPEECH_BLOCK, min(-(-last // SPEECH_BLOCK) * SPEECH_BLOCK, total)
        data = memoryview(os.pread(opened.speech.fileno(), 2 * (end - origin), 2 * origin))
        for number, position in enumerate(range(0, 2 * (end - origin), 2 * SPEECH_BLOCK), start=block):
            if zlib.crc32(data[position : position + 2 * SPEECH_BLOCK]) != opened.index["speech_crc32"][number]:
                raise self._damaged("speech.pcm", f"the speech at {number * SPEECH_BLOCK / STORE_SAMPLE_RATE:.2f} s")
        out[first - start : last - start] = np.frombuffer(data, "<i2")[first - origin : last - origin]
        return out

    def voice_activity(self, method: str = "energy") -> np.ndarray:
        """The voice activity flags of one method.

        Args:
            method: one of :attr:`voice_activity_methods`.

        Returns:
            bool ``[J]``; flag j covers [0.01 j, 0.01 (j + 1)) seconds.

        Raises:
            InputError: when prepare was not asked for this method, or the flags are damaged.
        """
        facts = self.meta["voice_activity"].get(method)
        if facts is None:
            why = "has no speech" if not self.has_speech else f"has no {method!r} voice activity"
            hint = nearest_name(method, self.voice_activity_methods)
            raise InputError(
                f"{self.path}: scan {self.id!r} {why}; add {method!r} to voice_activity and run prepare again"
                f" (only the flags are added).{hint}"
            )
        name = f"voice_{method}.npy"
        try:
            flags = np.asarray(np.load(self.path / name))
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{self.path / name}: damaged ({error}); {self._mend}.") from error
        if zlib.crc32(flags.tobytes()) != facts["crc32"]:
            raise self._damaged(name, "the flag list")
        return flags
