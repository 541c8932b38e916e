# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Semi-supervised losses that ask for the same answer twice: Pi model, temporal ensembling, FixMatch.

Laine & Aila, Temporal ensembling for semi-supervised learning, ICLR 2017; Sohn et al., FixMatch, NeurIPS 2020. In all
of them ``label`` is negative where there is none: one batch may hold labelled and unlabelled items in any number.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_usspeech.losses.gather import gather_rows, global_sum
from monai_usspeech.losses.supervised import supervised_term
from monai_usspeech.losses.terms import LossTerm, SummedLoss, check_choice, reduce_items

__all__ = [
    "FixMatchLoss",
    "PiModelLoss",
    "TemporalEnsemblingLoss",
    "consistency_distance",
    "pseudo_label_loss",
    "ramp_down",
    "ramp_up",
    "ramped_rate",
]

PSEUDO = ("all", "unlabelled")


def ramp_up(epoch: float, length: float = 80.0) -> float:
    """From exp(-5) = 0.0067 at epoch 0 to 1 at ``length``: ``exp(-5 (1 - epoch / length)^2)`` (Laine & Aila)."""
    return 1.0 if epoch >= length else math.exp(-5.0 * (1.0 - max(epoch, 0.0) / length) ** 2)


def ramp_down(epoch: float, n_epochs: float, length: float = 50.0) -> float:
    """1 until the last ``length`` epochs, then ``exp(-12.5 t^2)`` with t from 0 to 1 (Laine & Aila, learning rate)."""
    start = n_epochs - length
    return 1.0 if epoch <= start else math.exp(-12.5 * (min(epoch, n_epochs) - start) ** 2 / length**2)


def ramped_rate(epoch: float, n_epochs: float, up: float = 80.0, down: float = 50.0) -> float:
    """The learning rate's factor in an epoch: :func:`ramp_up` over the first ``up``, :func:`ramp_down` over the last
    ``down`` of ``n_epochs`` (Laine & Aila); for ``torch.optim.lr_scheduler.LambdaLR``."""
    return ramp_up(epoch, up) * ramp_down(epoch, n_epochs, down)


def consistency_distance(logits: Tensor, target: Tensor) -> Tensor:
    """Squared difference of ``softmax(logits)`` and the probabilities ``target``, both ``[N, C]``, mean over classes.

    Returns:
        ``[N]``, in float32 or wider, at most 2 / C.
    """
    p = _wide(logits).softmax(1)
    return (p - target.to(p.dtype)).square().mean(1)


def pseudo_label_loss(weak: Tensor, strong: Tensor, threshold: float = 0.95) -> tuple[Tensor, Tensor]:
    """Cross-entropy of logits ``strong [N, C]`` to the most probable class of logits ``weak [N, C]``.

    Returns:
        ``[N]`` losses, 0 where the probability of that class is below ``threshold``, without a gradient to ``weak``;
        and bool ``[N]``, where it is not.
    """
    confidence, guess = _wide(weak.detach()).softmax(1).max(1)
    confident = confidence >= threshold
    values = F.cross_entropy(_wide(strong), guess, reduction="none")
    return torch.where(confident, values, torch.zeros_like(values)), confident


