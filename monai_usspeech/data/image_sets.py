# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The image-set datalist: pictures and frames of videos, their labels, and which of them belong together.

.. code-block:: json

    {"name": "pocus", "classes": ["covid", "pneumonia", "regular"],
     "images": [{"image": "covid/a.jpg", "label": "covid", "group": "a", "time": null, "fold": 0},
                {"image": "regular/b.mp4", "label": "regular", "group": "patient 2", "time": 0.333, "fold": 1}]}

A group is a video or a patient: whatever must not be on both sides of a split. ``"label": null`` is an image without a
label, for pretraining; when no image has one, ``classes`` may be empty. Everything is checked when the list is read,
and all that is wrong is said at once. :mod:`~monai_usspeech.data.image_set_layouts` makes such lists.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_usspeech.data._datalist_checks import resolve
from monai_usspeech.data._image_set_checks import PROBLEMS_SHOWN, image_content_problems, image_file_problems
from monai_usspeech.data.datalist import _written
from monai_usspeech.data.files import InputError, nearest_name, read_json, write_json
from monai_usspeech.data.folds import subject_folds
from monai_usspeech.data.image_reading import is_picture

__all__ = ["ImageSetDatalist", "LabelledImage"]


@dataclass(frozen=True)
class LabelledImage:
    """One image, with its label where it has one.

    Attributes:
        image: a picture (PNG, JPEG, BMP, TIFF, WebP), or a video of any kind that
            :func:`~monai_usspeech.data.open_video` reads.
        label: one of the classes of the list; None: no label.
        group: the video or patient that it belongs to; folds never split a group.
        time: for a video, seconds from its first frame: the frame on display then. None for a picture, and for the
            first frame of a video.
        fold: the test fold, the same for all images of a group; None when folds are drawn elsewhere.
    """

    image: Path
    label: str | None
    group: str
    time: float | None = None
    fold: int | None = None

    @property
    def place(self) -> tuple[str, str, float]:
        """``(group, file name, time)``, the time in seconds from a video's first frame, 0 for a picture."""
        return self.group, self.image.name, self.time or 0.0

    @property
    def title(self) -> str:
        """The image in words: ``"image a.png"``, ``"video b.mp4 at 1.33 s"``."""
        name = self.image.name
        return f"image {name}" if is_picture(name) else f"video {name} at {self.time or 0.0:.2f} s"


