# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The joint pretraining loss ``alpha L_cls + beta L_cont + gamma L_ord`` (Jiao et al., MICCAI 2020) and its terms.

A fourth term, ``delta L_view``, is not in the paper: the contrast among the frames of clips.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from monai_usspeech.losses.contrastive import CrossModalContrastiveLoss
from monai_usspeech.losses.gather import global_sum
from monai_usspeech.losses.nt_xent import NTXentLoss
from monai_usspeech.losses.terms import LossTerm, SummedLoss, reduce_items

__all__ = ["CorrespondenceLoss", "FrameOrderLoss", "VideoSpeechLoss", "correspondence_loss", "frame_order_loss"]


def correspondence_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of each positive and negative pair, averaged over the two (Eq. 1 before its mean over pairs).

    Args:
        logits: ``[..., 2, 2]``: second to last axis 0 = positive pair, 1 = negative pair; last axis 0 = no match,
            1 = match.

    Returns:
        ``[...]``, in float32 or wider; log 2 = 0.693 at chance.
    """
    if logits.shape[-2:] != (2, 2):
        raise ValueError(f"logits must be [..., 2, 2], got {tuple(logits.shape)}.")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_p = F.log_softmax(logits, dim=-1)
    return -(log_p[..., 0, 1] + log_p[..., 1, 0]) / 2


def frame_order_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of the order of each clip's four frames.

    Args:
        logits: ``[B, 12]``.
        label: int ``[B]``.

    Returns:
        ``[B]``, in float32 or wider; log 12 = 2.485 at chance.
    """
    if logits.ndim != 2 or label.shape != logits.shape[:1]:
        raise ValueError(f"logits must be [B, classes] and label [B], got {tuple(logits.shape)}, {tuple(label.shape)}.")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, label, reduction="none")


