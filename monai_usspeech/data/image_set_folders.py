# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Image sets from folders named after classes and from CSV tables: what all layouts are made of.

The two layouts here fit data of one's own:

``folders``
    ``FOLDER/CLASS/picture.png`` and ``FOLDER/CLASS/video.mp4``: each file is a group of its own;
    ``FOLDER/CLASS/VIDEO/frame.png``: the pictures of a folder are one group.
``csv``
    A table with the columns ``image`` and ``label``, and where they are known ``group``, ``time`` and ``fold``.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_usspeech.data._field_checks import is_number, is_whole, text_problem
from monai_usspeech.data.clip_files import CLIP_SUFFIXES
from monai_usspeech.data.datalist import _subject_in
from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.image_reading import PICTURE_SUFFIXES, is_picture, spaced_times
from monai_usspeech.data.image_sets import LabelledImage

__all__ = [
    "FoundImages",
    "LayoutSettings",
    "TIRADS",
    "class_folders",
    "counted",
    "csv_images",
    "folder_images",
    "labelled_files",
    "media_files",
    "unfitting_folder",
]

_SUFFIXES = tuple(dict.fromkeys(CLIP_SUFFIXES + PICTURE_SUFFIXES))
TIRADS = ("1", "2", "3", "4a", "4b", "4c", "5")
"""Categories of the thyroid set."""

_COLUMNS = ("image", "label", "group", "time", "fold")


@dataclass(frozen=True)
class LayoutSettings:
    """What a person may choose about an image set.

    Attributes:
        group: regular expression whose first group finds the video or patient in a path below the folder, in place of
            the layout's own rule: ``"^(p[0-9]+)_"``.
        interval: seconds between the frames taken from a video.
        max_frames: take at most so many from a video; None: all.
        probe: of POCUS, ``"convex"`` (what was published), ``"linear"`` or ``"all"``.
        part: of a chest X-ray set, ``"train"``, ``"val"``, ``"test"`` or ``"all"``.
        benign_tirads: TI-RADS categories of the DDTI that count as benign; all others are malignant.
        columns: of a CSV file: the names of its columns by ours, ``{"image": "file", "label": "cls"}``; or a list of
            our names in the order of the columns, for a file without a header.
        labels: of the layout ``videos``, where labels come from: None (no labels), ``"folder"`` (the folder below the
            one that was named), ``"us4"`` (:data:`~monai_usspeech.data.image_set_video_tree.US4_PREFIXES`), or a table
            of one's own, classes by what the names of videos begin with: ``{"Cov": "covid", "Reg": "regular"}``.
    """

    group: str | None = None
    interval: float = 1 / 3
    max_frames: int | None = 30
    probe: str = "convex"
    part: str = "test"
    benign_tirads: tuple[str, ...] = ("2", "3")
    columns: Mapping[str, str] | Sequence[str] | None = None
    labels: str | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not (is_number(self.interval) and self.interval > 0):
            raise InputError(f"interval is {self.interval!r}; give seconds above 0.")
        if not (self.max_frames is None or (is_whole(self.max_frames) and self.max_frames > 0)):
            raise InputError(f"max_frames is {self.max_frames!r}; give a whole number above 0, or None for all.")
        for name, known in (("probe", ("convex", "linear", "all")), ("part", ("train", "val", "test", "all"))):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f'{name} is "{value}"; give {", ".join(known)}.{nearest_name(str(value), known)}')
        if not isinstance(self.group, (str, type(None))):
            raise InputError(f"group is {self.group!r}; give a regular expression with one group, in quotes.")
        benign = self.benign_tirads if isinstance(self.benign_tirads, (list, tuple)) else (self.benign_tirads,)
        object.__setattr__(self, "benign_tirads", tuple(str(value).lower() for value in benign))
        for value in self.benign_tirads:
            if value not in TIRADS:
                raise InputError(f'benign_tirads: "{value}" is no category; known are {", ".join(TIRADS)}.')
        self._check_labels()
        if not isinstance(self.columns, (Mapping, list, tuple, type(None))):
            raise InputError(
                f"columns is {self.columns!r}; give {{'image': 'file', ...}}, or a list for a file without a header."
            )

    def _check_labels(self) -> None:
        table = self.labels
        if table is None or table in ("folder", "us4"):
            return
        if isinstance(table, Mapping) and table and not any(map(text_problem, (*table, *table.values()))):
            return
        hint = nearest_name(table, ("folder", "us4")) if isinstance(table, str) else ""
        raise InputError(f'labels is {table!r}; give None, "folder", "us4", or a table {{prefix: class}}.{hint}')


