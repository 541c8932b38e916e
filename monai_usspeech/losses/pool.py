# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Who may be told apart from whom: which items of a batch stand in the pool of each anchor."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PoolMasks", "pool_masks"]


class PoolMasks(NamedTuple):
    """What each anchor (row) does not compare itself with (column), bool ``[n, N]``.

    Attributes:
        matches: among the partners of the other modality; an anchor's own partner is always kept.
        negatives: among the hard negatives; an anchor's own hard negative is always kept.
        peers: among the items of the anchor's own modality; the anchor itself is never kept.
    """

    matches: Tensor
    negatives: Tensor
    peers: Tensor


def pool_masks(
    valid: Tensor,
    anchors: slice = slice(None),
    clip_id: Tensor | None = None,
    scan_index: Tensor | None = None,
    clip_index: Tensor | None = None,
    negative_clip_index: Tensor | None = None,
    exclude_neighbours: int | None = None,
) -> PoolMasks:
    """Find what to leave out of each anchor's pool.

    Args:
        valid: bool ``[N]``; an item that is not valid stands in nobody's pool.
        anchors: the rows wanted, n of the N.
        clip_id: int ``[N]``; other items of the anchor's clip are positives too, and are left out.
        scan_index: int ``[N]``.
        clip_index: int ``[N]``, place of the clip in its scan.
        negative_clip_index: int ``[N]``, place of the hard negative's clip; None: where its frame is.
        exclude_neighbours: leave out what comes from the anchor's scan, at most so many clips away.

    Raises:
        ValueError: when ``exclude_neighbours`` lacks its indices.
    """
    own = torch.eye(valid.shape[0], dtype=torch.bool, device=valid.device)[anchors]
    out = ~valid.expand_as(own)
    out_negative = out
    if clip_id is not None:
        out = out | (clip_id[anchors, None] == clip_id[None])
    if exclude_neighbours is not None:
        if scan_index is None or clip_index is None:
            raise ValueError("exclude_neighbours needs scan_index and clip_index.")
        place = clip_index if negative_clip_index is None else negative_clip_index
        same_scan = scan_index[anchors, None] == scan_index[None]
        here = clip_index[anchors, None]
        out = out | (same_scan & ((here - clip_index[None]).abs() <= exclude_neighbours))
        out_negative = out_negative | (same_scan & ((here - place[None]).abs() <= exclude_neighbours))
    # Own partner and own hard negative stay whatever the masks say, so no anchor ever has an empty pool.
    return PoolMasks(out & ~own, out_negative & ~own, out | own)
