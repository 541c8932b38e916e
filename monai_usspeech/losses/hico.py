# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The loss of HiCo (Zhang et al., Hierarchical contrastive learning for ultrasound video pretraining, ACCV 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from monai_usspeech.losses.gather import gather_rows, global_sum, world_size
from monai_usspeech.losses.hico_terms import CROSS, TERMS, hico_contrasts_and_hits, softened_cross_entropy
from monai_usspeech.losses.nt_xent import check_block_size
from monai_usspeech.losses.terms import VIEWS, LossTerm, SummedLoss, check_choice, reduce_items

__all__ = ["HiCoLoss"]

SMOOTHINGS = ("classes", "paper", "code")
PRESETS = {
    "default": {"cross": "cross_view", "smoothing": "classes", "views": "mean"},
    "paper": {"cross": "cross_view", "smoothing": "paper", "views": "mean"},
    "code": {"cross": "same_view", "smoothing": "code", "views": "sum"},
}


class HiCoLoss(SummedLoss):
    """Contrast within and across three levels of a feature pyramid, and a softened cross-entropy where labels exist.

    ``L = balance (l + m + g) + (1 - balance) (gl + gm) + beta L_soft``, with one NT-Xent for each peer term and two for
    each cross term (:func:`~monai_usspeech.losses.hico_terms.hico_contrastive`): a balance of 0.5 weighs them 3 to 4.

    ``terms`` holds ``loss_local``, ``loss_medium``, ``loss_global``, ``loss_global_local``, ``loss_global_medium`` and
    ``loss_soft``; ``figures`` holds ``accuracy_local`` and so on (share of anchors whose positive is the most similar,
    chance 1 / (2N - 1)), ``soft_used`` (labelled items) and ``accuracy_soft``. Without labels ``loss_soft`` is absent
    and contributes 0. Value and gradient do not depend on how the items are spread over processes.

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
        terms: the contrastive terms that take part, for ablations: some of ``"local"``, ``"medium"``, ``"global"``,
            ``"global_local"``, ``"global_medium"``; the rest is not computed. With ``"global"`` alone and a balance of
            1 the contrast is plain NT-Xent.

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
        terms: Sequence[str] = TERMS,
    ) -> None:
        super().__init__()
        if temperature <= 0 or beta < 0 or not (0 <= balance <= 1 and 0 <= alpha <= 1):
            raise ValueError(
                "temperature must be positive, beta at least 0, balance and alpha in 0..1, "
                f"got {temperature}, {beta}, {balance}, {alpha}."
            )
        chosen = PRESETS[check_choice("preset", preset, tuple(PRESETS))]
        self.cross = check_choice("cross", chosen["cross"] if cross is None else cross, CROSS)
        self.smoothing = check_choice("smoothing", chosen["smoothing"] if smoothing is None else smoothing, SMOOTHINGS)
        self.views = check_choice("views", chosen["views"] if views is None else views, VIEWS)
        self.temperature, self.block_size = float(temperature), check_block_size(block_size)
        self.balance, self.alpha, self.beta = float(balance), float(alpha), float(beta)
        if isinstance(terms, str) or not terms or len(set(terms)) < len(terms):
            raise ValueError(f"terms must be a list of at least one of {TERMS}, none twice, got {terms!r}.")
        self.contrasts = tuple(check_choice("terms", name, TERMS) for name in terms)

    def forward(
        self,
        local: Sequence[Tensor] | None,
        medium: Sequence[Tensor] | None,
        whole: Sequence[Tensor] | None,
        logits: Sequence[Tensor] | None = None,
        label: Tensor | None = None,
    ) -> Tensor:
        """The loss of one batch.

        Args:
            local: the two views ``[N, D]`` of the local level; any level may be None that none of ``terms`` reads.
            medium: of the medium level.
            whole: of the global level.
            logits: of the classifier, ``[N, C]`` for each view; None: no classifier.
            label: int ``[N]``, the class; negative where there is none.

        Returns:
            Scalar, float32 or wider.

        Raises:
            ValueError: when the shapes do not agree, a level is missing, or only one of ``logits`` and ``label`` is
                given.
        """
        given = {"local": local, "medium": medium, "global": whole}
        levels, mine, n_items = self._gathered({name: level for name, level in given.items() if level is not None})
        both = hico_contrasts_and_hits(
            levels, self.temperature, self.cross, terms=self.contrasts, anchors=mine, block_size=self.block_size
        )
        count = torch.tensor(n_items, device=next(iter(both.values()))[0].device)
        terms: dict[str, LossTerm] = {}
        for name, (values, hits) in both.items():
            weight = self.balance if name in ("local", "medium", "global") else 1 - self.balance
            loss = reduce_items(values, torch.ones_like(values).bool(), "mean", count)
            terms[name] = LossTerm(loss, weight, count, {f"accuracy_{name}": hits.sum()}, unit="")
        if (logits is None) != (label is None) and self.beta > 0:
            raise ValueError("the softened cross-entropy needs both logits and label.")
        if logits is not None and label is not None and self.beta > 0:
            terms["soft"] = self._soft(logits, label, count)
        unread = (view for name, level in given.items() if level is not None and name not in levels for view in level)
        return self.summed(terms) + _zero_of(unread)

    def _gathered(self, given: Mapping[str, Sequence[Tensor]]) -> tuple[dict[str, Sequence[Tensor]], slice, int]:
        """The levels that the terms read with the items of all processes: one collective.

        Returns:
            The two views of each level, where this process's items lie in them, and how many items there are.
        """
        views = [view for level in given.values() for view in level]
        wrong = not views or views[0].ndim != 2 or len({view.shape for view in views}) > 1
        if wrong or any(len(level) != 2 for level in given.values()):
            shapes = {name: [tuple(view.shape) for view in level] for name, level in given.items()}
            raise ValueError(f"local, medium and whole must be two views [N, D] each, equal in shape, got {shapes}.")
        needed = {level for term in self.contrasts for level in term.split("_")}
        read = [name for name in given if name in needed]
        if len(read) < len(needed):
            raise ValueError(f"the terms {self.contrasts} read the levels {sorted(needed)}, got {list(given)}.")
        dtype = torch.promote_types(views[0].dtype, torch.float32)
        (stacked,), mine = gather_rows(torch.stack([view.to(dtype) for name in read for view in given[name]], dim=1))
        every = stacked.unbind(1)
        return {name: every[2 * n : 2 * n + 2] for n, name in enumerate(read)}, mine, len(stacked)

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


def _zero_of(views: Iterable[Tensor]) -> Tensor | float:
    """0; among several processes with a graph to ``views``, for there every parameter is waited for."""
    return sum((view[:0].sum() for view in views), 0.0) if world_size() > 1 else 0.0
