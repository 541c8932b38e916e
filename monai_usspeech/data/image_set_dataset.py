# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Labelled images of an image set as training samples, in the form that frames of prepared scans have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import ensure_tuple_rep
from torch import Tensor
from torch.utils.data import Dataset

from monai_usspeech.data.clip_parts import checked_augmentation, item_random_state
from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.image_reading import is_picture, read_picture, read_video_frames, resize_picture
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage
from monai_usspeech.transforms.augmentation import draw_augmentation, identity_augmentation

__all__ = ["ImageSetDataset"]


class ImageSetDataset(Dataset):
    """Labelled pictures and frames of videos, stretched to one size.

    What is drawn for an item depends on ``(seed, epoch, item)`` alone. Index with a number (epoch 0) or with
    ``(epoch, number)``, as the batch samplers do. A sample is a dictionary of tensors, which
    :class:`~monai_usspeech.engines.PrepareFrameBatch` takes like those of :class:`~monai_usspeech.data.FrameDataset`:

    ``image``
        uint8 ``[C, H, W]``, not augmented.
    ``image_affine``, ``image_gain``, ``image_gamma``
        float32 ``[2, 3]``, ``[]``, ``[]``: the drawn augmentation; without ``augment`` the one that changes nothing.
    ``label``, ``group``, ``item``
        int64: index into :attr:`classes`, index into :attr:`subjects`, number of the item.

    Pictures are stretched, not padded, as in the published evaluations (HiCo, Zhang et al., ACCV 2022: 224 x 224).

    Args:
        datalist: an :class:`~monai_usspeech.data.ImageSetDatalist` or its JSON file.
        subjects: use these groups only (:meth:`ImageSetDatalist.fold_groups` gives those of a fold).
        exclude_subjects: leave these out.
        size: side of the images, or rows and columns, in pixels.
        channels: 1 for grey, 3 for RGB.
        augment: arguments of :func:`~monai_usspeech.transforms.augmentation.draw_augmentation`; None: none.
        seed: of the augmentation.
        cache: keep pictures in memory once read, ``C * H * W`` bytes each, in every worker process. Frames of videos
            are always kept: all that a video contributes are read in one pass.

    Raises:
        InputError: on a group that the list does not have, a setting that cannot be used, or no image.
    """

    def __init__(
        self,
        datalist: ImageSetDatalist | str | os.PathLike,
        subjects: Iterable[str] | None = None,
        exclude_subjects: Iterable[str] | None = None,
        size: int | tuple[int, int] = 256,
        channels: int = 1,
        augment: Mapping[str, Any] | None = None,
        seed: int = 0,
        cache: bool = True,
    ) -> None:
        self.datalist = datalist if isinstance(datalist, ImageSetDatalist) else ImageSetDatalist.load(datalist)
        self.size: tuple[int, int] = tuple(ensure_tuple_rep(size, 2))  # a list from JSON, or one number
        if min(self.size) < 1 or channels not in (1, 3):
            raise InputError(
                f"ImageSetDataset: size is {size} and channels {channels}; give pixels above 0, and 1 or 3 channels."
            )
        self.channels, self.seed, self.cache = channels, seed, cache
        self.augment = None if augment is None else checked_augmentation(augment, "ImageSetDataset")
        chosen = self._chosen(subjects, exclude_subjects)
        numbers = [number for number, image in enumerate(self.datalist) if image.group in chosen]
        if not numbers:
            raise InputError(f'image set "{self.datalist.name}": no image is left; choose other groups.')
        self.classes = self.datalist.classes
        """Names of the classes, of all of the list."""
        self.images: tuple[LabelledImage, ...] = tuple(self.datalist.images[number] for number in numbers)
        self.labels = self.datalist.labels[numbers]
        """int64 ``[N]``: class number of each item."""
        self.subjects = tuple(sorted(chosen))
        """The groups in this dataset, sorted: whoever trains on it must not be tested on them."""
        self._group_number = {group: number for number, group in enumerate(self.subjects)}
        self._kept: dict[tuple[Path, float | None], np.ndarray] = {}

    def _chosen(self, subjects: Iterable[str] | None, exclude: Iterable[str] | None) -> set[str]:
        known = set(self.datalist.groups)
        wanted = known if subjects is None else set(subjects)
        left_out = set() if exclude is None else set(exclude)
        for group in sorted(wanted | left_out):
            if group not in known:
                raise InputError(
                    f'image set "{self.datalist.name}" has no group "{group}".{nearest_name(group, known)}'
                )
        return wanted - left_out

    # Samples

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Tensor]:
        epoch, number = item if isinstance(item, tuple) else (0, item)
        number = self._number(number)
        pixels = self._pixels(self.images[number])
        sample: dict[str, Any] = {
            "image": pixels[None] if self.channels == 1 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0)),
            "label": self.labels[number],
            "group": np.int64(self._group_number[self.images[number].group]),
            "item": np.int64(number),
        }
        if self.augment is None:
            drawn = identity_augmentation(1)
        else:
            drawn = draw_augmentation(item_random_state(self.seed, epoch, number), 1, **self.augment)
        sample.update({f"image_{name}": value[0] for name, value in drawn.items()})
        # copies: what is kept in memory must not change with a sample
        return {name: torch.from_numpy(np.array(value)) for name, value in sample.items()}

    def __getitems__(self, items: Sequence[int | tuple[int, int]]) -> list[dict[str, Tensor]]:
        """Fetch a batch; :class:`torch.utils.data.DataLoader` calls this once for each batch."""
        return [self[item] for item in items]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}  # a worker that is started anew reads again

    def _number(self, number: int) -> int:
        if not -len(self) <= number < len(self):
            raise IndexError(f"Image {number} does not exist: there are {len(self)}.")
        return int(number) % len(self)

    def _pixels(self, image: LabelledImage) -> np.ndarray:
        """uint8 ``[H, W]`` or ``[H, W, 3]`` at the size of the dataset."""
        key = (image.image, image.time)
        if key in self._kept:
            return self._kept[key]
        if is_picture(image.image):
            pixels = resize_picture(read_picture(image.image, self.channels), self.size)
            if self.cache:
                self._kept[key] = pixels
            return pixels
        times = [other.time for other in self.images if other.image == image.image]
        frames = read_video_frames(image.image, [time or 0.0 for time in times], self.channels)
        self._kept.update({(image.image, t): resize_picture(f, self.size) for t, f in zip(times, frames)})
        return self._kept[key]

    # What an item is

    def describe(self, item: int) -> tuple[str, str, float]:
        """``(group, file name, time)`` of an item, the time in seconds from a video's first frame, 0 for a picture."""
        image = self.images[self._number(item)]
        return image.group, image.image.name, image.time or 0.0

    def item_name(self, item: int) -> str:
        """An item in words: ``"image a.png"``, ``"video b.mp4 at 1.33 s"``."""
        _, name, time = self.describe(item)
        return f"image {name}" if is_picture(name) else f"video {name} at {time:.2f} s"

    def summary(self) -> dict[str, Any]:
        """Figures for the log: counts of images, files and groups that are used, and of the images of each class."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return {
            "images": len(self),
            "files": len({image.image for image in self.images}),
            "subjects": len(self.subjects),
            "classes": {name: int(count) for name, count in zip(self.classes, counts)},
        }
