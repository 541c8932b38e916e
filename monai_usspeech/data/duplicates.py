# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Identical images of an image set, found by their content: whoever learns one by heart knows the other.

Public sets hold such pairs. BUSI has many, some of them in two classes (Pawlowska et al., Data in Brief 2023). Pictures
are compared by their decoded pixels, so another file format or a copied header hides nothing; videos by their bytes.
Images that are only similar (cropped, scaled, compressed again) are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monai_usspeech.data.image_reading import is_picture, read_picture
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from monai_usspeech.data.video import check_file

__all__ = ["DuplicateImages", "content_digest", "find_duplicates", "merge_duplicate_groups"]


@dataclass(frozen=True)
class DuplicateImages:
    """Files of an image set with one content.

    Attributes:
        files: the files, in the order of the list, two or more.
        groups: the groups that they belong to, sorted.
        labels: the classes that they are put into, sorted; without those of no label.
        folds: the folds that they are in, sorted; without those in no fold.
    """

    files: tuple[Path, ...]
    groups: tuple[str, ...]
    labels: tuple[str, ...]
    folds: tuple[int, ...]


def content_digest(path: Path) -> str:
    """SHA-256 of what a file shows: size and RGB pixels of a picture, the bytes of a video.

    Raises:
        InputError: when the file is missing, or a picture is damaged.
    """
    if is_picture(path):
        pixels = read_picture(path, channels=3)
        return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    with open(check_file(path), "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_duplicates(
    datalist: ImageSetDatalist, known: Sequence[DuplicateImages] | None = None
) -> tuple[DuplicateImages, ...]:
    """Files of an image set that have the same content, each set of them once, in the order of the list.

    Args:
        datalist: the images; every picture is read, which also proves that it can be.
        known: what this function returned for the same images in other groups or folds; then no file is read again.

    Raises:
        InputError: when a file is missing, or a picture is damaged.
    """
    entries: dict[Path, list[LabelledImage]] = {}
    for image in datalist:
        entries.setdefault(image.image, []).append(image)
    if known is not None:
        return tuple(_described(list(same.files), entries) for same in known)
    alike: dict[str, list[Path]] = {}
    for path in entries:
        alike.setdefault(content_digest(path), []).append(path)
    return tuple(_described(files, entries) for files in alike.values() if len(files) > 1)


def merge_duplicate_groups(datalist: ImageSetDatalist, duplicates: Sequence[DuplicateImages]) -> ImageSetDatalist:
    """The same list with groups that share an image made one, under the name that sorts first.

    Folds that are drawn afterwards never put identical images on two sides. Folds in the list are taken out, since they
    may split the new groups.

    Args:
        datalist: the images.
        duplicates: of :func:`find_duplicates`.
    """
    leader = {group: group for group in datalist.groups}

    def find(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    for duplicate in duplicates:
        roots = sorted({find(group) for group in duplicate.groups})
        leader.update({root: roots[0] for root in roots})
    return replace(datalist, images=tuple(replace(i, group=find(i.group), fold=None) for i in datalist))


def _described(files: list[Path], entries: dict[Path, list[LabelledImage]]) -> DuplicateImages:
    images = [image for file in files for image in entries[file]]
    return DuplicateImages(
        files=tuple(files),
        groups=tuple(sorted({image.group for image in images})),
        labels=tuple(sorted({image.label for image in images if image.label is not None})),
        folds=tuple(sorted({image.fold for image in images if image.fold is not None})),
    )
