# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The loss of HiCo (Zhang et al., Hierarchical contrastive learning for ultrasound video pretraining, ACCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_usspeech.losses.gather import gather_rows, global_sum
from monai_usspeech.losses.nt_xent import nt_xent_loss
from monai_usspeech.losses.terms import LossTerm, SummedLoss, check_choice, reduce_items

__all__ = ["HiCoLoss", "hico_contrastive", "softened_cross_entropy"]

CROSS = ("cross_view", "same_view")
SMOOTHINGS = ("classes", "paper", "code")
VIEWS = ("mean", "sum")
PRESETS = {
    "default": {"cross": "cross_view", "smoothing": "classes", "views": "mean"},
    "paper": {"cross": "cross_view", "smoothing": "paper", "views": "mean"},
    "code": {"cross": "same_view", "smoothing": "code", "views": "sum"},
}


def hico_contrastive(
    local: Sequence[Tensor],
    medium: Sequence[Tensor],
    whole: Sequence[Tensor],
    temperature: float = 0.5,
    cross: str = "cross_view",
    *,
    anchors: slice = slice(None),
    block_size: int | None = None,
) -> dict[str, Tensor]:
    """The NT-Xent terms between and across the levels (Eq. 1 to 6), one value per item.

    Args:
        local: the two views ``[N, D]`` of the finest level.
        medium: of the middle level.
        whole: of the coarsest, the global level.
        temperature: divides the cosine similarity.
        cross: which views a cross-level term compares: ``"cross_view"``, NTX(g, l') + NTX(g', l), or ``"same_view"``,
            NTX(g, l) + NTX(g', l'), and likewise with the medium level.
        anchors: items to evaluate; all items are the pool.
        block_size: see :func:`~monai_usspeech.losses.nt_xent.nt_xent_loss`.

    Returns:
        ``local``, ``medium``, ``global`` (peer level, one NT-Xent each), ``global_local`` and ``global_medium`` (cross
        level, the sum of two each): ``[n]`` each.
    """
    check_choice("cross", cross, CROSS)

    def between(view0: Tensor, view1: Tensor) -> Tensor:
        return nt_xent_loss(view0, view1, temperature, anchors=anchors, block_size=block_size)

    terms = {name: between(*views) for name, views in (("local", local), ("medium", medium), ("global", whole))}
    for name, (view0, view1) in (("global_local", local), ("global_medium", medium)):
        other = (view1, view0) if cross == "cross_view" else (view0, view1)
        terms[name] = between(whole[0], other[0]) + between(whole[1], other[1])
    return terms


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


