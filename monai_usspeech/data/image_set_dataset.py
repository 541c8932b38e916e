# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Labelled images of an image set as training samples, in the form that frames of prepared scans have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_usspeech.data.drawn_items import DrawnItems, checked_augmentation, frame_augmentation
from monai_usspeech.data.files import InputError
from monai_usspeech.data.image_set_reader import ImageSetReader
from monai_usspeech.data.image_sets import ImageSetDatalist, LabelledImage

__all__ = ["ImageSetDataset"]


class ImageSetDataset(DrawnItems):
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
    Images without a label are left out; :meth:`summary` counts them.

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
        InputError: on a group that the list does not have, a setting that cannot be used, or no labelled image.
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
        self.channels, self.seed, self.cache = channels, seed, cache
        self.augment = None if augment is None else checked_augmentation(augment, "ImageSetDataset")
        chosen = self.datalist.select(subjects, exclude_subjects)
        numbers = [number for number in chosen if self.datalist.images[number].label is not None]
        if not numbers:
            raise InputError(
                f'image set "{self.datalist.name}": none of the {len(chosen)} chosen images has a label; give "label" a'
                ' class, or choose other groups (lists with "label": null are for pretraining).'
            )
        self.n_unlabelled = len(chosen) - len(numbers)
        """How many of the chosen images were left out, since they have no label."""
        self.classes = self.datalist.classes
        """Names of the classes, of all of the list."""
        self.images: tuple[LabelledImage, ...] = tuple(self.datalist.images[number] for number in numbers)
        self.labels = self.datalist.labels[numbers]
        """int64 ``[N]``: class number of each item."""
        self.subjects = tuple(sorted({image.group for image in self.images}))
        """The groups in this dataset, sorted: whoever trains on it must not be tested on them."""
        self._group_number = {group: number for number, group in enumerate(self.subjects)}
        self._reader = ImageSetReader(self.images, size, channels, keep_pictures=cache, owner="ImageSetDataset")
        self.size = self._reader.size

    # Samples

    def __len__(self) -> int:
        return len(self.images)

    def _sample(self, epoch: int, number: int) -> dict[str, Tensor]:
        sample: dict[str, Any] = {
            "image": self._reader.read([self.images[number]])[0],
            "label": self.labels[number],
            "group": np.int64(self._group_number[self.images[number].group]),
            "item": np.int64(number),
            **frame_augmentation(self.augment, self.seed, epoch, number),
        }
        return {name: torch.from_numpy(np.asarray(value)) for name, value in sample.items()}

    # What an item is

    def describe(self, item: int) -> tuple[str, str, float]:
        """``(group, file name, time)`` of an item, the time in seconds from a video's first frame, 0 for a picture."""
        return self.images[self._number(item)].place

    def item_name(self, item: int) -> str:
        """An item in words: ``"image a.png"``, ``"video b.mp4 at 1.33 s"``."""
        return self.images[self._number(item)].title

    def summary(self) -> dict[str, Any]:
        """Figures for the log: counts of images, files and groups that are used, and of the images of each class.

        With ``unlabelled``, how many were left out, when there were any.
        """
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return {
            "images": len(self),
            "files": len({image.image for image in self.images}),
            "subjects": len(self.subjects),
            "classes": {name: int(count) for name, count in zip(self.classes, counts)},
            **({"unlabelled": self.n_unlabelled} if self.n_unlabelled else {}),
        }
