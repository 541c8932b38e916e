# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Image sets from the folders in which public sets come; the user supplies the files.

``pocus``
    Lung ultrasound, see :mod:`~monai_usspeech.data.image_set_pocus`.
``breast``
    BUSI, Al-Dhabyani et al. (Data in Brief 28:104863, 2020): ``Dataset_BUSI_with_GT`` with ``benign``, ``malignant``,
    ``normal``, where ``benign (1)_mask.png`` is a mask. BUI, Rodrigues (Mendeley Data, doi 10.17632/wmy84gzngw.1):
    ``originals`` with ``benign`` and ``malignant``. Put both into one folder. Their licences are not
    established here: read the pages that they are fetched from.
``thyroid``
    DDTI, Pedraza et al. (Proc. SPIE 9287, 2015): ``CASE.xml`` with ``<tirads>`` beside ``CASE_1.jpg``, ``CASE_2.jpg``;
    or folders ``Thb`` and ``Thm`` as in ``github.com/983632847/HiCo``. The set states TI-RADS, no diagnosis of each
    image, and users differ about category 3. Its paper calls it open access; the licence is not established here.
``chest_xray``
    COVID-Xray-5k, Minaee et al. (Medical Image Analysis 2020): ``train`` and ``test`` with ``covid`` and ``non``;
    its images come from two collections with terms of their own.
    ChestXRay2017, Kermany et al. (Cell 2018; Mendeley Data, doi 10.17632/rscbjbr9sj, CC BY 4.0): ``train`` and ``test``
    with ``NORMAL`` and ``PNEUMONIA``. HiCo's paper names the first, its code and its numbers are of the second.

``videos``
    Any tree of video files and folders of frames, for pretraining, see
    :mod:`~monai_usspeech.data.image_set_video_tree`.

The published counts of each class are those of HiCo (Zhang et al., ACCV 2022) and its code.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.image_set_folders import (
    TIRADS,
    FoundImages,
    LayoutSettings,
    class_folders,
    counted,
    csv_images,
    folder_images,
    labelled_files,
    media_files,
    unfitting_folder,
)
from monai_usspeech.data.image_set_pocus import pocus_images
from monai_usspeech.data.image_set_video_tree import video_images
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage

__all__ = ["IMAGE_SET_LAYOUTS", "build_image_set", "count_difference", "read_layout"]

_MASK = re.compile(r"_mask(_\d+)?$", re.IGNORECASE)
_CASE_IMAGE = re.compile(r"^(\d+)_\d+")
_KERMANY = re.compile(r"^(?:(person\d+)_|(?:NORMAL2-)?(IM-\d+)-)")
_BUSI, _BUI = {"benign": 437, "malignant": 210, "normal": 133}, {"benign": 100, "malignant": 150, "normal": 0}


def build_image_set(
    layout: str, folder: str | os.PathLike, name: str | None = None, **settings: Any
) -> ImageSetDatalist:
    """A datalist for a folder in one of the known layouts.

    Args:
        layout: ``"pocus"``, ``"breast"``, ``"thyroid"``, ``"chest_xray"``, or for data of one's own ``"folders"``,
            ``"csv"``, and ``"videos"``, where labels may be missing.
        folder: the folder as it was unpacked; of ``"csv"`` the table.
        name: of the list; None: the layout's.
        settings: the fields of :class:`~monai_usspeech.data.image_set_folders.LayoutSettings`.

    Returns:
        The list, without folds unless the layout has them.

    Raises:
        InputError: when the folder has not this layout (with what was expected and what was found), or a setting or
            file cannot be used.

    Warns:
        UserWarning: about whatever a person should know, above all counts that differ from the published ones.
    """
    datalist, notes = read_layout(layout, folder, name, LayoutSettings(**settings))
    for note in notes:
        warnings.warn(f"{folder}: {note}", UserWarning, stacklevel=2)
    return datalist


