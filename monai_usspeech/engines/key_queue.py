# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""How many keys MoCo's queue may hold on a training set of a given size."""

from __future__ import annotations

import logging

__all__ = ["queue_within_epoch"]

_logger = logging.getLogger(__name__)


def queue_within_epoch(queue_size: int, n_items: int, batch_size: int) -> int:
    """Shorten a queue of negatives that is not shorter than an epoch.

    A queue of a whole epoch or more holds an earlier key of the very item that a query is of, and the loss then pushes
    an item away from itself. MoCo (He et al., CVPR 2020) has 65,536 keys for 1.28 million images; a set of ultrasound
    videos has some hundred items.

    Args:
        queue_size: wanted number of keys.
        n_items: items of the training set.
        batch_size: items of a batch of all processes.

    Returns:
        ``queue_size`` when it is below ``n_items``; else the whole batches that are below it, at least one, of which a
        warning is logged.
    """
    if queue_size < n_items:
        return queue_size
    shorter = max((n_items - 1) // batch_size, 1) * batch_size
    if shorter < queue_size:
        _logger.warning(
            "queue_size: %d keys are not fewer than the %d items of an epoch, and an item would meet its own earlier"
            " key as a negative; the queue has %d keys.",
            *(queue_size, n_items, shorter),
        )
    return min(queue_size, shorter)