class _RampedLoss(SummedLoss):
    """Supervised term, and a consistency term whose weight ramps up with the epoch."""

    def __init__(self, max_weight: float, labelled_share: float, ramp_epochs: float) -> None:
        super().__init__()
        if max_weight < 0 or ramp_epochs < 0 or not 0 <= labelled_share <= 1:
            raise ValueError(
                "max_weight and ramp_epochs must not be negative, labelled_share in 0..1, "
                f"got {max_weight}, {ramp_epochs}, {labelled_share}."
            )
        self.max_weight, self.labelled_share = float(max_weight), float(labelled_share)
        self.ramp_epochs = float(ramp_epochs)
        self.epoch = 0

    @property
    def weight(self) -> float:
        """Weight of the consistency term in the current epoch."""
        return self.max_weight * self.labelled_share * ramp_up(self.epoch, self.ramp_epochs)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins, counted from 0."""
        self.epoch = int(epoch)

    def get_extra_state(self) -> dict[str, int]:
        """The epoch, as part of ``state_dict``."""
        return {"epoch": self.epoch}

    def set_extra_state(self, state: Any) -> None:
        """Restore the epoch."""
        self.epoch = int(state["epoch"])

    def _joined(self, logits: Tensor, label: Tensor | None, difference: Tensor) -> Tensor:
        """Both terms; ``difference [N]`` is the consistency of each item."""
        count = global_sum(torch.tensor(len(logits), device=logits.device))
        every = torch.ones_like(difference, dtype=torch.bool)
        consistency = reduce_items(difference, every, "mean", count)
        terms = {"consistency": LossTerm(consistency, self.weight, count)}
        if label is not None:
            # Divided by all items, as in the algorithms of the paper: the weight's factor M / N belongs to that.
            terms = {"supervised": supervised_term([logits], label, count=count), **terms}
        value = self.summed(terms)
        self.figures["consistency_weight"] = torch.tensor(self.weight)
        return value


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check(label: Tensor | None, *logits: Tensor) -> None:
    shapes = ", ".join(str(tuple(view.shape)) for view in logits)
    if logits[0].ndim != 2 or any(view.shape != logits[0].shape for view in logits):
        raise ValueError(f"logits must be [N, C] and equal in shape, got {shapes}.")
    if label is not None and label.shape != logits[0].shape[:1]:
        raise ValueError(f"label {tuple(label.shape)} must have one value per row of logits {shapes}.")


class PiModelLoss(_RampedLoss):
    """Cross-entropy of the labelled items, and the squared difference of the answers to two views of every item.

    ``1/B sum_labelled CE(z_i, y_i) + w(t) 1/(C B) sum_i |p_i - p'_i|^2`` with B items of all processes, p the softmax
    of C classes and gradients through both views. ``terms``: ``loss_supervised``, ``loss_consistency``; ``figures``:
    ``supervised_used``, ``accuracy_supervised``, ``consistency_weight``.

    Call :meth:`set_epoch` at the start of every epoch; the epoch is part of ``state_dict``.

    Args:
        max_weight: of the consistency term after the ramp, before ``labelled_share``.
        labelled_share: M / N, labelled items over all items of the training set.
        ramp_epochs: length of :func:`ramp_up`.

    Raises:
        ValueError: for a number out of range.
    """

    def __init__(self, max_weight: float = 100.0, labelled_share: float = 1.0, ramp_epochs: float = 80.0) -> None:
        super().__init__(max_weight, labelled_share, ramp_epochs)

    def forward(self, logits0: Tensor, logits1: Tensor, label: Tensor | None = None) -> Tensor:
        """The loss of the logits ``[N, C]`` of both views and int ``label [N]``, negative where there is none."""
        _check(label, logits0, logits1)
        return self._joined(logits0, label, consistency_distance(logits0, _wide(logits1).softmax(1)))


class TemporalEnsemblingLoss(_RampedLoss):
    """As the Pi model with one view, against a running mean of the item's own earlier answers.

    The memory Z of an item becomes ``momentum Z + (1 - momentum) p`` after each visit, and its target at a later visit
    is ``Z / (1 - momentum^t)`` with t earlier visits; at the first there is none, and the consistency is 0. For items
    visited once per epoch this is the paper's update at the end of the epoch. Memory and visits are buffers, alike in
    all processes, and part of ``state_dict``; in evaluation mode they are only read. ``terms``, ``figures`` and
    :meth:`set_epoch` are those of the Pi model.

    Args:
        n_items: size of the training set.
        n_classes: C.
        momentum: alpha of the paper.
        max_weight, labelled_share, ramp_epochs: as for :class:`PiModelLoss`.

    Raises:
        ValueError: for a number out of range.
    """

    memory: Tensor
    visits: Tensor

    def __init__(
        self,
        n_items: int,
        n_classes: int,
        momentum: float = 0.6,
        max_weight: float = 30.0,
        labelled_share: float = 1.0,
        ramp_epochs: float = 80.0,
    ) -> None:
        super().__init__(max_weight, labelled_share, ramp_epochs)
        if not 0 <= momentum < 1 or n_items < 1 or n_classes < 1:
            raise ValueError(
                "momentum must be in 0..1, without 1, n_items and n_classes positive, "
                f"got {momentum}, {n_items}, {n_classes}."
            )
        self.momentum = float(momentum)
        self.register_buffer("memory", torch.zeros(n_items, n_classes))
        self.register_buffer("visits", torch.zeros(n_items, dtype=torch.int64))

    def target(self, item: Tensor) -> tuple[Tensor, Tensor]:
        """For int ``item [N]``: the targets ``[N, C]``, and bool ``[N]`` whether there is one yet."""
        visits = self.visits[item]
        correction = 1 - self.momentum ** visits.clamp_min(1).to(self.memory.dtype)
        return self.memory[item] / correction[:, None], visits > 0

    def forward(self, logits: Tensor, item: Tensor, label: Tensor | None = None) -> Tensor:
        """The loss of ``logits [N, C]`` of the items with the numbers ``item [N]``, and int ``label [N]``.

        Raises:
            ValueError: when the shapes do not agree with one another or with the memory.
        """
        _check(label, logits)
        if logits.shape[1] != self.memory.shape[1] or item.shape != logits.shape[:1]:
            shapes = f"{tuple(logits.shape)}, {tuple(item.shape)}"
            raise ValueError(f"logits and item must be [N, {self.memory.shape[1]}] and [N], got {shapes}.")
        target, known = self.target(item)
        difference = consistency_distance(logits, target)
        value = self._joined(logits, label, torch.where(known, difference, torch.zeros_like(difference)))
        if self.training:
            self._remember(_wide(logits.detach()).softmax(1), item)
        return value

    def _remember(self, p: Tensor, item: Tensor) -> None:
        """Update the memory with the answers of all processes; of an item that came twice, with their mean."""
        (p, item), _ = gather_rows(p.to(self.memory.dtype), item)
        unique, place = item.unique(return_inverse=True)
        mean = p.new_zeros(len(unique), p.shape[1]).index_add(0, place, p)
        mean = mean / place.bincount(minlength=len(unique))[:, None]
        self.memory[unique] = self.momentum * self.memory[unique] + (1 - self.momentum) * mean
        self.visits[unique] += 1


class FixMatchLoss(SummedLoss):
    """Cross-entropy of the labelled items, and of strongly changed views to the confident answer for the weak ones.

    ``1/B sum_labelled CE(weak_i, y_i) + weight 1/U sum_u [max p(weak_u) >= threshold] CE(strong_u, argmax p(weak_u))``
    with B labelled and U pseudo-labelled items of all processes; no gradient through the pseudo-label. ``terms``:
    ``loss_supervised``, ``loss_pseudo``; ``figures``: ``supervised_used``, ``accuracy_supervised``, ``pseudo_used``
    (U), ``confident_share`` (share of U at or above the threshold).

    Args:
        threshold: confidence from which a pseudo-label counts.
        weight: lambda_u.
        pseudo: which items have a pseudo-label: ``"all"`` (the labelled images are part of the unlabelled set too, as
            in the paper's experiments) or ``"unlabelled"`` (the equation on disjoint sets).

    Raises:
        ValueError: for an unknown option or a number out of range.
    """

    def __init__(self, threshold: float = 0.95, weight: float = 1.0, pseudo: str = "all") -> None:
        super().__init__()
        if not 0 <= threshold <= 1 or weight < 0:
            raise ValueError(f"threshold must be in 0..1 and weight not negative, got {threshold}, {weight}.")
        self.threshold, self.weight = float(threshold), float(weight)
        self.pseudo = check_choice("pseudo", pseudo, PSEUDO)

    def forward(self, weak: Tensor, strong: Tensor, label: Tensor | None = None) -> Tensor:
        """The loss of the logits ``[N, C]`` of both views and int ``label [N]``, negative where there is none."""
        _check(label, weak, strong)
        label = torch.full((len(weak),), -1, device=weak.device) if label is None else label
        used = torch.ones_like(label, dtype=torch.bool) if self.pseudo == "all" else label < 0
        values, confident = pseudo_label_loss(weak, strong, self.threshold)
        count = global_sum(used.sum())
        pseudo = reduce_items(values, used & confident, "mean", count)
        shares = {"confident_share": (used & confident).sum()}
        supervised = supervised_term([weak], label)
        return self.summed({"supervised": supervised, "pseudo": LossTerm(pseudo, self.weight, count, shares)})