class CorrespondenceLoss(_Loss):
    """Mean cross-entropy over positive and negative video-speech pairs, L_cls (Eq. 1).

    Args:
        reduction: ``"mean"`` over the valid pairs of all processes, ``"sum"`` or ``"none"``.
    """

    def forward(self, logits: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss of logits ``[..., 2, 2]`` where bool ``valid [...]``; see :func:`correspondence_loss`."""
        values = correspondence_loss(logits)
        valid = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
        return reduce_items(values, valid, self.reduction)


class FrameOrderLoss(_Loss):
    """Mean cross-entropy of the frame order, L_ord.

    Args:
        reduction: ``"mean"`` over the valid clips of all processes, ``"sum"`` or ``"none"``.
    """

    def forward(self, logits: Tensor, label: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss of logits ``[B, 12]`` and labels ``[B]`` where bool ``valid [B]``; other labels are not read."""
        valid = torch.ones_like(label, dtype=torch.bool) if valid is None else valid
        if valid.shape != label.shape:
            raise ValueError(f"valid {tuple(valid.shape)} must match label {tuple(label.shape)}.")
        values = frame_order_loss(logits, label.masked_fill(~valid, 0))
        return reduce_items(values, valid, self.reduction)


class VideoSpeechLoss(SummedLoss):
    """Weighted sum of the pretraining losses, each normalised by its own number of valid items.

    A term with weight 0 is not computed. A term without valid items is exactly 0 and keeps its graph, so that
    distributed training finds a gradient for every parameter; the two pair terms are 0 as well when fewer than 2 pairs
    are valid in the batch of all processes, for one pair has no pool.

    After each call ``terms`` holds the unweighted ``loss_cls``, ``loss_cont``, ``loss_ord`` and ``loss_view``, and
    ``figures`` holds ``accuracy_cls`` (share of pairs told right, chance 0.5), ``accuracy_cont`` (share of frames that
    are closer to their speech than to the hard negative, chance 0.5; absent without hard negatives), ``accuracy_ord``
    (chance 1/12), ``accuracy_view`` (share of frames to which the clip's other frame is the nearest of the batch,
    chance 1 / (2B - 1)), ``pairs_used``, ``order_used`` and ``temperature``: detached scalars on the CPU, over the
    batch of all processes. A term that is not computed or had no valid item is absent, and so is its accuracy. The
    returned value is the same in all processes, and its gradient, averaged over them, is that of one process with the
    whole batch.

    Args:
        alpha: weight of the correspondence term.
        beta: weight of the contrastive term.
        gamma: weight of the frame-order term.
        contrastive: the contrastive loss; None for the paper's (``CrossModalContrastiveLoss()``).
        delta: weight of the contrast among frames: two frames of a clip, each augmented for itself, are a positive pair
            (SimCLR's loss with time as an augmentation). All clips take part, spoken over or not.
        view_contrastive: its loss; None for ``NTXentLoss(0.1)``.

    Raises:
        ValueError: for a negative weight, or when all are 0.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        contrastive: CrossModalContrastiveLoss | None = None,
        delta: float = 0.0,
        view_contrastive: NTXentLoss | None = None,
    ) -> None:
        super().__init__()
        weights = (alpha, beta, gamma, delta)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError(f"weights must not be negative, and one must be positive: {weights}.")
        self.alpha, self.beta, self.gamma, self.delta = map(float, weights)
        contrastive = CrossModalContrastiveLoss() if contrastive is None else contrastive
        if contrastive.reduction != "mean":
            raise ValueError(f'the contrastive loss must have reduction="mean", got {contrastive.reduction!r}.')
        # Without the term its learnable temperature would be a parameter that never gets a gradient.
        self.contrastive = contrastive if beta > 0 else None
        view_contrastive = NTXentLoss(0.1) if view_contrastive is None else view_contrastive
        if view_contrastive.reduction != "mean":
            raise ValueError(f'the loss of the views must have reduction="mean", got {view_contrastive.reduction!r}.')
        self.view_contrastive = view_contrastive if delta > 0 else None

    def forward(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            prediction: what :class:`~monai_usspeech.networks.VideoSpeechNet` returns.
            target: ``pair_valid`` bool ``[B, K]``; optional ``neg_valid`` bool ``[B, K]``, a pair counts when both
                hold; ``clip_id`` int ``[B]``, unique per clip; ``order_label`` int ``[B]``; ``order_valid`` bool
                ``[B]``; for ``exclude_neighbours`` ``scan_index`` and ``clip_index`` int ``[B]`` and, where known,
                ``negative_clip_index`` int ``[B, K]``, the clip that the hard negative comes from.

        Returns:
            Scalar, float32 or wider.

        Raises:
            ValueError: when a term with a positive weight lacks its prediction or target, or shapes disagree.
        """
        valid, counts = self._valid(target)
        terms: dict[str, LossTerm] = {}
        if self.alpha > 0:
            terms["cls"] = self._correspondence(prediction, valid["pairs"], counts["pairs"])
        if self.contrastive is not None:
            terms["cont"] = self._contrast(prediction, target, valid["pairs"], counts["pairs"])
        if self.gamma > 0:
            terms["ord"] = self._order(prediction, target, valid["order"], counts["order"])
        if self.view_contrastive is not None:
            terms["view"] = self._contrast_views(prediction)
        total = self.summed(terms)
        if self.contrastive is not None:
            self.figures["temperature"] = torch.as_tensor(self.contrastive.temperature).cpu()
        if self.view_contrastive is not None:
            self.figures["accuracy_view"] = self.view_contrastive.figures["accuracy_contrast"]
        return total

    def _valid(self, target: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Which pairs and clips count here, and how many do in all processes (int64)."""
        valid: dict[str, Tensor] = {}
        if self.alpha > 0 or self.beta > 0:
            pairs = _entry(target, "pair_valid", "alpha or beta", "target").bool()
            valid["pairs"] = pairs & target["neg_valid"].bool() if "neg_valid" in target else pairs
        if self.gamma > 0:
            valid["order"] = _entry(target, "order_valid", "gamma", "target").bool()
        if not valid:
            return {}, {}
        counts = dict(zip(valid, global_sum(torch.stack([flags.sum() for flags in valid.values()]))))
        if "pairs" in valid:
            enough = counts["pairs"] >= 2
            valid["pairs"], counts["pairs"] = valid["pairs"] & enough, counts["pairs"] * enough
        return valid, counts

    def _correspondence(self, prediction: Mapping[str, Tensor], valid: Tensor, count: Tensor) -> LossTerm:
        logits = _entry(prediction, "correspondence", "alpha", "prediction")
        hits = torch.stack((logits[..., 0, 1] > logits[..., 0, 0], logits[..., 1, 0] >= logits[..., 1, 1]))
        loss = reduce_items(correspondence_loss(logits), valid, "mean", count)
        return LossTerm(loss, self.alpha, count, {"accuracy_cls": (hits & valid).sum() / 2}, "pairs")

    def _order(
        self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], valid: Tensor, count: Tensor
    ) -> LossTerm:
        logits = _entry(prediction, "order", "gamma", "prediction")
        label = _entry(target, "order_label", "gamma", "target").masked_fill(~valid, 0)
        hits = ((logits.argmax(1) == label) & valid).sum()
        loss = reduce_items(frame_order_loss(logits, label), valid, "mean", count)
        return LossTerm(loss, self.gamma, count, {"accuracy_ord": hits}, "order")

    def _contrast(
        self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], valid: Tensor, count: Tensor
    ) -> LossTerm:
        assert self.contrastive is not None
        names = ("video", "speech", "negative") if "negative" in prediction else ("video", "speech")
        embeddings = [_entry(prediction, name, "beta", "prediction") for name in names]
        if embeddings[0].ndim != 3 or embeddings[0].shape[:2] != valid.shape:
            raise ValueError(f"video {tuple(embeddings[0].shape)} must be [B, K, D] with pairs {tuple(valid.shape)}.")
        groups = valid.shape[1]
        items = {"valid": valid.flatten()}
        items["clip_id"] = _entry(target, "clip_id", "beta", "target").repeat_interleave(groups)
        for name in ("scan_index", "clip_index"):
            if name in target:
                items[name] = target[name].repeat_interleave(groups)
        if "negative_clip_index" in target and "clip_index" in items:
            items["negative_clip_index"] = target["negative_clip_index"].flatten()
        rows = [embedding.flatten(0, 1) for embedding in embeddings]
        loss: Tensor = self.contrastive(*rows, **items)
        hits = {}
        if len(rows) == 3:
            with torch.no_grad():
                yv, ys, yn = self.contrastive.comparable(*rows).unbind(1)
                ahead = (yv * ys).sum(1) > (yv * yn).sum(1)
            hits["accuracy_cont"] = (ahead & items["valid"]).sum()
        return LossTerm(loss, self.beta, count, hits, "pairs")

    def _contrast_views(self, prediction: Mapping[str, Tensor]) -> LossTerm:
        assert self.view_contrastive is not None
        views = _entry(prediction, "views", "delta", "prediction")
        if views.ndim != 3 or views.shape[1] < 2:
            raise ValueError(f"views {tuple(views.shape)} must be [B, K, D] with K >= 2 frames of a clip (n_pairs).")
        loss: Tensor = self.view_contrastive(views[:, 0], views[:, -1])
        count = global_sum(torch.tensor(len(views), device=views.device))
        return LossTerm(loss, self.delta, count)


def _entry(values: Mapping[str, Tensor], name: str, weight: str, kind: str) -> Tensor:
    """``values[name]``, or an error that says which weight asks for it."""
    if name not in values:
        raise ValueError(f'the {kind} has no "{name}" ({", ".join(values)}), which {weight} > 0 needs.')
    return values[name]
