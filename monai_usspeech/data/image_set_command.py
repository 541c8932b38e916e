# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Making an image-set datalist as a command: the table at the end, and one clear line for a mistake."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from monai_usspeech.data._field_checks import is_whole
from monai_usspeech.data.duplicates import DuplicateImages, find_duplicates, merge_duplicate_groups
from monai_usspeech.data.files import InputError, check_folder_and_output, nearest_name
from monai_usspeech.data.image_set_folders import LayoutSettings
from monai_usspeech.data.image_set_layouts import IMAGE_SET_LAYOUTS, read_layout
from monai_usspeech.data.image_sets import ImageSetDatalist

__all__ = ["image_set_table", "write_image_set"]

_DUPLICATES = ("report", "merge")


def write_image_set(
    layout: str | None,
    folder: str | os.PathLike | None,
    output: str | os.PathLike | None,
    check: Callable[[], None] | None = None,
    name: str | None = None,
    n_folds: int | None = 5,
    seed: int = 0,
    duplicates: str = "report",
    **settings: Any,
) -> ImageSetDatalist:
    """Make the datalist of an image set, write it, and print what is in it.

    This is the run id ``datalist`` of ``configs/data/image_set.json``; from Python, call
    :func:`~monai_usspeech.data.build_image_set`.

    Args:
        layout: see :func:`~monai_usspeech.data.build_image_set`.
        folder: the folder as it was unpacked; of the layout ``csv`` the table.
        output: the JSON file to write, in a folder that exists.
        check: called first; what it raises as ``InputError`` is told like any other mistake. The configuration puts the
            check of the command line here.
        name: of the list; None: the layout's.
        n_folds: draw so many folds, groups whole and classes in about equal shares; 0 or None: draw none (on
            the command line give 0, since MONAI passes over arguments that are None).
            A layout that has folds (``cross_validation`` of POCUS, a ``fold`` column) keeps them.
        seed: of the folds.
        duplicates: ``"report"`` identical images; ``"merge"``: also make groups that share one a single group, so that
            drawn folds never have them on two sides.
        settings: the fields of :class:`~monai_usspeech.data.image_set_folders.LayoutSettings`.

    Returns:
        The list that was written.

    Raises:
        SystemExit: with status 1 when something given cannot be used.
    """
    try:
        if check is not None:
            check()
        if layout is None or folder is None or output is None:
            raise InputError(f"name all three: --layout {'|'.join(IMAGE_SET_LAYOUTS)} --folder FOLDER --output FILE")
        check_folder_and_output(folder, output)
        _check(n_folds, seed, duplicates)
        datalist, notes = read_layout(layout, folder, name, _settings(settings))
        alike = find_duplicates(datalist)
        if duplicates == "merge" and any(len(same.groups) > 1 for same in alike):
            datalist = merge_duplicate_groups(datalist, alike)
        if n_folds and not datalist.n_folds:
            datalist = datalist.draw_folds(n_folds, seed)
        datalist.save(output)
        alike = find_duplicates(datalist, alike)  # their groups and folds are known only now
    except InputError as error:
        raise SystemExit(f"datalist: {error}") from None
    print(f"\n{image_set_table(datalist, alike)}")
    for note in notes:
        print(f"Note: {note}.")
    print(f"Datalist: {os.fspath(output)}")
    return datalist


def image_set_table(datalist: ImageSetDatalist, duplicates: Sequence[DuplicateImages] = ()) -> str:
    """Images and groups of each class, and of each class the images in each fold; below it the duplicates, in words.

    Images without a label have a row of their own, when there are any.

    Args:
        datalist: the list.
        duplicates: of :func:`~monai_usspeech.data.find_duplicates`.
    """
    folds = sorted({image.fold for image in datalist if image.fold is not None})
    rows = [["class", "images", "groups", *(f"fold {fold}" for fold in folds)]]
    parts = [(label, [image for image in datalist if image.label == label]) for label in datalist.classes]
    unlabelled = [image for image in datalist if image.label is None]
    parts += [("no label", unlabelled)] if unlabelled else []
    for label, images in (*parts, ("all", list(datalist))):
        per_fold = [sum(image.fold == fold for image in images) for fold in folds]
        numbers = (len(images), len({image.group for image in images}), *per_fold)
        rows.append([label, *map(str, numbers)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    ]
    return "\n".join([*lines, *_duplicate_lines(duplicates)])


def _duplicate_lines(duplicates: Sequence[DuplicateImages]) -> list[str]:
    if not duplicates:
        return ["Duplicate sets: none"]
    across = [
        f"across {word} {sum(len(getattr(same, field)) > 1 for same in duplicates)}"
        for field, word in (("groups", "groups"), ("folds", "folds"), ("labels", "classes"))
    ]
    worst = max(duplicates, key=lambda same: (len(same.labels), len(same.folds), len(same.groups)))
    files = sum(len(same.files) for same in duplicates)
    shown = " = ".join(path.name for path in worst.files[:3])
    return [f"Duplicate sets: {len(duplicates)} ({files} files); {', '.join(across)}; such as {shown}"]


def _check(n_folds: Any, seed: Any, duplicates: Any) -> None:
    """Refuse what a command line can hold and the rest would not understand."""
    if not (n_folds is None or is_whole(n_folds)):
        raise InputError(f"n_folds is {n_folds!r}; give a whole number of at least 2, or 0 for no folds.")
    if not is_whole(seed):
        raise InputError(f"seed is {seed!r}; give a whole number from 0.")
    if duplicates not in _DUPLICATES:
        hint = nearest_name(str(duplicates), _DUPLICATES)
        raise InputError(f'duplicates is "{duplicates}"; give {" or ".join(_DUPLICATES)}.{hint}')


def _settings(values: dict[str, Any]) -> LayoutSettings:
    known = LayoutSettings.__dataclass_fields__
    for name in values:
        if name not in known:
            raise InputError(f'there is no setting "{name}".{nearest_name(name, known)}')
    return LayoutSettings(**values)
