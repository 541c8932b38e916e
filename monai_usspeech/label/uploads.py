# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Whether a file that somebody sent is what its name says, before it is kept."""

from __future__ import annotations

import os
from pathlib import Path

from monai_usspeech.data.files import InputError
from monai_usspeech.data.video import open_video
from monai_usspeech.label.clip_folder import CLIP_SUFFIXES, split_clip_name

__all__ = ["check_upload"]

_HEAD = 132
_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")


def check_upload(path: str | os.PathLike, name: str, fps: float | None = None) -> str:
    """Refuse a file that is not a readable clip or picture of the kind its ending says.

    The decoder goes by what a file holds, and some of what it knows (playlists, lists of files to join) only names
    other files; a clip must not be able to do that. So the first bytes are compared with the ending, and only then the
    first frame is decoded.

    Args:
        path: where the file lies; its ending counts.
        name: what to call it in an error.
        fps: frames per second of files without a clock, as the server was started with.

    Returns:
        The ending, in lower case.

    Raises:
        InputError: when it is not such a file.
    """
    parts = split_clip_name(Path(path).name)
    if parts is None:
        raise InputError(f"{name}: the file has none of the endings {', '.join(CLIP_SUFFIXES)}; convert it.")
    ending = parts[1].lower()
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
    if not _is_kind(ending, head):
        raise InputError(f"{name}: the file is not what its ending {ending} says; name it rightly, or convert it.")
    try:
        with open_video(path, fps) as source:
            first = next(iter(source.frames()), None)
    except InputError as error:
        raise InputError(str(error).replace(os.fspath(path), name)) from error
    if first is None:
        raise InputError(f"{name}: the file holds no picture; export it again.")
    return ending


def _is_kind(ending: str, head: bytes) -> bool:
    """Whether a file's first bytes are those of its kind."""
    starts: dict[str, tuple[bytes, ...]] = {
        ".nii.gz": (b"\x1f\x8b",),
        ".mkv": (b"\x1a\x45\xdf\xa3",),
        ".webm": (b"\x1a\x45\xdf\xa3",),
        ".png": (b"\x89PNG",),
        ".jpg": (b"\xff\xd8\xff",),
        ".jpeg": (b"\xff\xd8\xff",),
        ".bmp": (b"BM",),
        ".tif": (b"II*\x00", b"MM\x00*"),
        ".tiff": (b"II*\x00", b"MM\x00*"),
    }
    if ending in (".mp4", ".mov"):
        return head[4:8] in _ATOMS
    if ending == ".avi":
        return head[:4] == b"RIFF" and head[8:11] == b"AVI"
    if ending == ".dcm":
        return head[128:132] == b"DICM"
    if ending == ".nii":
        return head[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    return head.startswith(starts[ending])
