# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Single frames of prepared scans, thinned in time: what the downstream tasks read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_usspeech.data.drawn_items import DrawnItems, checked_augmentation, frame_augmentation
from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import ScanStore, StoredScan
from monai_usspeech.transforms.pair_sampling import frame_on_display

__all__ = ["FrameDataset", "frames_every"]


def frames_every(times: np.ndarray, interval: float) -> np.ndarray:
    """The frames on display every ``interval`` seconds, each once.

    Args:
        times: presentation times of a scan's frames, float64 ``[F]``, increasing, in seconds.
        interval: seconds; shorter than the time between frames takes every frame.

    Returns:
        int64 ``[n]``, increasing indices into ``times``, beginning with 0.
    """
    steps = int((times[-1] - times[0]) / interval + 1e-6) + 1
    return np.unique(frame_on_display(times, times[0] + interval * np.arange(steps)))


class FrameDataset(DrawnItems):
    """Frames of prepared scans, ``interval`` seconds apart.

    The published experiments take every 8th frame of 30 a second. Here frames are chosen by time, so scans of any frame
    rate, and stores that keep one frame of three, give frames of the same spacing: those on display at 0, ``interval``,
    2 ``interval``, ... seconds. Frozen pictures stay in: sonographers freeze on standard planes.

    What is drawn for an item depends on ``(seed, epoch, item)`` alone. Index with a number (epoch 0) or with
    ``(epoch, number)``, as the batch samplers do. A sample is a dictionary of tensors (``S`` = side of the stored
    frames):

    ``image``
        uint8 ``[1, S, S]``.
    ``image_affine``, ``image_gain``, ``image_gamma``
        float32 ``[2, 3]``, ``[]``, ``[]``: the drawn augmentation for
        :func:`~monai_usspeech.transforms.augmentation.apply_augmentation`; without ``augment`` the one that changes
        nothing.
    ``scan_index``, ``frame_index``, ``item``
        int64: index into :attr:`scans`, number of the stored frame, number of the item.

    Args:
        store: a :class:`ScanStore` or its folder.
        subjects: use these subjects only.
        exclude_subjects: leave these out.
        interval: seconds between frames.
        augment: arguments of :func:`~monai_usspeech.transforms.augmentation.draw_augmentation`; None: none.
        seed: of the augmentation.

    Raises:
        InputError: on a subject that the store does not have, a setting that cannot be used, or no usable frame.
    """

    def __init__(
        self,
        store: ScanStore | str | os.PathLike,
        subjects: Iterable[str] | None = None,
        exclude_subjects: Iterable[str] | None = None,
        interval: float = 8 / 30,
        augment: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        if not interval > 0:
            raise InputError(f"{type(self).__name__}: interval is {interval}; give the seconds between frames.")
        self.store = store if isinstance(store, ScanStore) else ScanStore(store)
        self.interval, self.seed = interval, seed
        self.augment = None if augment is None else checked_augmentation(augment, type(self).__name__)
        chosen = self.store.select(subjects=subjects, exclude=exclude_subjects)
        self.scans: tuple[StoredScan, ...] = tuple(scan for scan in chosen if self._serves(scan))
        numbers = [self._annotated(scan, frames_every(scan.times, interval)) for scan in self.scans]
        self.offsets = np.concatenate([[0], np.cumsum([len(part) for part in numbers], dtype=np.int64)])
        """int64 ``[scans + 1]``: number of the first item of each scan."""
        self.frames = np.concatenate([np.zeros(0, np.int32), *numbers]).astype(np.int32)
        """int32 ``[N]``: number of the stored frame of each item."""
        if len(self) == 0:
            raise InputError(f"{self.store.root}: {self._why_empty(len(chosen))}")

    # What a task adds

    def _serves(self, scan: StoredScan) -> bool:
        """Whether a scan has what the task needs."""
        return True

    def _annotated(self, scan: StoredScan, frames: np.ndarray) -> np.ndarray:
        """Take down what the task needs to know about a scan's frames; returns the frames that it can use."""
        return frames

    def _complete(self, sample: dict[str, Any], number: int) -> None:
        """Put the task's targets into a sample."""

    def _why_empty(self, n_scans: int) -> str:
        """What is missing, and the mend, when none of ``n_scans`` chosen scans gives a frame."""
        return f"the {n_scans} chosen scans have no frame; choose other subjects."

    # Samples

    def __len__(self) -> int:
        return len(self.frames)

    def _sample(self, epoch: int, number: int) -> dict[str, Tensor]:
        scan_index, frame = self.locate(number)
        sample: dict[str, Any] = {
            "image": self.scans[scan_index].read_frames([frame]),
            "scan_index": np.int64(scan_index),
            "frame_index": np.int64(frame),
            "item": np.int64(number),
            **frame_augmentation(self.augment, self.seed, epoch, number),
        }
        self._complete(sample, number)
        return {name: torch.as_tensor(value) for name, value in sample.items()}

    # What an item is

    @property
    def subjects(self) -> tuple[str, ...]:
        """Who is in this dataset, sorted: whoever trains on it must not be tested on them."""
        parts = np.flatnonzero(np.diff(self.offsets))  # a scan without a usable frame brings nobody in
        return tuple(sorted({self.scans[index].subject for index in parts}))

    def locate(self, number: int) -> tuple[int, int]:
        """``(scan index, frame number)`` of item ``number``; negative numbers count from the end.

        Raises:
            IndexError: when there is no such item.
        """
        number = self._number(number)
        return int(np.searchsorted(self.offsets, number, side="right")) - 1, int(self.frames[number])

    def describe(self, item: int) -> tuple[str, str, float]:
        """``(subject, scan, time)`` of an item, the time in seconds from the video's first frame."""
        scan_index, frame = self.locate(item)
        scan = self.scans[scan_index]
        return scan.subject, scan.id, float(scan.times[frame])

    def item_name(self, item: int) -> str:
        """An item in words: ``"scan s003 at 12.40 s"``."""
        _, scan, time = self.describe(item)
        return f"scan {scan} at {time:.2f} s"

    def summary(self) -> dict[str, Any]:
        """Figures for the log: counts of frames, scans and subjects that are used."""
        return {
            "frames": len(self),
            "scans": int((np.diff(self.offsets) > 0).sum()),
            "subjects": len(self.subjects),
        }