@dataclass
class FoundImages:
    """What a layout found in a folder.

    Attributes:
        classes: names of the classes.
        images: the images.
        notes: what a person should know about them, one sentence each.
        published: published counts of each class, by the title of what they are counts of; the nearest is compared.
    """

    classes: tuple[str, ...]
    images: list[LabelledImage]
    notes: list[str] = field(default_factory=list)
    published: dict[str, dict[str, int]] = field(default_factory=dict)


def counted(number: int) -> str:
    """``"1 image"``, ``"2 images"``."""
    return f"{number} image" if number == 1 else f"{number} images"


def unfitting_folder(folder: Path, title: str, expected: str) -> InputError:
    """The error for a folder that has not the layout ``title``: what was expected, and what is there."""
    if not folder.exists():
        return InputError(f"{folder}: no such folder; correct the path.")
    if not folder.is_dir():
        return InputError(f"{folder}: is a file; {title} is a folder with {expected}.")
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    folders = [f"{path.name}/" for path in inside if path.is_dir()]
    kinds = Counter(path.suffix.lower() or "without ending" for path in inside if path.is_file())
    shown = folders[:6] + ([f"{len(folders) - 6} more folders"] if len(folders) > 6 else [])
    shown += [f"{count} {kind}" for kind, count in kinds.most_common(4)]
    return InputError(f"{folder}: not {title}; expected {expected}, found {', '.join(shown) or 'nothing'}.")


def class_folders(folder: Path, names: Mapping[str, str], depth: int = 4) -> list[tuple[str, Path]]:
    """Folders in ``folder`` that are named after a class, whatever the case of their letters.

    Args:
        folder: where to look; what lies in a class's folder is not looked at.
        names: class by the folder's name in small letters.
        depth: how many levels down.

    Returns:
        (class, folder), sorted by path.
    """
    found: list[tuple[str, Path]] = []
    if depth == 0 or not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        label = names.get(path.name.casefold())
        found += [(label, path)] if label is not None else class_folders(path, names, depth - 1)
    return found


def media_files(folder: Path) -> Iterator[Path]:
    """Pictures and videos in a folder and the folders below, sorted; without hidden ones."""
    for path in sorted(folder.rglob("*")):
        if path.name.lower().endswith(_SUFFIXES) and path.is_file():
            if not any(part.startswith(".") for part in path.relative_to(folder).parts):
                yield path


def labelled_files(
    root: Path, files: Sequence[Path], label: str | None, group_of: Callable[[Path], str], settings: LayoutSettings
) -> list[LabelledImage]:
    """Images of some files of one class; a video gives one for each frame that is taken.

    Args:
        root: the folder that the user named.
        files: pictures and videos below it.
        label: their class; None: no label.
        group_of: the layout's rule: the group of a path below ``root``.
        settings: a rule of the user's goes before it.
    """
    images: list[LabelledImage] = []
    for path in files:
        below = path.relative_to(root)
        group = group_of(below) if settings.group is None else _subject_in(below, settings.group)
        images += _frames_of(LabelledImage(path, label, group), settings)
    return images


