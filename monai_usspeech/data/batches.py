# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Batches that depend on (seed, epoch) alone, on any number of processes, and can be taken up anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from monai_usspeech.data.files import InputError
from monai_usspeech.data.resumable_batches import ResumableBatchSampler, spread_places

__all__ = ["ClipBatchSampler"]


class ClipBatchSampler(ResumableBatchSampler):
    """Batch sampler for clips, videos, frames or images: yields lists of ``(epoch, item)``.

    It serves every dataset whose items are drawn by epoch: :class:`~monai_usspeech.data.ClipDataset`,
    :class:`~monai_usspeech.data.FrameViewDataset`, :class:`~monai_usspeech.data.FrameDataset`,
    :class:`~monai_usspeech.data.ImageSetDataset`. How epochs follow one another and how processes share a batch, see
    :class:`~monai_usspeech.data.resumable_batches.ResumableBatchSampler`.

    For clips with speech, ``high_share`` gives each batch a fixed number of clips that can give pairs, so that the
    contrastive term always sees as many negatives. The other places go through all clips, so that the frame-order task
    sees the whole video. No clip is twice in a batch; every high clip is used before one comes again.

    Args:
        n_items: length of the dataset.
        batch_size: items per batch on one process.
        seed: of the order.
        shuffle: draw a new order for each epoch; else items come in their own order.
        drop_last: leave out the last batch when it is not full. When it is kept, it is divided evenly; should it hold
            fewer items than there are processes it is left out all the same, since no process may stay without a
            batch. With ``high_share`` it is always left out.
        rank: number of this process.
        world_size: number of processes.
        high: bool ``[n_items]``, or a function of the epoch that returns it: the clips that can give pairs.
        high_share: share of each batch that is drawn from ``high``; None: no such rule.

    Raises:
        InputError: when there is no whole batch size of at least 1, the items do not fill one batch, or the high clips
            not their share of it.
        ValueError: on a number out of its range.
    """

    def __init__(
        self,
        n_items: int,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        rank: int = 0,
        world_size: int = 1,
        high: np.ndarray | Sequence[bool] | Callable[[int], np.ndarray] | None = None,
        high_share: float | None = None,
    ) -> None:
        super().__init__(batch_size, seed, rank, world_size)
        if high_share is not None and (high is None or not 0 <= high_share <= 1):
            raise ValueError(f"high_share must lie in [0, 1] and needs high, got {high_share} and high={high}.")
        self.n_items, self.shuffle, self.drop_last = n_items, shuffle, drop_last
        self.high, self.high_share = high, high_share
        self.n_high = 0 if high_share is None else round(high_share * self.total)
        if len(self) == 0:
            raise InputError(
                f"{n_items} items do not fill one batch of {self.total} (batch_size {batch_size} on {world_size}"
                " processes): lower batch_size or add data."
            )
        self._high_items(0)

    def __len__(self) -> int:
        whole, rest = divmod(self.n_items, self.total)
        return whole + (not self.drop_last and not self.n_high and rest >= self.world_size)

    def _batches(self, rng: np.random.RandomState, epoch: int) -> Iterator[np.ndarray]:
        order = rng.permutation(self.n_items) if self.shuffle else np.arange(self.n_items)
        return self._mixed(rng, order, epoch) if self.n_high else self._plain(order)

    def _plain(self, order: np.ndarray) -> Iterator[np.ndarray]:
        for number in range(len(self)):
            yield order[number * self.total : (number + 1) * self.total]

    def _high_items(self, epoch: int) -> np.ndarray:
        if not self.n_high:
            return np.zeros(0, np.int64)
        high = np.asarray(self.high(epoch) if callable(self.high) else self.high, bool)
        if high.shape != (self.n_items,):
            raise ValueError(f"high must be [{self.n_items}], one for each item, got {list(high.shape)}.")
        items = np.flatnonzero(high)
        if len(items) < self.n_high:
            raise InputError(
                f"high_share={self.high_share:g} asks for {self.n_high} high-affinity clips in a batch of {self.total},"
                f" and there are {len(items)}: lower high_share, batch_size or the affinity threshold."
            )
        return items

    def _mixed(self, rng: np.random.RandomState, order: np.ndarray, epoch: int) -> Iterator[np.ndarray]:
        items = self._high_items(epoch)
        places = spread_places(self.n_high, self.total)
        n_other = self.total - self.n_high
        queue, kept, position = np.zeros(0, np.int64), np.zeros(0, np.int64), 0
        for _ in range(len(self)):
            if len(queue) < self.n_high:
                again = rng.permutation(items) if self.shuffle else items
                queue = np.concatenate([queue, again[~np.isin(again, queue)], again[np.isin(again, queue)]])
            chosen, queue = queue[: self.n_high], queue[self.n_high :]
            # Go on through the order, past the clips that this batch has already: they are kept for the next one.
            window = np.concatenate([kept, order[position : position + self.total - len(kept)]])
            position += self.total - len(kept)
            free = np.flatnonzero(~np.isin(window, chosen))[:n_other]
            kept = np.delete(window, free)
            batch = np.empty(self.total, np.int64)
            batch[places], batch[~places] = chosen, window[free]
            yield batch
