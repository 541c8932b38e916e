# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Cross-entropy of the items that have a label, over all views of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_usspeech.losses.gather import global_sum
from monai_usspeech.losses.terms import VIEWS, LossTerm, SummedLoss, check_choice, reduce_items

__all__ = ["SupervisedLoss", "supervised_term"]


def supervised_term(
    logits: Tensor | Sequence[Tensor],
    label: Tensor,
    weight: float = 1.0,
    *,
    label_smoothing: float = 0.0,
    views: str = "mean",
    count: Tensor | None = None,
) -> LossTerm:
    """The mean cross-entropy of the labelled items of all processes, as a term of a sum.

    Args:
        logits: ``[V, N, C]``, or V views ``[N, C]``.
        label: int ``[N]``, the class; negative where there is none.
        weight: the term's factor in the sum.
        label_smoothing: weight taken from the true class and spread over all classes, in 0..1.
        views: ``"mean"`` or ``"sum"`` of the cross-entropies of the views of an item.
        count: what to divide by, when it is not the number of labelled items of all processes.

    Returns:
        The term: 0, with a graph to the logits, when no item is labelled; ``count`` is the number of labelled items,
        and ``accuracy_supervised`` the share of right answers among their views.

    Raises:
        ValueError: when the shapes do not agree.
    """
    shapes = [tuple(view.shape) for view in logits]
    if not shapes or len(shapes[0]) != 2 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"logits must be views [N, C] of one shape, got {shapes}.")
    if label.shape != shapes[0][:1]:
        raise ValueError(f"label {tuple(label.shape)} must have one value per row of logits {shapes[0]}.")
    labelled = label >= 0
    n_labelled = global_sum(labelled.sum())
    true = label.masked_fill(~labelled, 0)
    values, hits = [], []
    for view in logits:
        wide = view.to(torch.promote_types(view.dtype, torch.float32))
        values.append(F.cross_entropy(wide, true, reduction="none", label_smoothing=label_smoothing))
        hits.append(view.argmax(1) == true)
    stacked = torch.stack(values)
    item = stacked.mean(0) if check_choice("views", views, VIEWS) == "mean" else stacked.sum(0)
    loss = reduce_items(item, labelled, "mean", n_labelled if count is None else count)
    right = (torch.stack(hits) & labelled).sum() / len(hits)
    return LossTerm(loss, weight, n_labelled, {"accuracy_supervised": right})


class SupervisedLoss(SummedLoss):
    """Cross-entropy of the labelled items, the mean over their views: pretraining on labels, or a plain classifier.

    Two views weigh one half each. A batch without any label, as a low label rate brings, gives 0 and no gradient, not
    NaN. Value and averaged gradient do not depend on how items and labels are spread over processes. ``terms``:
    ``loss_supervised`` (absent without labels); ``figures``: ``supervised_used`` (labelled items),
    ``accuracy_supervised``.

    Args:
        label_smoothing: weight taken from the true class and spread over all classes, in 0..1.

    Raises:
        ValueError: for a smoothing out of range.

    Example:
        >>> loss = SupervisedLoss()
        >>> loss(torch.randn(2, 4, 12), torch.tensor([0, -1, 11, 3])).shape
        torch.Size([])
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must be in 0..1, got {label_smoothing}.")
        self.label_smoothing = float(label_smoothing)

    def forward(self, logits: Tensor | Sequence[Tensor], label: Tensor) -> Tensor:
        """The loss of the logits ``[V, N, C]``, or V views ``[N, C]``, and int ``label [N]``, negative for none.

        Raises:
            ValueError: when the shapes do not agree.
        """
        return self.summed({"supervised": supervised_term(logits, label, label_smoothing=self.label_smoothing)})