def read_layout(
    layout: str, folder: str | os.PathLike, name: str | None, settings: LayoutSettings
) -> tuple[ImageSetDatalist, tuple[str, ...]]:
    """As :func:`build_image_set`, with the warnings returned as sentences."""
    if layout not in IMAGE_SET_LAYOUTS:
        known = ", ".join(IMAGE_SET_LAYOUTS)
        raise InputError(f'layout is "{layout}"; give one of {known}.{nearest_name(str(layout), IMAGE_SET_LAYOUTS)}')
    found = IMAGE_SET_LAYOUTS[layout](Path(folder).resolve(), settings)
    datalist = ImageSetDatalist(name or layout, found.classes, tuple(found.images))
    difference = count_difference(datalist.counts(), found.published)
    return datalist, (*found.notes, *([difference] if difference else []))


def count_difference(counts: Mapping[str, int], published: Mapping[str, Mapping[str, int]]) -> str:
    """How the images of each class differ from the published counts, in words.

    Args:
        counts: images of each class.
        published: counts by the title of what they are counts of; the nearest is compared.

    Returns:
        A sentence; empty when they are the same, or nothing is published.
    """
    if not published:
        return ""

    def apart(title: str) -> int:
        return sum(abs(counts[name] - number) for name, number in published[title].items())

    title = min(published, key=apart)
    parts = []
    for name, number in published[title].items():
        if counts[name] != number:
            more = "more" if counts[name] > number else "fewer"
            parts.append(f"{name} {counts[name]}, {abs(counts[name] - number)} {more} than {number}")
    return f"the counts differ from the published ones of {title}: {'; '.join(parts)}" if parts else ""


def _breast(folder: Path, settings: LayoutSettings) -> FoundImages:
    classes = tuple(_BUSI)
    named = class_folders(folder, {name: name for name in classes})
    if not {label for label, _ in named} >= {"benign", "malignant"}:
        expected = "the folders benign/, malignant/ and normal/ of BUSI and originals/ of BUI, at any depth"
        raise unfitting_folder(folder, "the breast set", expected)
    images: list[LabelledImage] = []
    for label, path in named:
        files = [file for file in media_files(path) if not _MASK.search(file.stem)]
        images += labelled_files(folder, files, label, _own_group, settings)
    published = {"BUSI and BUI": {name: _BUSI[name] + _BUI[name] for name in classes}, "BUSI": _BUSI, "BUI": _BUI}
    return FoundImages(classes, images, _ungrouped(settings, "neither BUSI nor BUI names patients"), published)


def _thyroid(folder: Path, settings: LayoutSettings) -> FoundImages:
    named = class_folders(folder, {"thb": "benign", "thm": "malignant", "benign": "benign", "malignant": "malignant"})
    found = FoundImages(("benign", "malignant"), [], published={"the DDTI": {"benign": 61, "malignant": 288}})
    cases = [path for path in sorted(folder.rglob("*.xml")) if not path.name.startswith(".")] if not named else []
    if cases:
        _thyroid_cases(folder, cases, found, settings)
    for label, path in named:
        found.images += labelled_files(folder, list(media_files(path)), label, _case_group, settings)
    if not found.images:
        expected = "CASE.xml beside CASE_1.jpg, or the folders Thb/ and Thm/"
        raise unfitting_folder(folder, "the DDTI thyroid set", expected)
    return found


def _thyroid_cases(folder: Path, cases: list[Path], found: FoundImages, settings: LayoutSettings) -> None:
    """The images of DDTI cases; a case without a TI-RADS category has no label and is left out."""
    beside: dict[tuple[Path, str], list[Path]] = {}
    for path in media_files(folder):
        match = _CASE_IMAGE.match(path.stem)
        if match:
            beside.setdefault((path.parent, match[1]), []).append(path)
    unlabelled = 0
    for case in cases:
        images = beside.pop((case.parent, case.stem), [])
        try:
            tirads = (ElementTree.parse(case).getroot().findtext(".//tirads") or "").strip().lower()
        except ElementTree.ParseError as error:
            raise InputError(f"{case}: not valid XML ({error}); copy it again.") from error
        if tirads and tirads not in TIRADS:
            raise InputError(f'{case}: <tirads> is "{tirads}"; known are {", ".join(TIRADS)}.')
        unlabelled += 0 if tirads else len(images)
        if tirads:
            label = "benign" if tirads in settings.benign_tirads else "malignant"
            found.images += labelled_files(folder, images, label, _case_group, settings)
    strays = sum(map(len, beside.values()))
    for count, why in ((unlabelled, "no TI-RADS category"), (strays, "no CASE.xml beside")):
        if count:
            found.notes.append(f"left out: {counted(count)} with {why}")
    found.notes.append(
        f"TI-RADS {', '.join(settings.benign_tirads)} count as benign, all others as malignant (benign_tirads)"
    )


