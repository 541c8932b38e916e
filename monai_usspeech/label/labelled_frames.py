# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Frames of labelled clips: what the server trains its plane classifier on.

The frames are read once and held in memory as bytes, ``size * size`` each: 2,000 frames of 256 pixels take 130 MB.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_usspeech.data.drawn_items import DrawnItems, checked_augmentation, frame_augmentation
from monai_usspeech.data.fan_video import FanVideoReader
from monai_usspeech.data.files import InputError
from monai_usspeech.data.kept_picture import frame_stride
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.label.clip_labels import ClipLabel, read_label

__all__ = [
    "LabelledClip",
    "LabelledFrameDataset",
    "LabelledFrames",
    "frame_classes",
    "read_labelled_clips",
    "read_labelled_frames",
    "validation_subjects",
]

CLIP_FRAMES = 32
"""How many frames take the class of their clip, at most."""

LEAST_SUBJECTS = 5
"""With fewer subjects none is kept for validation."""


@dataclass(frozen=True)
class LabelledClip:
    """A clip and its label.

    Attributes:
        id: of the clip in the datastore.
        path: its file.
        label: what it shows.
    """

    id: str
    path: Path
    label: ClipLabel

    @property
    def subject(self) -> str:
        """Whom it was recorded of; a clip of which nobody said it counts as a subject of its own."""
        return self.label.subject or self.id


