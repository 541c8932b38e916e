# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Writing one scan into a scan store, so that it is there whole or not at all."""

from __future__ import annotations

import io
import os
import shutil
import socket
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from monai_usspeech.data.files import InputError, atomic_file, read_json, write_json

__all__ = [
    "CODECS",
    "FLAG_FROZEN",
    "SPEECH_BLOCK",
    "STORE_FORMAT",
    "STORE_SAMPLE_RATE",
    "ScanStoreWriter",
    "add_voice_activity",
    "remove_leftovers",
    "remove_scan",
    "scan_folder",
    "write_gaze",
]

STORE_FORMAT = 1
"""Version of the layout on disk; a reader refuses any other."""

STORE_SAMPLE_RATE = 24_000
"""Samples per second of the speech in a store."""

SPEECH_BLOCK = 6_000
"""Speech samples covered by one checksum: 0.25 s, so a window of 0.6 s reads at most four blocks."""

CODECS = ("jpeg", "raw")
"""How frames are kept: JPEG, or plain uint8 rows."""

FLAG_FROZEN = 1
"""Bit of a frame's flags: the picture does not differ from the kept frame before it (a frozen machine)."""


def scan_folder(root: str | os.PathLike, scan_id: str) -> Path:
    """The folder of one scan inside a store. Characters that a file system may refuse are percent-encoded."""
    name = quote(scan_id, safe=" +,=@()")
    return Path(root) / (f"%2E{name[1:]}" if name.startswith(".") else name)


def _part_prefix(folder: Path) -> str:
    return f".{folder.name}.part-"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process, but a living one
        return True
    return True


def remove_leftovers(root: str | os.PathLike, scan_id: str) -> int:
    """Remove what interrupted runs left of one scan.

    A folder that a living process of this machine is still writing is left alone.

    Returns:
        How many folders were removed.
    """
    folder, removed = scan_folder(root, scan_id), 0
    prefix, host = _part_prefix(folder), socket.gethostname()
    for part in [entry for entry in Path(root).iterdir() if entry.name.startswith(prefix)]:
        owner, _, pid = part.name[len(prefix) :].rpartition("-")
        if owner == host and pid.isdigit() and int(pid) != os.getpid() and _alive(int(pid)):
            continue
        shutil.rmtree(part, ignore_errors=True)
        removed += 1
    return removed


