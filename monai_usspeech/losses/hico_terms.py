# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The terms of HiCo's loss, one value per item (Zhang et al., ACCV 2022, Eq. 1 to 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_usspeech.losses.nt_xent import nt_xent_and_hits
from monai_usspeech.losses.terms import check_choice

__all__ = ["CROSS", "TERMS", "hico_contrastive", "hico_contrasts_and_hits", "softened_cross_entropy"]

CROSS = ("cross_view", "same_view")
TERMS = ("local", "medium", "global", "global_local", "global_medium")


def hico_contrastive(
    local: Sequence[Tensor] | None,
    medium: Sequence[Tensor] | None,
    whole: Sequence[Tensor] | None,
    temperature: float = 0.5,
    cross: str = "cross_view",
    *,
    terms: Sequence[str] = TERMS,
    anchors: slice = slice(None),
    block_size: int | None = None,
) -> dict[str, Tensor]:
    """The NT-Xent terms between and across the levels (Eq. 1 to 6), one value per item.

    Args:
        local: the two views ``[N, D]`` of the finest level; any level may be None that no term reads.
        medium: of the middle level.
        whole: of the coarsest, the global level.
        temperature: divides the cosine similarity.
        cross: which views a cross-level term compares: ``"cross_view"``, NTX(g, l') + NTX(g', l), or ``"same_view"``,
            NTX(g, l) + NTX(g', l'), and likewise with the medium level.
        terms: which to compute.
        anchors: items to evaluate; all items are the pool.
        block_size: see :func:`~monai_usspeech.losses.nt_xent.nt_xent_loss`.

    Returns:
        ``local``, ``medium``, ``global`` (peer level, one NT-Xent each), ``global_local`` and ``global_medium`` (cross
        level, the sum of two each): ``[n]`` each.

    Raises:
        ValueError: for an unknown option, or a level that a term reads and that is None.
    """
    levels = {"local": local, "medium": medium, "global": whole}
    both = hico_contrasts_and_hits(levels, temperature, cross, terms=terms, anchors=anchors, block_size=block_size)
    return {name: values for name, (values, _) in both.items()}


def hico_contrasts_and_hits(
    levels: Mapping[str, Sequence[Tensor] | None],
    temperature: float = 0.5,
    cross: str = "cross_view",
    *,
    terms: Sequence[str] = TERMS,
    anchors: slice = slice(None),
    block_size: int | None = None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """:func:`hico_contrastive` of the ``levels`` ``"local"``, ``"medium"``, ``"global"``, and how often it is right.

    Returns:
        For each term its values ``[n]``, and ``[n]`` of each item the share (0 to 1) of its anchors whose positive is
        the most similar.

    Raises:
        ValueError: for an unknown option, or a level that a term reads and that is not there.
    """
    check_choice("cross", cross, CROSS)
    both = {}
    for term in terms:
        names = check_choice("terms", term, TERMS).split("_")
        first, last = levels.get(names[0]), levels.get(names[-1])
        if first is None or last is None:
            raise ValueError(f"the term {term!r} reads the levels {names}, and one of them is not given.")
        pairs = [(first[0], first[1])]
        if len(names) == 2:
            other = (1, 0) if cross == "cross_view" else (0, 1)
            pairs = [(first[view], last[other[view]]) for view in (0, 1)]
        parts = [nt_xent_and_hits(*pair, temperature, anchors=anchors, block_size=block_size) for pair in pairs]
        values, hits = (torch.stack(kind) for kind in zip(*parts))
        both[term] = values.sum(0), hits.mean(0)
    return both


def softened_cross_entropy(
    logits: Tensor, label: Tensor, alpha: float = 0.2, share: float | Tensor | None = None
) -> Tensor:
    """Cross-entropy to the softened target ``(1 - alpha) onehot + share``, one value per item.

    Args:
        logits: ``[N, C]``.
        label: int ``[N]`` in 0 .. C - 1.
        alpha: weight taken from the true class.
        share: weight added to every class. None: alpha / C, so that the target sums to 1 (label smoothing). Eq. 7 of
            the paper has alpha / (N - 1), with which it does not.

    Returns:
        ``[N]``, in float32 or wider.
    """
    if logits.ndim != 2 or label.shape != logits.shape[:1]:
        raise ValueError(f"logits must be [N, C] and label [N], got {tuple(logits.shape)}, {tuple(label.shape)}.")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    share = alpha / logits.shape[1] if share is None else share
    true = F.cross_entropy(logits, label, reduction="none")
    return (1 - alpha) * true - share * F.log_softmax(logits, dim=1).sum(1)