class HiCoLoss(SummedLoss):
    """Contrast within and across three levels of a feature pyramid, and a softened cross-entropy where labels exist.

    ``L = balance (l + m + g) + (1 - balance) (gl + gm) + beta L_soft``, with one NT-Xent for each peer term and two for
    each cross term (:func:`hico_contrastive`): a balance of 0.5 weighs them 3 to 4.

    ``terms`` holds ``loss_local``, ``loss_medium``, ``loss_global``, ``loss_global_local``, ``loss_global_medium`` and
    ``loss_soft``; ``figures`` holds ``soft_used`` (labelled items) and ``accuracy_soft``. Without labels ``loss_soft``
    is absent and contributes 0. Value and gradient do not depend on how the items are spread over processes.

    Args:
        temperature: of every NT-Xent.
        balance: lambda, weight of the peer terms.
        alpha: softness of the target.
        beta: weight of the softened cross-entropy; 0: logits and labels are not read.
        preset: what the three options below are where they are not given: ``"default"`` (``"cross_view"``,
            ``"classes"``, ``"mean"``), ``"paper"`` (``"cross_view"``, ``"paper"``, ``"mean"``: Eq. 1 to 9 as printed)
            or ``"code"`` (``"same_view"``, ``"code"``, ``"sum"``: as the authors' released code computes it).
        cross: views of the cross-level terms, ``"cross_view"`` or ``"same_view"``.
        smoothing: what is added to every class: ``"classes"``: alpha / C, label smoothing; ``"paper"``:
            alpha / (N - 1), N items in the batch of all processes; ``"code"``: alpha / (M - 1), M of them labelled. The
            last two leave the term out when fewer than 2 items are labelled.
        views: ``"mean"`` of the cross-entropy of the two views, or their ``"sum"``, which doubles beta.
        block_size: bounds the memory, see :func:`~monai_usspeech.losses.nt_xent.nt_xent_loss`.

    Raises:
        ValueError: for an unknown option or a number out of range.

    Example:
        >>> loss = HiCoLoss(preset="paper")
        >>> local, medium, whole = torch.randn(3, 2, 8, 256)
        >>> logits, label = torch.randn(2, 8, 12), torch.tensor([0, 1, 2, -1, -1, 5, 6, 7])
        >>> loss(local, medium, whole, logits, label).shape
        torch.Size([])
    """

    def __init__(
        self,
        temperature: float = 0.5,
        balance: float = 0.5,
        alpha: float = 0.2,
        beta: float = 0.2,
        preset: str = "default",
        cross: str | None = None,
        smoothing: str | None = None,
        views: str | None = None,
        block_size: int | None = None,
    ) -> None:
        super().__init__()
        if temperature <= 0 or beta < 0 or not (0 <= balance <= 1 and 0 <= alpha <= 1):
            raise ValueError(
                "temperature must be positive, beta at least 0, balance and alpha in 0..1, "
                f"got {temperature}, {beta}, {balance}, {alpha}."
            )
        if block_size is not None and block_size < 1:
            raise ValueError(f"block_size must be at least 1 or None, got {block_size}.")
        chosen = PRESETS[check_choice("preset", preset, tuple(PRESETS))]
        self.cross = check_choice("cross", chosen["cross"] if cross is None else cross, CROSS)
        self.smoothing = check_choice("smoothing", chosen["smoothing"] if smoothing is None else smoothing, SMOOTHINGS)
        self.views = check_choice("views", chosen["views"] if views is None else views, VIEWS)
        self.temperature, self.block_size = float(temperature), block_size
        self.balance, self.alpha, self.beta = float(balance), float(alpha), float(beta)

    def forward(
        self,
        local: Sequence[Tensor],
        medium: Sequence[Tensor],
        whole: Sequence[Tensor],
        logits: Sequence[Tensor] | None = None,
        label: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch.

        Args:
            local: the two views ``[N, D]`` of the local level.
            medium: of the medium level.
            whole: of the global level.
            logits: of the classifier, ``[N, C]`` for each view; None: no classifier.
            label: int ``[N]``, the class; negative where there is none.

        Returns:
            Scalar, float32 or wider.

        Raises:
            ValueError: when the shapes do not agree, or only one of ``logits`` and ``label`` is given.
        """
        (all_local, all_medium, all_whole), mine = self._gathered(local, medium, whole)
        values = hico_contrastive(
            all_local,
            all_medium,
            all_whole,
            self.temperature,
            self.cross,
            anchors=mine,
            block_size=self.block_size,
        )
        count = torch.tensor(len(all_local[0]), device=local[0].device)
        terms: dict[str, LossTerm] = {}
        for name, value in values.items():
            weight = self.balance if name in ("local", "medium", "global") else 1 - self.balance
            terms[name] = LossTerm(reduce_items(value, torch.ones_like(value).bool(), "mean", count), weight, count)
        if (logits is None) != (label is None) and self.beta > 0:
            raise ValueError("the softened cross-entropy needs both logits and label.")
        if logits is not None and label is not None and self.beta > 0:
            terms["soft"] = self._soft(logits, label, count)
        return self.summed(terms)

    @staticmethod
    def _gathered(*levels: Sequence[Tensor]) -> tuple[list[tuple[Tensor, ...]], slice]:
        """The views of each level with the items of all processes, and where this process's are: one collective."""
        views = [view for level in levels for view in level]
        if any(len(level) != 2 for level in levels) or views[0].ndim != 2 or len({view.shape for view in views}) > 1:
            shapes = ", ".join(str([tuple(view.shape) for view in level]) for level in levels)
            raise ValueError(f"local, medium and whole must be two views [N, D] each, equal in shape, got {shapes}.")
        dtype = torch.promote_types(views[0].dtype, torch.float32)
        (stacked,), mine = gather_rows(torch.stack([view.to(dtype) for view in views], dim=1))
        every = stacked.unbind(1)
        return [every[0:2], every[2:4], every[4:6]], mine

    def _soft(self, logits: Sequence[Tensor], label: Tensor, n_items: Tensor) -> LossTerm:
        """The softened cross-entropy over the labelled items of all processes."""
        if len(logits) != 2 or logits[0].shape != logits[1].shape:
            raise ValueError(f"logits must be two of one shape, got {[tuple(view.shape) for view in logits]}.")
        labelled = label >= 0
        count = global_sum(labelled.sum())
        share: Tensor | None = None
        if self.smoothing != "classes":
            enough = count >= 2
            labelled, count = labelled & enough, count * enough
            others = ((n_items if self.smoothing == "paper" else count) - 1).clamp_min(1)
            share = self.alpha / others.to(torch.promote_types(logits[0].dtype, torch.float32))
        true = label.masked_fill(~labelled, 0)
        values = torch.stack([softened_cross_entropy(view, true, self.alpha, share) for view in logits])
        hits = torch.stack([view.argmax(1) == true for view in logits]) & labelled
        values = values.mean(0) if self.views == "mean" else values.sum(0)
        accuracy = {"accuracy_soft": hits.sum() / 2}
        return LossTerm(reduce_items(values, labelled, "mean", count), self.beta, count, accuracy)