def folder_images(folder: Path, settings: LayoutSettings) -> FoundImages:
    """The layout ``folders``: a folder for each class, with pictures, videos, or folders of frames."""

    def group_of(below: Path) -> str:
        return below.parent.as_posix() if len(below.parts) > 2 and is_picture(below) else below.as_posix()

    expected = "a folder for each class, with pictures, videos or folders of frames"
    if not folder.is_dir():
        raise unfitting_folder(folder, "an image set in folders", expected)
    named = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    filled = [(path, files) for path in named if (files := list(media_files(path)))]
    if len(filled) < 2:
        raise unfitting_folder(folder, "an image set in folders", f"{expected}, for two classes or more")
    images = [image for path, files in filled for image in labelled_files(folder, files, path.name, group_of, settings)]
    return FoundImages(tuple(path.name for path, _ in filled), images)


def csv_images(table: Path, settings: LayoutSettings) -> FoundImages:
    """The layout ``csv``: a table of images, with paths below its folder or the folder that holds that."""
    rows = _rows(table, settings.columns)
    images: list[LabelledImage] = []
    for line, row in rows:
        path = next((p for p in (table.parent / row["image"], table.parent.parent / row["image"]) if p.is_file()), None)
        if path is None:
            raise InputError(f'{table}, line {line}: no such file "{row["image"]}" beside the table; correct the path.')
        group = row.get("group") or Path(row["image"]).as_posix()
        if settings.group is not None:
            group = _subject_in(Path(row["image"]), settings.group)
        time, fold = (_as_number(table, line, row, name) for name in ("time", "fold"))
        image = LabelledImage(path.resolve(), row["label"], group, time, None if fold is None else int(fold))
        images += _frames_of(image, settings)
    if not images:
        raise InputError(f"{table}: the table has no row; give one for each image.")
    grouped = settings.group is not None or all(row.get("group") for _, row in rows)
    note = "some rows name no group: each such file is a group of its own, and folds may split a patient"
    classes = tuple(sorted({i.label for i in images if i.label is not None}))
    return FoundImages(classes, images, [] if grouped else [note])


def _frames_of(image: LabelledImage, settings: LayoutSettings) -> list[LabelledImage]:
    if is_picture(image.image) or image.time is not None:
        return [image]
    times = spaced_times(image.image, settings.interval, settings.max_frames)
    return [LabelledImage(image.image, image.label, image.group, float(time), image.fold) for time in times]


def _rows(table: Path, columns: Mapping[str, str] | Sequence[str] | None) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file by our names of the columns, each with its line."""
    for name in columns or ():
        if name not in _COLUMNS:
            raise InputError(f'columns: "{name}" is none of {", ".join(_COLUMNS)}.{nearest_name(str(name), _COLUMNS)}')
    if not table.is_file():
        raise InputError(f"{table}: no such file; the layout csv takes the path of a CSV file as its folder.")
    renamed = {**{name: name for name in _COLUMNS}, **(columns if isinstance(columns, Mapping) else {})}
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            if columns is not None and not isinstance(columns, Mapping):
                rows = [(n, dict(zip(columns, line))) for n, line in enumerate(csv.reader(file), start=1) if line]
                present = list(columns)
            else:
                reader = csv.DictReader(file)
                present = [ours for ours, theirs in renamed.items() if theirs in (reader.fieldnames or ())]
                rows = [(n, {ours: row[renamed[ours]] for ours in present}) for n, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as CSV ({error}).") from error
    for needed in ("image", "label", *(columns if isinstance(columns, Mapping) else ())):
        if needed not in present:
            raise InputError(f'{table}: no column "{renamed[needed]}" for {needed}; add it, or name it with columns.')
    for line, row in rows:
        if not all((row.get(name) or "").strip() for name in ("image", "label")):
            raise InputError(f"{table}, line {line}: image or label is empty; fill it in or take the line out.")
    return [(line, {name: (value or "").strip() for name, value in row.items()}) for line, row in rows]


def _as_number(table: Path, line: int, row: Mapping[str, str], name: str) -> float | None:
    text = row.get(name)
    if not text:
        return None
    try:
        return float(text) if name == "time" else int(text)
    except ValueError:
        raise InputError(f'{table}, line {line}: {name} is "{text}"; give a number or nothing.') from None
