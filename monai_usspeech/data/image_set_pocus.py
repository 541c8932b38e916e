# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The POCUS set of lung ultrasound, Born et al. (Applied Sciences 2021), ``github.com/jannisborn/covid19_ultrasound``.

It comes in four forms:

- ``image_dataset`` with ``covid``, ``pneumonia``, ``regular``, as its ``build_image_dataset.py`` makes it: three frames
  a second and at most 30 of each video, called ``VIDEO.mp4_frame12.jpg``;
- ``cross_validation`` with ``split0`` ... ``split4`` of such folders, as its ``cross_val_splitter.py`` makes it;
- ``pocus_videos`` and ``pocus_images`` with ``convex`` and ``linear``, where names begin with ``Cov``, ``Pneu``,
  ``Reg`` or ``Vir``;
- any folder with a ``metadata.csv`` whose columns are ``file``, ``cls`` and ``group``; the probe is not looked at.

Licence: each file has its own, listed in the set's ``dataset_metadata.csv``; most are Creative Commons, many of those
non-commercial. The videos of Butterfly, part of the set as its authors used it, may not be passed on and are missing
from the public files, so that the published counts cannot be reached with these alone.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from monai_usspeech.data.image_set_folders import (
    FoundImages,
    LayoutSettings,
    class_folders,
    counted,
    csv_images,
    labelled_files,
    media_files,
    unfitting_folder,
)
from monai_usspeech.data.image_sets import LabelledImage

__all__ = ["pocus_images"]

_CLASSES = ("covid", "pneumonia", "regular")
_PREFIX = re.compile(r"(cov|pneu|reg|vir)[-_ ]", re.IGNORECASE)
_PREFIX_CLASS = {"cov": "covid", "pneu": "pneumonia", "reg": "regular", "vir": "viral"}
_FRAME = re.compile(r"^(.+\.(?:mp4|m4v|mov|avi|mpe?g|gif))_frame\d+$", re.IGNORECASE)


def pocus_images(folder: Path, settings: LayoutSettings) -> FoundImages:
    """What :func:`~monai_usspeech.data.build_image_set` finds in a folder of the POCUS set."""
    root = folder / "image_dataset" if (folder / "image_dataset").is_dir() else folder
    if (root / "metadata.csv").is_file():
        found = csv_images(root / "metadata.csv", _with_columns(settings, image="file", label="cls", group="group"))
    else:
        named = class_folders(root, {name: name for name in (*_CLASSES, "viral")})
        found = FoundImages(_CLASSES, [])
        if {label for label, _ in named} >= set(_CLASSES):
            for label, path in named:
                images = labelled_files(root, list(media_files(path)), label, _pocus_group, settings)
                found.images += [_with_split(image, root) for image in images]
        else:
            files = [path for path in media_files(root) if _PREFIX.match(path.name)] if root.is_dir() else []
            for path in files:
                label = _PREFIX_CLASS[_PREFIX.match(path.name)[1].lower()]  # type: ignore[index]
                found.images += labelled_files(root, [path], label, _pocus_group, settings)
        found.notes.append("the groups are videos, as published; one patient may have given several")
    if not {image.label for image in found.images} & set(_CLASSES):
        expected = "covid/, pneumonia/ and regular/, or a metadata.csv, or files named Cov-..., Pneu-..., Reg-..."
        raise unfitting_folder(folder, "the POCUS set", expected)
    return _pocus_kept(found, settings)


def _pocus_kept(found: FoundImages, settings: LayoutSettings) -> FoundImages:
    """Only the three published classes, and only the wanted probe where folders tell it."""
    probes = {"convex", "linear"} - {settings.probe} if settings.probe != "all" else set()
    kept = [i for i in found.images if not probes & {part.casefold() for part in i.image.parts[:-1]}]
    if len(kept) < len(found.images):
        found.notes.append(
            f"left out: {counted(len(found.images) - len(kept))} of the other probe (probe={settings.probe})"
        )
    known = [image for image in kept if image.label in _CLASSES]
    if len(known) < len(kept):
        others = sorted({str(image.label) for image in kept} - set(_CLASSES))
        found.notes.append(
            f"left out: {counted(len(kept) - len(known))} of {', '.join(others)}, as in the published evaluation"
        )
    published = {"POCUS": {"covid": 655, "pneumonia": 349, "regular": 1112}}
    return FoundImages(_CLASSES, known, found.notes, published)


def _pocus_group(below: Path) -> str:
    """The video that a frame was taken from; a picture or video that stands alone is its own group."""
    match = _FRAME.match(below.stem)
    return match[1] if match else below.name


def _with_split(image: LabelledImage, root: Path) -> LabelledImage:
    match = re.search(r"(?:^|/)split(\d+)/", image.image.relative_to(root).as_posix())
    return image if match is None else replace(image, fold=int(match[1]))


def _with_columns(settings: LayoutSettings, **columns: str) -> LayoutSettings:
    return settings if settings.columns else replace(settings, columns=columns)