@dataclass(frozen=True, eq=False)
class LabelledFrames:
    """Frames in memory, with what they show.

    Attributes:
        images: uint8 ``[N, 1, S, S]``.
        classes: int64 ``[N]``, indices into :data:`~monai_usspeech.data.PLANES`.
        clip_index: int64 ``[N]``, indices into ``clips``.
        frames: int64 ``[N]``, numbers of the frames in their files.
        clips: where they are from.
    """

    images: np.ndarray
    classes: np.ndarray
    clip_index: np.ndarray
    frames: np.ndarray
    clips: tuple[LabelledClip, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Who is in these frames, sorted."""
        return tuple(sorted({self.clips[index].subject for index in np.unique(self.clip_index)}))

    def of_subjects(self, subjects: Collection[str]) -> LabelledFrames:
        """The frames of some subjects."""
        chosen = np.asarray([clip.subject in subjects for clip in self.clips], bool)[self.clip_index]
        return LabelledFrames(
            self.images[chosen], self.classes[chosen], self.clip_index[chosen], self.frames[chosen], self.clips
        )

    def class_counts(self) -> dict[str, int]:
        """Frames of each class that occurs."""
        counts = np.bincount(self.classes, minlength=len(PLANES))
        return {name: int(count) for name, count in zip(PLANES, counts) if count}


class LabelledFrameDataset(DrawnItems):
    """Labelled frames as a dataset; index with a number (epoch 0) or ``(epoch, number)``.

    A sample has ``image`` (uint8 ``[1, S, S]``), ``label`` (int64), ``item`` (int64), and the drawn augmentation
    ``image_affine``, ``image_gain``, ``image_gamma``, as :class:`~monai_usspeech.data.PlaneDataset` gives them; it
    depends on ``(seed, epoch, item)`` alone.

    Args:
        frames: see :func:`read_labelled_frames`.
        augment: arguments of :func:`~monai_usspeech.transforms.augmentation.draw_augmentation`; None: none.
        seed: of the augmentation.

    Raises:
        InputError: on an augmentation that cannot be drawn.
    """

    def __init__(self, frames: LabelledFrames, augment: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.frames, self.seed = frames, seed
        self.augment = None if augment is None else checked_augmentation(augment, type(self).__name__)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labels(self) -> np.ndarray:
        """int64 ``[N]``: class number of each item."""
        return self.frames.classes

    def _sample(self, epoch: int, number: int) -> dict[str, Tensor]:
        sample = {
            "image": self.frames.images[number],
            "label": self.labels[number],
            "item": np.int64(number),
            **frame_augmentation(self.augment, self.seed, epoch, number),
        }
        return {name: torch.as_tensor(value) for name, value in sample.items()}

    def item_name(self, item: int) -> str:
        """An item in words: ``"clip a frame 12"``."""
        number = self._number(item)
        return f"clip {self.frames.clips[self.frames.clip_index[number]].id} frame {self.frames.frames[number]}"


def read_labelled_clips(datalist: Iterable[Mapping[str, str]]) -> tuple[list[LabelledClip], dict[str, str]]:
    """Read the labels of a datastore's list.

    Args:
        datalist: ``{"image": file, "label": file}`` of each labelled clip; the label's file is named after the clip.

    Returns:
        The clips by id, and for each that cannot be used its id and why.
    """
    clips, left_out = [], {}
    for entry in datalist:
        name = os.path.basename(entry["label"]).removesuffix(".json")
        try:
            clips.append(LabelledClip(name, Path(entry["image"]), read_label(entry["label"])))
        except InputError as error:
            left_out[name] = str(error)
    return sorted(clips, key=lambda clip: clip.id), left_out


def frame_classes(kept: np.ndarray, label: ClipLabel, stride: int = 1) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Which of the frames that are read have a class, and which.

    Clips are read at a lower frame rate than they were recorded at, so a labelled frame may not be among the frames
    that are read: its label goes to the nearest one (the earlier of two), where ``stride`` reaches that far. Of two
    labels for one frame the nearer counts. The class of the clip goes to the frames that have no label of their own, to
    32 of them evenly spread where there are more.

    Args:
        kept: int ``[T]``, numbers of the frames that are read, growing.
        label: of the clip.
        stride: of how many frames one is read.

    Returns:
        int64 ``[n]`` places among the kept frames, growing; int64 ``[n]`` classes; and the labelled numbers that the
        clip does not have.
    """
    nearest: dict[int, tuple[int, str]] = {}
    missing = []
    for frame in label.frames:
        place = int(np.abs(kept - frame.frame).argmin())
        distance = abs(int(kept[place]) - frame.frame)
        if distance >= stride:
            missing.append(frame.frame)
        elif place not in nearest or distance < nearest[place][0]:
            nearest[place] = (distance, frame.plane)
    found = {place: PLANES.index(plane) for place, (_, plane) in nearest.items()}
    if label.plane is not None:
        free = np.setdiff1d(np.arange(len(kept)), list(found))
        spread = np.unique(np.linspace(0, len(free) - 1, min(len(free), CLIP_FRAMES)).round().astype(np.int64))
        found.update(dict.fromkeys(map(int, free[spread]), PLANES.index(label.plane)))
    places = sorted(found)
    return np.asarray(places, np.int64), np.asarray([found[place] for place in places], np.int64), missing


def read_labelled_frames(
    clips: Sequence[LabelledClip], reader: FanVideoReader
) -> tuple[LabelledFrames, dict[str, str]]:
    """Read the labelled frames of clips; see :func:`frame_classes` for which these are.

    Args:
        clips: what to read.
        reader: how to read it.

    Returns:
        The frames, and for each clip that could not be used in full its id and why.

    Raises:
        InputError: when no frame is left, with the first reason.
    """
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    problems: dict[str, str] = {}
    for index, clip in enumerate(clips):
        try:
            video, meta = reader.get_data(clip.path)
        except (InputError, OSError) as error:
            problems[clip.id] = str(error)
            continue
        kept = np.asarray(meta["frame_indices"], np.int64)
        places, classes, missing = frame_classes(kept, clip.label, frame_stride(meta["fps"] or None, reader.frame_rate))
        if missing:
            problems[clip.id] = f"{clip.path}: has no frame {missing[0]}; {len(missing)} labels are not used."
        parts.append((video[0, places][:, None], classes, np.full(len(places), index), kept[places]))
    if sum(len(part[0]) for part in parts) == 0:
        reason = next(iter(problems.values()), "there is none.")
        raise InputError(f"none of the {len(clips)} labelled clips gives a frame to train on: {reason}")
    images, classes, clip_index, frames = (np.concatenate(arrays) for arrays in zip(*parts))
    return LabelledFrames(images, classes, clip_index, frames, tuple(clips)), problems


def validation_subjects(
    subjects: Collection[str], seed: int = 0, trained: Collection[str] = (), validated: Collection[str] = ()
) -> tuple[str, ...]:
    """Who judges the weights: about a fifth of the subjects, from five on; with fewer nobody.

    Whoever the weights at the start were trained on with labels would flatter them, and is not taken. Those who judged
    them then are taken first, so that the scores of one training and the next are about the same subjects.

    Args:
        subjects: all that have labels.
        seed: of the order of the others.
        trained: on whose labels the start has been trained.
        validated: who judged the start.

    Returns:
        The chosen ones, sorted; fewer than a fifth, or none, when there are no others.
    """
    if len(subjects) < LEAST_SUBJECTS:
        return ()

    def order(name: str) -> tuple[bool, str]:
        # by a digest of the name: a subject that comes later does not change the order of the others
        return name not in validated, hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()

    candidates = sorted((name for name in subjects if name not in trained), key=order)
    return tuple(sorted(candidates[: int(len(subjects) / 5 + 0.5)]))