def remove_scan(folder: str | os.PathLike) -> None:
    """Remove a scan's folder; its ``meta.json`` goes first, so that an interrupted removal does not read as whole."""
    folder = Path(folder)
    (folder / "meta.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _write_voice_activity(
    folder: Path, method: str, flags: np.ndarray, source: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write ``voice_<method>.npy`` and return what ``meta.json`` says about it."""
    flags = np.ascontiguousarray(flags)
    if flags.ndim != 1 or flags.dtype != np.bool_:
        raise ValueError(f"voice activity flags must be bool [J], got {flags.dtype} {list(flags.shape)}")
    with atomic_file(folder / f"voice_{method}.npy") as file:
        np.save(file, flags)
    facts = {"share": float(flags.mean()) if len(flags) else 0.0, "crc32": zlib.crc32(flags.tobytes())}
    return facts if source is None else {**facts, "source": dict(source)}


def add_voice_activity(
    folder: str | os.PathLike, method: str, flags: np.ndarray, source: Mapping[str, Any] | None = None
) -> None:
    """Add the flags of one more voice activity method (bool ``[J]``, one per 10 ms) to a scan that is in a store.

    ``meta.json`` names the method only after its flags are on the disk, so an interruption leaves the scan as it was.
    ``source`` identifies the file that the flags come from, when they do not come from the sound.
    """
    meta = read_json(Path(folder) / "meta.json")
    meta["voice_activity"][method] = _write_voice_activity(Path(folder), method, flags, source)
    write_json(Path(folder) / "meta.json", meta)


def write_gaze(folder: str | os.PathLike, time: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Write ``gaze.npz`` into a scan's folder, whole or not at all; ``meta.json`` says whether it counts."""
    with atomic_file(Path(folder) / "gaze.npz") as file:
        np.savez(file, time=np.float64(time), x=np.float64(x), y=np.float64(y))


class ScanStoreWriter:
    """Write one scan: frames one after the other, then speech and the rest, then :meth:`finish`.

    Everything goes to a hidden folder beside the final one. ``finish`` writes ``meta.json`` last and renames the
    folder, so an interruption at any moment leaves nothing that reads as a scan. Leaving the ``with`` block without
    ``finish`` removes the hidden folder.

    Args:
        root: the store's folder (made when absent).
        scan_id: the scan's identifier.
        codec: ``"jpeg"`` or ``"raw"``.
        quality: JPEG quality, 1 to 95.
    """

    def __init__(self, root: str | os.PathLike, scan_id: str, codec: str = "jpeg", quality: int = 90) -> None:
        if codec not in CODECS:
            raise ValueError(f"codec must be one of {CODECS}, got {codec!r}")
        self.root, self.scan_id, self.codec, self.quality = Path(root), scan_id, codec, quality
        self.folder = scan_folder(root, scan_id)
        self._part = self.root / f"{_part_prefix(self.folder)}{socket.gethostname()}-{os.getpid()}"
        self._file: IO[bytes] | None = None
        self._position = 0
        self._size: tuple[int, int] | None = None
        self._rows: list[tuple[int, int, int, float, int, int]] = []  # offset, length, crc32, time, source frame, flags
        self._speech_crc = np.zeros(0, np.uint32)
        self._speech: dict[str, Any] | None = None
        self._gaze = False
        self._voice: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> ScanStoreWriter:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.root, self.scan_id)
            self._part.mkdir()
            self._file = open(self._part / "frames.bin", "wb")  # closed in finish() or __exit__()
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{self.root}: the store cannot be written ({reason}); choose another folder.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        shutil.rmtree(self._part, ignore_errors=True)

    @property
    def n_frames(self) -> int:
        """Frames added so far."""
        return len(self._rows)

    def _encode(self, image: np.ndarray) -> bytes:
        if self.codec == "raw":
            return image.tobytes()
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=self.quality)
        return buffer.getvalue()

    def add_frame(self, image: np.ndarray, time: float, source_index: int, flags: int = 0) -> None:
        """Append one frame.

        Args:
            image: uint8 ``[H, W]``; every frame of a scan has the same size.
            time: seconds from the video's first presented frame; later than the frame before.
            source_index: number of the frame in the source video.
            flags: bits such as :data:`FLAG_FROZEN`.
        """
        if image.dtype != np.uint8 or image.ndim != 2 or (self._size is not None and image.shape != self._size):
            wanted = list(self._size or ("H", "W"))
            raise ValueError(f"frame must be uint8 {wanted}, got {image.dtype} {list(image.shape)}")
        if self._rows and time <= self._rows[-1][3]:
            raise ValueError(f"frame times must increase, got {time} after {self._rows[-1][3]}")
        if self._file is None:
            raise ValueError("add_frame needs an open writer: use it inside its with block, before finish()")
        self._size = (image.shape[0], image.shape[1])
        data = self._encode(np.ascontiguousarray(image))
        self._file.write(data)
        self._rows.append((self._position, len(data), zlib.crc32(data), float(time), int(source_index), int(flags)))
        self._position += len(data)

    def set_speech(
        self, samples: np.ndarray, speech_range: tuple[float, float], statistics: Mapping[str, Any] | None = None
    ) -> None:
        """Set the speech.

        Args:
            samples: int16 ``[N]``, mono, 24 kHz, sample 0 at the video's first frame.
            speech_range: (first, last) second of video time that the recording covers.
            statistics: level statistics of the scan's spectrogram (JSON-able), or None.
        """
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise ValueError(f"speech must be int16 [N], got {samples.dtype} {list(samples.shape)}")
        data = np.ascontiguousarray(samples, dtype="<i2")
        (self._part / "speech.pcm").write_bytes(data.data)
        blocks = [data[start : start + SPEECH_BLOCK] for start in range(0, len(data), SPEECH_BLOCK)]
        self._speech_crc = np.array([zlib.crc32(block.data) for block in blocks], np.uint32)
        self._speech = {
            "samples": len(data),
            "sample_rate": STORE_SAMPLE_RATE,
            "range": [float(speech_range[0]), float(speech_range[1])],
            "statistics": None if statistics is None else dict(statistics),
        }

    def set_voice_activity(self, method: str, flags: np.ndarray, source: Mapping[str, Any] | None = None) -> None:
        """Set the flags of one voice activity method: bool ``[J]``, one per 10 ms; ``source``: the file they come
        from, when they do not come from the sound."""
        self._voice[method] = _write_voice_activity(self._part, method, flags, source)

    def set_gaze(self, time: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """Set the gaze track: seconds and source pixels, float64 ``[G]`` each; NaN where there was no fix."""
        write_gaze(self._part, time, x, y)
        self._gaze = True

    def finish(self, meta: Mapping[str, Any]) -> Path:
        """Write the index, then ``meta.json``, and put the scan in its place.

        Args:
            meta: what describes the scan; ``subject``, ``duration`` (s), ``fan_box`` and ``source_size`` are required,
                ``planes`` is a list of ``[start, end, plane]``. Counts, sizes and speech facts are added here.

        Returns:
            The scan's folder.
        """
        missing = [key for key in ("subject", "duration", "fan_box", "source_size") if key not in meta]
        if missing or self._file is None or self._size is None:
            raise ValueError(f"cannot finish scan {self.scan_id!r}: missing {', '.join(missing) or 'frames'}")
        self._file.close()
        self._file = None
        offset, length, crc, time, source, flags = zip(*self._rows)
        np.savez(
            self._part / "index.npz",
            offset=np.array(offset, np.int64),
            length=np.array(length, np.int32),
            crc32=np.array(crc, np.uint32),
            time=np.array(time, np.float64),
            source_frame=np.array(source, np.int32),
            flags=np.array(flags, np.uint8),
            speech_crc32=self._speech_crc,
        )
        whole = {
            "format": STORE_FORMAT,
            "id": self.scan_id,
            **meta,
            "codec": self.codec,
            "size": list(self._size),
            "n_frames": len(self._rows),
            "frame_bytes": self._position,
            "speech": self._speech,
            "voice_activity": self._voice,
            "gaze": self._gaze,
            "planes": [list(interval) for interval in meta.get("planes", ())],
        }
        for path in self._part.iterdir():  # on the disk before meta.json says so
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        write_json(self._part / "meta.json", whole)
        remove_scan(self.folder)
        os.rename(self._part, self.folder)
        return self.folder
