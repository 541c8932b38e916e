# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Batches of labelled frames in which every plane is seen as often as every other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from monai_usspeech.data.files import InputError
from monai_usspeech.data.plane_names import PLANES
from monai_usspeech.data.resumable_batches import ResumableBatchSampler, spread_places

__all__ = ["BalancedBatchSampler"]


class BalancedBatchSampler(ResumableBatchSampler):
    """Batch sampler for :class:`~monai_usspeech.data.PlaneDataset`: yields lists of ``(epoch, item)``.

    Most frames of a scan show no standard plane. A fixed share of each batch is background; its other places go round
    the planes that are present, on from where the batch before stopped, so over an epoch two planes differ by one
    frame at most. With half a batch of background this is the weighting of the group's public code (background
    weighted by the number of the other classes), with exact counts in place of expected ones.

    Within a class the frames come in a drawn order, and none comes again before all have come. A rare plane's frames
    are therefore used many times in an epoch, and some background frames not at all. How epochs follow one another and
    how processes share a batch, see :class:`~monai_usspeech.data.resumable_batches.ResumableBatchSampler`.

    Args:
        labels: class number of each frame, ``[N]`` (:attr:`PlaneDataset.labels`).
        batch_size: frames per batch on one process, or groups of ``frames_each`` frames.
        seed: of the order.
        background: class number of background. Without such frames all places go to the planes.
        background_share: share of each batch that is background, in [0, 1).
        n_batches: batches of one epoch; None: as many as the frames fill, at least one.
        rank: number of this process.
        world_size: number of processes.
        frames_each: frames that each of the ``batch_size`` stands for: as many as a clip has in a method that is
            compared with.

    Raises:
        InputError: when there are no two classes, a batch has no place for one of the two halves, or there is no whole
            batch size of at least 1.
        ValueError: on a number out of its range.
    """

    def __init__(
        self,
        labels: np.ndarray | Sequence[int],
        batch_size: int,
        seed: int = 0,
        background: int = PLANES.index("background"),
        background_share: float = 0.5,
        n_batches: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        frames_each: int = 1,
    ) -> None:
        super().__init__(batch_size * frames_each, seed, rank, world_size)
        if not 0 <= background_share < 1 or (n_batches is not None and n_batches < 1):
            raise ValueError(
                f"Need background_share in [0, 1) and n_batches >= 1, got {background_share} and {n_batches}."
            )
        numbers = np.asarray(labels, dtype=np.int64)
        if numbers.ndim != 1:
            raise ValueError(f"labels must be [N], got {list(numbers.shape)}.")
        present = np.unique(numbers)
        if len(present) < 2:
            only = "none at all" if len(present) == 0 else f"only {_name(present[0])}"
            raise InputError(
                f"the {len(numbers)} frames to train on show {only}, and two classes or more are needed: add subjects"
                " with other planes, or raise n_label_subjects."
            )
        self.background, self.background_share = background, background_share
        self.planes = tuple(int(number) for number in present if number != background)
        """Class numbers of the planes that are present."""
        self._items = {int(number): np.flatnonzero(numbers == number) for number in present}
        self.n_background = int(background_share * self.total + 0.5) if background in self._items else 0
        """Background frames of a batch of all processes together."""
        self.n_batches = max(1, len(numbers) // self.total) if n_batches is None else n_batches
        short = background in self._items and background_share > 0 and self.n_background == 0
        if short or self.n_background == self.total:
            raise InputError(
                f"a batch of {self.total} with background_share {background_share:g} has no place for"
                f" {'background' if short else 'planes'}; raise batch_size or change background_share."
            )

    def __len__(self) -> int:
        return self.n_batches

    def _batches(self, rng: np.random.RandomState, epoch: int) -> Iterator[np.ndarray]:
        n_planes, turns = self.total - self.n_background, rng.permutation(self.planes)
        shown = np.empty(n_planes * len(self), np.int64)
        for place, plane in enumerate(turns):
            own = shown[place :: len(turns)]
            own[:] = _in_turn(rng, self._items[int(plane)], len(own))
        background = _in_turn(rng, self._items.get(self.background), self.n_background * len(self))
        places = spread_places(self.n_background, self.total)
        for number in range(len(self)):
            batch = np.empty(self.total, np.int64)
            batch[~places] = shown[number * n_planes : (number + 1) * n_planes]
            batch[places] = background[number * self.n_background : (number + 1) * self.n_background]
            yield batch


def _in_turn(rng: np.random.RandomState, items: np.ndarray | None, count: int) -> np.ndarray:
    """``count`` items: all in a drawn order, then all again in a new one, and so on."""
    if items is None or count == 0:
        return np.zeros(0, np.int64)
    return np.concatenate([rng.permutation(items) for _ in range(-(-count // len(items)))])[:count]


def _name(number: int) -> str:
    return PLANES[number] if 0 <= number < len(PLANES) else f"class {number}"
