# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The clips and pictures that a person points at: one file, several, or whatever lies in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from monai_usspeech.data.files import InputError

__all__ = ["CLIP_SUFFIXES", "list_clip_files"]

CLIP_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpeg", ".mpg", ".ts", ".mts", ".wmv", ".gif"),
    *(".dcm", ".dicom", ".ima", ".nii", ".nii.gz", ".ult"),
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"),
)
"""What is taken from a folder; a file that is named itself may have any suffix."""


def list_clip_files(path: str | os.PathLike | Sequence[str | os.PathLike]) -> list[dict[str, str]]:
    """List clips and pictures as items of a MONAI dataset.

    Args:
        path: a file, a folder (searched with all its subfolders for :data:`CLIP_SUFFIXES`, hidden files left out), or a
            list of files and folders.

    Returns:
        ``[{"image": file}, ...]``; the files of a folder are sorted by name.

    Raises:
        InputError: when something named does not exist, or nothing readable is there.
    """
    named = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    files: list[Path] = []
    for one in (Path(name) for name in named):
        if not one.exists():
            raise InputError(f"dataset_dir: {one}: no such file or folder. Correct the path.")
        found = _inside(one) if one.is_dir() else [one]
        if not found:
            raise InputError(
                f"dataset_dir: {one}: no clip or picture in this folder; looked for {', '.join(CLIP_SUFFIXES)}."
            )
        files.extend(found)
    if not files:
        raise InputError("dataset_dir: no file is named. Give a file, a folder or a list of them.")
    return [{"image": str(file)} for file in dict.fromkeys(files)]


def _inside(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.name.lower().endswith(CLIP_SUFFIXES)
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