def _chest_xray(folder: Path, settings: LayoutSettings) -> FoundImages:
    kinds = {
        "COVID-Xray-5k": {"covid": "covid", "non": "non"},
        "ChestXRay2017": {"normal": "normal", "pneumonia": "pneumonia"},
    }
    named = {title: class_folders(folder, names) for title, names in kinds.items()}
    title = next((t for t, found in named.items() if {label for label, _ in found} >= set(kinds[t].values())), None)
    if title is None:
        expected = "train/ and test/ with covid/ and non/, or with NORMAL/ and PNEUMONIA/"
        raise unfitting_folder(folder, "a chest X-ray set", expected)
    parts = [(label, path, _part(path, folder)) for label, path in named[title]]
    wanted = [one for one in parts if settings.part == "all" or one[2] in (settings.part, None)]
    if not wanted:
        raise InputError(
            f"{folder}: has no {settings.part}/ folder; found {', '.join(sorted({str(one[2]) for one in parts}))}."
        )
    rule = _own_group if title == "COVID-Xray-5k" else _kermany_group
    images: list[LabelledImage] = []
    for label, path, _ in wanted:
        images += labelled_files(folder, list(media_files(path)), label, rule, settings)
    notes = _ungrouped(settings, "COVID-Xray-5k names no patients") if rule is _own_group else []
    counts = {
        ("COVID-Xray-5k", "train"): {"covid": 84, "non": 2000},
        ("COVID-Xray-5k", "test"): {"covid": 100, "non": 3000},
        ("ChestXRay2017", "test"): {"normal": 234, "pneumonia": 390},
    }
    here = {one[2] for one in wanted}
    published = {f"{t} {part}": count for (t, part), count in counts.items() if t == title and here == {part}}
    return FoundImages(tuple(dict.fromkeys(kinds[title].values())), images, notes, published)


def _part(path: Path, folder: Path) -> str | None:
    """The nearest folder above, up to ``folder``, that is called train, val or test."""
    names = {"train": "train", "test": "test", "val": "val", "validation": "val"}
    above = (parent for parent in path.parents if parent == folder or folder in parent.parents)
    return next((names[parent.name.casefold()] for parent in above if parent.name.casefold() in names), None)


def _ungrouped(settings: LayoutSettings, why: str) -> list[str]:
    if settings.group is not None:
        return []
    return [f"{why}: each image is a group of its own, and folds may split a patient (duplicates=merge, or group)"]


def _own_group(below: Path) -> str:
    return below.as_posix()


def _case_group(below: Path) -> str:
    """The DDTI case: the number before the underscore."""
    match = _CASE_IMAGE.match(below.stem)
    return f"case {match[1]}" if match else below.as_posix()


def _kermany_group(below: Path) -> str:
    """The child: ``person12`` of ``person12_virus_3``, ``IM-0001`` of ``NORMAL2-IM-0001-0001``."""
    match = _KERMANY.match(below.stem)
    return (match[1] or match[2]) if match else below.as_posix()


IMAGE_SET_LAYOUTS: dict[str, Callable[[Path, LayoutSettings], FoundImages]] = {
    "pocus": pocus_images,
    "breast": _breast,
    "thyroid": _thyroid,
    "chest_xray": _chest_xray,
    "folders": folder_images,
    "csv": csv_images,
    "videos": video_images,
}
"""What reads each layout."""