@dataclass(frozen=True)
class ImageSetDatalist:
    """A checked list of images, labelled or not.

    Attributes:
        name: a name for reports.
        classes: the names of the classes; a label's number is its place here. Empty only when no image has a label.
        images: the images, in the order of the file.

    Raises:
        InputError: when classes, labels, groups, times or folds cannot be used. All problems are in the one message.
    """

    name: str
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "images", tuple(self.images))
        _raise_if_any(f'image set "{self.name}"', image_content_problems(self._content(None)))

    @classmethod
    def load(cls, path: str | os.PathLike, check_files: bool = True) -> ImageSetDatalist:
        """Read a datalist and check all of it.

        Args:
            path: the JSON file; the paths in it are relative to its folder.
            check_files: also check that every file exists.

        Returns:
            The list, with absolute paths.

        Raises:
            InputError: when anything is wrong: one line for each problem, with the image, the field and the mend.
        """
        content, folder = read_json(path), Path(path).parent.resolve()
        problems = image_content_problems(content)
        _raise_if_any(str(path), problems + (image_file_problems(content, folder) if check_files else []))
        return cls(content["name"], tuple(content["classes"]), tuple(_image(e, folder) for e in content["images"]))

    def save(self, path: str | os.PathLike) -> None:
        """Write the list as JSON, whole or not at all.

        Args:
            path: the file to write, in a folder that exists; paths are written relative to this folder.
        """
        write_json(path, self._content(Path(path).parent.resolve()))

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, each once, sorted."""
        return tuple(sorted({image.group for image in self.images}))

    @property
    def labels(self) -> np.ndarray:
        """int64 ``[N]``: class number of each image, -1 where it has no label."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return np.array([-1 if image.label is None else numbers[image.label] for image in self.images], np.int64)

    @property
    def n_folds(self) -> int:
        """How many folds the images are in; 0 when some image is in none."""
        folds = {image.fold for image in self.images}
        return 0 if None in folds else len(folds)

    def counts(self) -> dict[str, int]:
        """Labelled images of each class, in the order of :attr:`classes`; 0 where a class has none."""
        counted = Counter(image.label for image in self.images)
        return {name: counted[name] for name in self.classes}

    def select(self, subjects: Iterable[str] | None = None, exclude: Iterable[str] | None = None) -> tuple[int, ...]:
        """Numbers of the images of some groups, in the order of the list.

        Args:
            subjects: keep these groups only; None keeps all.
            exclude: leave these out.

        Raises:
            InputError: when the names are no list, the list has no such group, or nothing is left.
        """
        known = set(self.groups)
        wanted = known if subjects is None else _names("subjects", subjects)
        left_out = set() if exclude is None else _names("exclude_subjects", exclude)
        for group in sorted(wanted | left_out):
            if group not in known:
                raise InputError(f'image set "{self.name}" has no group "{group}".{nearest_name(group, known)}')
        chosen = wanted - left_out
        numbers = tuple(number for number, image in enumerate(self.images) if image.group in chosen)
        if not numbers:
            raise InputError(f'image set "{self.name}": no image is left; choose other groups.')
        return numbers

    def draw_folds(self, n_folds: int, seed: int = 0) -> ImageSetDatalist:
        """The same list with drawn folds: groups whole, and about the same share of each class in every fold.

        Images without a label count as one more class.

        Args:
            n_folds: how many, at least 2 and at most the number of groups.
            seed: two calls with one seed give the same folds.

        Raises:
            InputError: as :func:`~monai_usspeech.data.subject_folds`.
        """
        folds = np.zeros(len(self), np.int64)
        groups, labels = [image.group for image in self.images], [image.label for image in self.images]
        for number, (_, test) in enumerate(subject_folds(groups, n_folds, seed, labels)):
            folds[test] = number
        return replace(self, images=tuple(replace(i, fold=int(fold)) for i, fold in zip(self.images, folds)))

    def fold_groups(self, fold: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Groups to train on and groups to test on, each sorted.

        Raises:
            InputError: when some image has no fold, or the fold does not exist.
        """
        if not self.n_folds:
            raise InputError(f'image set "{self.name}": images are in no fold; call draw_folds, or give n_folds.')
        test = {image.group for image in self.images if image.fold == fold}
        if not test:
            known = sorted({str(image.fold) for image in self.images})
            raise InputError(f'image set "{self.name}": no image is in fold {fold}; the folds are {", ".join(known)}.')
        return tuple(group for group in self.groups if group not in test), tuple(sorted(test))

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self.images)

    def _content(self, folder: Path | None) -> dict[str, Any]:
        """What a JSON file in ``folder`` holds for this list (None: with the paths as they are)."""
        images = [
            {
                "image": _written(image.image, folder),
                "label": image.label,
                "group": image.group,
                "time": image.time,
                "fold": image.fold,
            }
            for image in self.images
        ]
        return {"name": self.name, "classes": list(self.classes), "images": images}


def _names(field: str, names: Iterable[str]) -> set[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f"{field}: is {names!r}; give a list of groups, such as ['p001'].")
    return {str(name) for name in names}


def _raise_if_any(where: str, problems: list[str]) -> None:
    if not problems:
        return
    head = [f"{len(problems)} problems in the image set:"] if len(problems) > 1 else []
    tail = [f"... and {len(problems) - PROBLEMS_SHOWN} more."] if len(problems) > PROBLEMS_SHOWN else []
    raise InputError("\n".join(head + [f"{where}: {problem}" for problem in problems[:PROBLEMS_SHOWN]] + tail))


def _image(entry: Mapping[str, Any], folder: Path) -> LabelledImage:
    """The image that a checked entry of a datalist in ``folder`` describes."""
    time = entry.get("time")
    return LabelledImage(
        image=resolve(folder, entry["image"]),
        label=entry["label"],
        group=entry["group"],
        time=None if time is None else float(time),
        fold=entry.get("fold"),
    )
