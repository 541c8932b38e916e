# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Frames of videos with drawn views: what pretraining on frames reads (contrastive, supervised, semi-supervised)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_usspeech.data._field_checks import is_number, is_whole
from monai_usspeech.data.drawn_items import DrawnItems, checked_augmentation, item_random_state
from monai_usspeech.data.files import InputError, nearest_name
from monai_usspeech.data.image_sets import ImageSetDatalist
from monai_usspeech.data.store import ScanStore
from monai_usspeech.data.video_sources import video_frames
from monai_usspeech.transforms.frame_views import draw_frame_views
from monai_usspeech.transforms.sample_pairs import PAIR_FRAMES, draw_mixing_coefficient, draw_video_frames
from monai_usspeech.transforms.view_augmentation import draw_view_augmentation

__all__ = ["FrameViewDataset", "labelled_videos"]

_HICO: Mapping[str, Any] = {}  # the defaults of draw_view_augmentation


def labelled_videos(labels: np.ndarray, rate: float, seed: int = 0) -> np.ndarray:
    """Which videos keep their label.

    Nested: with one seed, the videos of a smaller rate are among those of a larger. Every class keeps about the same
    share of its videos, as far as whole videos allow.

    Args:
        labels: class of each video, int64 ``[N]``, negative without a label.
        rate: share of the labelled videos that keep theirs, in [0, 1]; above 0 at least one does.
        seed: of the draw.

    Returns:
        bool ``[N]``.
    """
    rng = np.random.RandomState(np.random.Philox(np.random.SeedSequence((seed, len(labels)))))
    place = np.full(len(labels), np.inf)
    for number in np.unique(labels[labels >= 0]):
        own = np.flatnonzero(labels == number)
        place[own] = (rng.permutation(len(own)) + rng.uniform(size=len(own))) / len(own)
    n_labelled = int((labels >= 0).sum())
    count = min(n_labelled, max(1, int(rate * n_labelled + 0.5))) if rate > 0 else 0
    kept = np.zeros(len(labels), bool)
    kept[np.argsort(place, kind="stable")[:count]] = True
    return kept


