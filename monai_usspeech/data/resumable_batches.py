# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What the batch samplers share: one order for each (seed, epoch), equal parts for processes, and a set position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from monai_usspeech.data.files import InputError

__all__ = ["ResumableBatchSampler", "spread_places"]


class ResumableBatchSampler(Sampler, ABC):
    """Yields lists of ``(epoch, item)`` that depend on ``(seed, epoch)`` alone.

    The batch of all processes together holds ``batch_size * world_size`` items and is the same for any ``world_size``
    that gives the same product; the process of rank ``r`` takes the ``r``-th of its equal parts::

        one process      [ a b c d e f g h ]
        two processes    [ a b c d ]  rank 0
                                 [ e f g h ]  rank 1

    Each pass is one epoch and the next pass the next one, unless :meth:`set_position` says otherwise.

    Args:
        batch_size: items per batch on one process.
        seed: of the order.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        InputError: when there is no whole batch size of at least 1.
        ValueError: when there is no such rank.
    """

    def __init__(self, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(
                f"batch_size is {batch_size!r} on each of {world_size} processes; give each a whole number from 1."
            )
        if world_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"Need 0 <= rank < world_size, got {rank} and {world_size}.")
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.total = batch_size * world_size
        self.epoch = self.first_batch = 0

    @abstractmethod
    def __len__(self) -> int:
        """Batches of one epoch."""

    @abstractmethod
    def _batches(self, rng: np.random.RandomState, epoch: int) -> Iterator[np.ndarray]:
        """The batches of all processes together, int64 ``[total]`` each, by an ``rng`` that is new in each epoch."""

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Let the next pass begin at batch ``batch`` of epoch ``epoch`` (both from 0)."""
        if epoch < 0 or batch < 0:
            raise ValueError(f"epoch and batch must not be negative, got {epoch} and {batch}.")
        self.epoch, self.first_batch = epoch + batch // len(self), batch % len(self)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # A generator: the position is taken at its first batch, for a loader with workers makes one iterator in vain.
        epoch, first = self.epoch, self.first_batch
        self.epoch, self.first_batch = epoch + 1, 0
        rng = np.random.RandomState(np.random.Philox(np.random.SeedSequence((self.seed, epoch))))
        for number, batch in enumerate(self._batches(rng, epoch)):
            if number >= first:
                begin, end = (len(batch) * r // self.world_size for r in (self.rank, self.rank + 1))
                yield [(epoch, int(item)) for item in batch[begin:end]]


def spread_places(count: int, total: int) -> np.ndarray:
    """bool ``[total]``: ``count`` places spread evenly over a batch, so that each process gets its share of them."""
    places: np.ndarray = np.diff(np.arange(total + 1) * count // total) == 1
    return places
