# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The layout ``videos``: any tree of video files and folders of frames, with or without labels, for pretraining.

Each video file is a video, and each folder that holds pictures is a video of frames::

    FOLDER/liver/a.mp4            video "liver/a.mp4"
    FOLDER/lung/Cov-b/0001.jpg    frame of the video "lung/Cov-b"
    FOLDER/lung/Cov-b/0002.jpg    frame of the video "lung/Cov-b"

US-4, on which USCL (Chen et al., MICCAI 2021) and HiCo (Zhang et al., ACCV 2022) are pretrained, is such a tree: a
folder of frames for each video, whose name begins with what the video shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monai_usspeech.data.image_reading import is_picture
from monai_usspeech.data.image_set_folders import (
    FoundImages,
    LayoutSettings,
    counted,
    labelled_files,
    media_files,
    unfitting_folder,
)

__all__ = ["US4_PREFIXES", "video_images"]

US4_PREFIXES: dict[str, str] = {
    **{f"Rb{number}": f"Rb{number}" for number in range(1, 6)},
    **{f"F{stage}_": f"F{stage}" for stage in range(5)},
    "Reg": "Reg, Ali",
    "Ali": "Reg, Ali",
    **dict.fromkeys(("Cov", "Bli", "Ple", "Oth"), "Cov, Bli, Ple, Oth"),
}
"""The 12 classes of US-4 by what the names of its videos begin with, as HiCo's pretraining numbers them."""


def video_images(folder: Path, settings: LayoutSettings) -> FoundImages:
    """What :func:`~monai_usspeech.data.build_image_set` finds in a tree of videos; ``settings.labels`` gives labels.

    The group of an image is its video: the path of the file, or of the folder of frames, below ``folder``.

    Raises:
        InputError: when there is no such folder, or neither a video nor a picture in it.
    """
    files = list(media_files(folder)) if folder.is_dir() else []
    if not files:
        raise unfitting_folder(folder, "a tree of videos", "video files, or folders of pictures, at any depth")
    labels = {path: _label(path.relative_to(folder), folder.name, settings) for path in files}
    images = [
        image
        for path in files
        for image in labelled_files(folder, [path], labels[path], lambda below: _video_group(below, folder), settings)
    ]
    used = {image.label for image in images if image.label is not None}
    ordered = sorted(used) if settings.labels == "folder" else list(dict.fromkeys(_table(settings).values()))
    bare = sum(image.label is None for image in images)
    notes = [f"{counted(bare)} of {len(images)} without a label"] if bare and settings.labels is not None else []
    return FoundImages(tuple(name for name in ordered if name in used), images, notes)


def _video_group(below: Path, folder: Path) -> str:
    if not is_picture(below):
        return below.as_posix()
    return below.parent.as_posix() if len(below.parts) > 1 else folder.name


def _table(settings: LayoutSettings) -> Mapping[str, str]:
    if settings.labels == "us4":
        return US4_PREFIXES
    return settings.labels if isinstance(settings.labels, Mapping) else {}


def _label(below: Path, root: str, settings: LayoutSettings) -> str | None:
    """The label of a file, from the folder it is in or from what the name of its video begins with."""
    if settings.labels == "folder":
        return below.parts[0] if len(below.parts) > 1 else None
    name = (below.parent.name or root) if is_picture(below) else below.name
    fitting = [prefix for prefix in _table(settings) if name.casefold().startswith(prefix.casefold())]
    return _table(settings)[max(fitting, key=len)] if fitting else None
