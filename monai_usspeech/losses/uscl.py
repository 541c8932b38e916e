# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The loss of USCL (Chen et al., MICCAI 2021): contrast of mixed pairs, and a cross-entropy where labels exist."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_usspeech.losses.gather import gather_rows
from monai_usspeech.losses.nt_xent import check_block_size, nt_xent_and_hits
from monai_usspeech.losses.supervised import supervised_term
from monai_usspeech.losses.terms import LossTerm, SummedLoss, reduce_items

__all__ = ["USCLLoss"]


class USCLLoss(SummedLoss):
    """``NT-Xent + weight (CE_1 + CE_2)`` of the two views of an item, for pairs of images mixed from three frames.

    The cross-entropies are means over the labelled items, their sum over the two views is not halved. A batch without
    any label gives 0 there. Value and averaged gradient do not depend on how items and labels are spread over
    processes. ``terms``: ``loss_contrast``, ``loss_supervised`` (absent without labels); ``figures``:
    ``accuracy_contrast`` (see :class:`~monai_usspeech.losses.nt_xent.NTXentLoss`), ``supervised_used`` (labelled
    items), ``accuracy_supervised``.

    Args:
        temperature: divides the cosine similarity.
        weight: lambda, of the cross-entropies; 0: logits and labels are not read.
        block_size: bounds the memory, see :func:`~monai_usspeech.losses.nt_xent.nt_xent_loss`.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> loss = USCLLoss()
        >>> loss(torch.randn(2, 4, 256), torch.randn(2, 4, 12), torch.tensor([0, -1, 11, 3])).shape
        torch.Size([])
    """

    def __init__(self, temperature: float = 0.5, weight: float = 0.2, block_size: int | None = None) -> None:
        super().__init__()
        if temperature <= 0 or weight < 0:
            raise ValueError(f"temperature must be positive and weight not negative, got {temperature}, {weight}.")
        self.temperature, self.weight = float(temperature), float(weight)
        self.block_size = check_block_size(block_size)

    def forward(
        self, embedding: Sequence[Tensor], logits: Sequence[Tensor] | None = None, label: Tensor | None = None
    ) -> Tensor:
        """The loss of one batch.

        Args:
            embedding: of the two views, ``[N, D]`` each.
            logits: of the classifier, ``[N, C]`` for each view; None: no classifier.
            label: int ``[N]``, the class; negative where there is none.

        Returns:
            Scalar, float32 or wider.

        Raises:
            ValueError: when the shapes do not agree, or only one of ``logits`` and ``label`` is given.
        """
        if len(embedding) != 2 or embedding[0].ndim != 2 or embedding[0].shape != embedding[1].shape:
            shapes = [tuple(view.shape) for view in embedding]
            raise ValueError(f"embedding must be two views [N, D], equal in shape, got {shapes}.")
        dtype = torch.promote_types(embedding[0].dtype, torch.float32)  # gradients of other processes are summed in it
        (pool,), mine = gather_rows(torch.stack([view.to(dtype) for view in embedding], dim=1))
        first, second = pool.unbind(1)
        values, hits = nt_xent_and_hits(first, second, self.temperature, anchors=mine, block_size=self.block_size)
        count = torch.tensor(len(pool), device=pool.device)
        contrast = reduce_items(values, torch.ones_like(values, dtype=torch.bool), "mean", count)
        terms = {"contrast": LossTerm(contrast, 1.0, count, {"accuracy_contrast": hits.sum()}, unit="")}
        if (logits is None) != (label is None) and self.weight > 0:
            raise ValueError("the cross-entropy needs both logits and label.")
        if logits is not None and label is not None and self.weight > 0:
            if len(logits) != 2:
                raise ValueError(f"logits must be two views [N, C], got {len(logits)}.")
            terms["supervised"] = supervised_term(logits, label, self.weight, views="sum")
        return self.summed(terms)