class FrameViewDataset(DrawnItems):
    """Videos, or single frames, with the views of them that a network compares.

    What is drawn for an item depends on ``(seed, epoch, item)`` alone. Index with a number (epoch 0) or with
    ``(epoch, number)``, as the batch samplers do. A sample is a dictionary of tensors:

    ``image``
        uint8 ``[F, C, H, W]``, not augmented; ``F`` is ``n_views``, and 3 with ``mix``.
    ``image_affine``, ``image_gain``, ``image_gamma``, ``image_contrast``, ``image_blur``, ``image_cutout``
        float32 ``[F, 2, 3]``, ``[F]`` (four times), ``[F, 4]``: the record for
        :func:`~monai_usspeech.transforms.view_augmentation.apply_view_augmentation`.
    ``mix``
        float32 ``[]``, only with ``mix``: the coefficient for
        :func:`~monai_usspeech.transforms.sample_pairs.mix_sample_pair`.
    ``label``, ``item``, ``video``
        int64 ``[]``: index into :attr:`classes` or -1, number of the item, number of its video.

    Args:
        source: a scan store (:class:`~monai_usspeech.data.ScanStore` or its folder), whose videos are windows of scans,
            or an image set (:class:`~monai_usspeech.data.ImageSetDatalist` or its JSON file), whose videos are video
            files, groups of pictures and single pictures; see :func:`~monai_usspeech.data.video_sources.video_frames`.
        subjects: use these subjects, or groups, only.
        exclude_subjects: leave these out.
        unit: ``"video"``: an item is a video, and its frames are drawn; ``"frame"``: an item is a frame, always with
            the same number (temporal ensembling).
        positive: ``"video"``: each view is of a frame of its own, different ones where there are enough (VCL, HiCo);
            ``"image"``: all views are of one frame (SimCLR).
        mix: alpha of the Beta distribution that the mixing coefficient is drawn from, for USCL's sample pairs (Chen et
            al., MICCAI 2021): three frames ``I1, I2, I3`` give ``c I1 + (1 - c) I2`` and ``c I3 + (1 - c) I2``. A video
            of two frames gives these two, one of a single frame that frame twice, with ``c = 1``. None: no mixing.
        label_rate: share of the **videos** that keep their label, see :func:`labelled_videos`. The windows of a scan
            are videos, so that a scan may keep some labels and lose others.
        need_labels: refuse data without any label.
        n_views: how many views ``V``.
        interval: seconds between the frames of a store's window.
        clip_seconds: length of a store's windows in seconds.
        size: side of an image set's frames, or rows and columns; frames of a store keep the size they are stored in.
        channels: 1 for grey, 3 for RGB.
        augment: arguments of :func:`~monai_usspeech.transforms.view_augmentation.draw_view_augmentation`; ``{}``: its
            defaults, those of HiCo; None: no augmentation.
        augment_second: the same for the last view (FixMatch's strong one); None: as ``augment``.
        seed: of everything drawn.
        cache: keep the frames of image sets in memory once read.

    Raises:
        InputError: on a setting or subject that cannot be used, data without a frame, or (``need_labels``) a label.
    """

    def __init__(
        self,
        source: ScanStore | ImageSetDatalist | str | os.PathLike,
        subjects: Iterable[str] | None = None,
        exclude_subjects: Iterable[str] | None = None,
        unit: str = "video",
        positive: str = "video",
        mix: float | None = None,
        label_rate: float = 1.0,
        need_labels: bool = False,
        n_views: int = 2,
        interval: float = 8 / 30,
        clip_seconds: float = 2.0,
        size: int | tuple[int, int] = 224,
        channels: int = 1,
        augment: Mapping[str, Any] | None = _HICO,
        augment_second: Mapping[str, Any] | None = None,
        seed: int = 0,
        cache: bool = True,
    ) -> None:
        _check_choices(unit, positive, mix, n_views, augment_second)
        if not (is_number(label_rate) and 0 <= label_rate <= 1):
            raise InputError(f"FrameViewDataset: label_rate is {label_rate!r}; give a share from 0 to 1.")
        self.unit, self.positive, self.mix, self.n_views, self.seed = unit, positive, mix, n_views, seed
        self.augment, self.augment_second = (
            None if settings is None else checked_augmentation(settings, "FrameViewDataset", draw_view_augmentation)
            for settings in (augment, augment_second)
        )
        self.source = video_frames(source, subjects, exclude_subjects, interval, clip_seconds, size, channels, cache)
        self.subjects = self.source.subjects
        """Who is in this dataset, sorted: whoever trains on it must not be tested on them."""
        kept = labelled_videos(self.source.labels, label_rate, seed)
        self._frame_video = np.repeat(np.arange(len(kept), dtype=np.int32), np.diff(self.source.offsets))
        by_frame = unit == "frame"
        given = self.source.frame_labels if by_frame else self.source.labels
        self.labels = np.where(kept[self._frame_video] if by_frame else kept, given, -1)
        """int64 ``[N]``: class number of each item, -1 where it has none."""
        self.classes: tuple[str, ...] = self.source.classes if (self.labels >= 0).any() else ()
        """Names of the classes; empty when no item has a label."""
        self.num_classes = len(self.classes) if len(self.classes) > 1 else None
        """Number of classes; None when no item has a label, or all have the same, which then says nothing."""
        if need_labels and self.num_classes is None:
            raise InputError(
                f"{self.source.name}: this method learns from labels, and {self._why_none()}; raise label_rate, label"
                " the data, or choose a method without labels."
            )

    def _why_none(self) -> str:
        """Why no label can be learned from."""
        if self.classes:
            return f'"{self.classes[0]}" is the only class'
        return "label_rate is 0" if (self.source.labels >= 0).any() else "nothing in the chosen data has one"

    @property
    def labelled_share(self) -> float:
        """Share of the items that have a label."""
        return float((self.labels >= 0).mean())

    # Samples

    def __len__(self) -> int:
        return len(self.labels)

    def _sample(self, epoch: int, number: int) -> dict[str, Tensor]:
        rng = item_random_state(self.seed, epoch, number)
        video, frames = self._drawn_frames(rng, number)
        sample: dict[str, Any] = {}
        if self.mix is not None:
            sample["mix"] = np.float32(draw_mixing_coefficient(rng, self._n_frames(video), self.mix))
        different, places = np.unique(frames, return_inverse=True)
        sample["image"] = self.source.read(different)[places]
        record = draw_frame_views(rng, len(frames), self.augment, self.augment_second)
        sample.update({f"image_{name}": value for name, value in record.items()})
        sample.update(label=self.labels[number], item=np.int64(number), video=np.int64(video))
        return {name: torch.as_tensor(value) for name, value in sample.items()}

    def _n_frames(self, video: int) -> int:
        return int(self.source.offsets[video + 1] - self.source.offsets[video])

    def _drawn_frames(self, rng: np.random.RandomState, number: int) -> tuple[int, np.ndarray]:
        """The video of an item, and the frames of its views, int64 ``[F]``."""
        if self.unit == "frame":
            return int(self._frame_video[number]), np.full(self.n_views, number)
        first, count = int(self.source.offsets[number]), self._n_frames(number)
        if self.positive == "image":
            return number, first + np.repeat(draw_video_frames(rng, count, 1), self.n_views)
        return number, first + draw_video_frames(rng, count, self.n_views if self.mix is None else PAIR_FRAMES)

    # What an item is

    def describe(self, item: int) -> tuple[str, str, float]:
        """``(subject, scan or file, time)`` of an item, of a video that of its first frame; the time in seconds."""
        number = self._number(item)
        return self.source.describe(number if self.unit == "frame" else int(self.source.offsets[number]))

    def item_name(self, item: int) -> str:
        """An item in words: ``"video b.mp4"``, ``"scan s003 from 12.00 s"``, ``"video b.mp4 at 1.33 s"``."""
        number = self._number(item)
        return self.source.frame_name(number) if self.unit == "frame" else self.source.video_name(number)

    def summary(self) -> dict[str, Any]:
        """Figures for the log: counts of items, videos, frames and subjects, and of the items of each class."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))
        return {
            "items": len(self),
            "videos": len(self.source.labels),
            "frames": len(self.source.frame_labels),
            "subjects": len(self.subjects),
            "labelled": int((self.labels >= 0).sum()),
            "classes": {name: int(count) for name, count in zip(self.classes, counts)},
        }


def _check_choices(unit: Any, positive: Any, mix: Any, n_views: Any, augment_second: Any) -> None:
    """Refuse settings that do not go together, or are none."""
    for name, value, known in (("unit", unit, ("video", "frame")), ("positive", positive, ("video", "image"))):
        if value not in known:
            hint = nearest_name(str(value), known)
            raise InputError(f'FrameViewDataset: {name} is "{value}"; give {" or ".join(known)}.{hint}')
    if not is_whole(n_views) or n_views < 1:
        raise InputError(f"FrameViewDataset: n_views is {n_views!r}; give a whole number of at least 1.")
    if unit == "frame" and positive != "image":
        raise InputError('FrameViewDataset: with unit "frame" all views are of one frame; set positive to "image".')
    if mix is None:
        return
    if not is_number(mix) or mix <= 0:
        raise InputError(f"FrameViewDataset: mix is {mix!r}; give alpha of the Beta distribution, above 0, or null.")
    if positive != "video" or n_views != 2 or augment_second is not None:
        raise InputError(
            'FrameViewDataset: mix makes two views of three frames; set positive to "video", n_views to 2 and'
            " augment_second to null."
        )
