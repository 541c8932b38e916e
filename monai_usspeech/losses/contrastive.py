# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Cross-modal contrastive loss with a hard negative (Jiao et al., MICCAI 2020, Eq. 2), in a form that is always finite.

The equation as printed takes the logarithm of ``exp(a) - exp(b)``, with ``a`` the similarity of a frame and its speech
and ``b`` that of the frame and the hard negative. It is undefined for ``b >= a``: for half of all pairs of an untrained
network. With ``d = a - b`` and the denominator ``Z`` it splits exactly into two parts,

    L  =  (log Z - a)  +  phi(d),      phi(d) = -log(1 - exp(-d)),

InfoNCE plus a barrier on the margin over the hard negative. Only the barrier needs mending, below a small margin.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from monai_usspeech.losses.gather import gather_rows, global_mean, replicated, world_size
from monai_usspeech.losses.pool import pool_masks

__all__ = ["CrossModalContrastiveLoss", "cross_modal_contrastive", "hard_negative_penalty"]

VARIANTS = ("extended", "softplus", "infonce")
POOLS = ("all", "speech")
SIMILARITIES = ("dot", "cosine")
MAX_LOGIT_SCALE = 100.0


def hard_negative_penalty(margin: Tensor, variant: str = "extended", epsilon: float = math.log(2.0)) -> Tensor:
    """The term phi that keeps a frame's speech ahead of its hard negative.

    - ``"extended"``: ``-log(1 - exp(-d))`` for ``d >= epsilon``, continued below by its tangent. Equal to the paper's
      equation wherever the margin is at least ``epsilon``; convex, once differentiable, finite everywhere, with a slope
      of at most ``1 / (exp(epsilon) - 1)``, which is 1 at ln 2.
    - ``"softplus"``: ``log(1 + exp(-d))``, smooth, with the same tail.
    - ``"infonce"``: zero; the hard negative is then only one of the pool.

    Args:
        margin: d, similarity to the own speech minus similarity to the hard negative, any shape.
        variant: which of the three.
        epsilon: margin below which ``"extended"`` leaves the paper's equation.
    """
    if variant == "infonce":
        return torch.zeros_like(margin)
    if variant == "softplus":
        return F.softplus(-margin)
    # where() evaluates both branches and autograd multiplies the unused one by zero: the clamp keeps it finite.
    inside = margin.clamp_min(epsilon)
    near, far = -torch.log(-torch.expm1(-inside)), -torch.log1p(-torch.exp(-inside))
    barrier = torch.where(inside < math.log(2.0), near, far)  # each is exact where the other loses digits
    value, slope = -math.log(-math.expm1(-epsilon)), -1.0 / math.expm1(epsilon)
    return torch.where(margin >= epsilon, barrier, value + slope * (margin - epsilon))


def cross_modal_contrastive(
    video: Tensor,
    speech: Tensor,
    negative: Tensor | None = None,
    *,
    valid: Tensor | None = None,
    clip_id: Tensor | None = None,
    scan_index: Tensor | None = None,
    clip_index: Tensor | None = None,
    negative_clip_index: Tensor | None = None,
    variant: str = "extended",
    pool: str = "all",
    scale: float | Tensor = 1.0,
    symmetric: bool = False,
    epsilon: float = math.log(2.0),
    exclude_neighbours: int | None = None,
    anchors: slice = slice(None),
) -> Tensor:
    """One loss value per anchor; see :class:`CrossModalContrastiveLoss` for the meaning of the options.

    All embeddings given are the pool; ``anchors`` selects the rows whose loss is wanted, so that one process can ask
    for its own items against the items of all. Computed in float32 or wider. An item that is not valid is neither an
    anchor nor in the pool; its loss is 0.

    Args:
        video: frame embeddings ``[N, D]``, already normalised where cosine similarity is wanted.
        speech: ``[N, D]``, of the speech that belongs to each frame.
        negative: ``[N, D]``, of each frame's hard negative; None: there are none, which ``variant="infonce"`` allows.
        valid: bool ``[N]``.
        clip_id: int ``[N]``; other items with the same number are left out of an anchor's pool.
        scan_index, clip_index, negative_clip_index: int ``[N]``, for ``exclude_neighbours``.
        variant, pool, symmetric, epsilon, exclude_neighbours: as for :class:`CrossModalContrastiveLoss`.
        scale: factor of the similarities, 1 / temperature.
        anchors: rows to evaluate.

    Returns:
        ``[n]`` values, one per row selected by ``anchors``, in float32 or wider.
    """
    valid = torch.ones(video.shape[0], dtype=torch.bool, device=video.device) if valid is None else valid
    if negative is None and variant != "infonce":
        raise ValueError(f'variant "{variant}" needs hard negatives; without them it can be "infonce" only.')
    out = pool_masks(valid, anchors, clip_id, scan_index, clip_index, negative_clip_index, exclude_neighbours)
    dtype = torch.promote_types(video.dtype, torch.float32)
    with torch.autocast(device_type=video.device.type, enabled=False):
        zero = torch.zeros((), dtype=dtype, device=video.device)
        given = [y for y in (video, speech, negative) if y is not None]
        yv, ys, *hard = (torch.where(valid[:, None], y.to(dtype), zero) for y in given)
        anchor = yv[anchors] * scale
        a = (anchor * ys[anchors]).sum(1)
        logits = [_masked(anchor @ ys.T, out.matches), *(_masked(anchor @ yn.T, out.negatives) for yn in hard)]
        if pool == "all":
            logits.append(_masked(anchor @ yv.T, out.peers))
        loss = torch.logsumexp(torch.cat(logits, 1), 1) - a
        for yn in hard:
            loss = loss + hard_negative_penalty(a - (anchor * yn[anchors]).sum(1), variant, epsilon)
        if symmetric:
            anchor = ys[anchors] * scale
            logits = [_masked(anchor @ yv.T, out.matches)]
            if pool == "all":
                logits += [*(_masked(anchor @ yn.T, out.negatives) for yn in hard), _masked(anchor @ ys.T, out.peers)]
            loss = (loss + torch.logsumexp(torch.cat(logits, 1), 1) - a) / 2
        return torch.where(valid[anchors], loss, zero)


def _masked(similarity: Tensor, out: Tensor) -> Tensor:
    return similarity.masked_fill(out, -torch.inf)


class CrossModalContrastiveLoss(_Loss):
    """Pull a frame to its speech, push it from a hard negative and from the rest of the batch.

    For a frame ``v``, its speech ``s`` and its hard negative ``s'``, with ``a = sim(v, s)`` and ``b = sim(v, s')``::

        L(v) = log sum_{k in pool(v)} exp sim(v, k)  -  a  +  phi(a - b)

    The pool always holds ``s`` and ``s'``. Under distributed training it holds the embeddings of all processes, with
    gradients, and the loss averaged over the processes has the value and the gradient of one process with all items.

    Args:
        variant: phi: ``"extended"`` (the paper's, made finite), ``"softplus"`` or ``"infonce"``; see
            :func:`hard_negative_penalty`.
        pool: ``"all"``: speech, hard negatives and the other frames, the reading of "k != v" in the paper;
            ``"speech"``: speech and hard negatives.
        similarity: ``"dot"`` as printed, or ``"cosine"``. The dot product has no finite minimiser.
        temperature: divides the similarity.
        learnable_temperature: learn it, starting from ``temperature``; its inverse is kept at or below 100.
        symmetric: average with the direction from speech to frames (no hard negative exists there, so no phi).
        epsilon: margin below which ``"extended"`` leaves the equation as printed.
        mask_same_clip: leave other items of the same clip out of the pool; they are positives too. Needs ``clip_id``.
        exclude_neighbours: leave out items of the same scan at most so many clips away: they are neither positive nor
            negative. An anchor keeps its own hard negative.
        reduction: ``"mean"`` over valid items, ``"sum"``, or ``"none"`` (one value per item of this process, 0 where
            not valid).

    Raises:
        ValueError: for an unknown option, or a temperature that is not positive or, learnable, below 0.01.

    Example:
        >>> loss = CrossModalContrastiveLoss(variant="softplus", pool="speech", similarity="cosine", temperature=0.1)
        >>> video, speech, negative = torch.randn(3, 8, 128)
        >>> loss(video, speech, negative, clip_id=torch.arange(8)).shape
        torch.Size([])
    """

    def __init__(
        self,
        variant: str = "extended",
        pool: str = "all",
        similarity: str = "dot",
        temperature: float = 1.0,
        learnable_temperature: bool = False,
        symmetric: bool = False,
        epsilon: float = math.log(2.0),
        mask_same_clip: bool = True,
        exclude_neighbours: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        choices = {"variant": (variant, VARIANTS), "pool": (pool, POOLS), "similarity": (similarity, SIMILARITIES)}
        for name, (value, known) in {**choices, "reduction": (reduction, ("mean", "sum", "none"))}.items():
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}.")
        if temperature <= 0 or (learnable_temperature and temperature < 1 / MAX_LOGIT_SCALE):
            raise ValueError(f"temperature must be positive (learnable: at least 0.01), got {temperature}.")
        if epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}.")
        self.options: dict[str, Any] = {
            "variant": variant,
            "pool": pool,
            "symmetric": symmetric,
            "epsilon": epsilon,
            "exclude_neighbours": exclude_neighbours,
        }
        self.similarity = similarity
        self.mask_same_clip = mask_same_clip
        self.fixed_temperature = None if learnable_temperature else float(temperature)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature))) if learnable_temperature else None

    @property
    def temperature(self) -> float | Tensor:
        """What the similarities are divided by: a number, or a detached scalar tensor when it is learnt."""
        if self.log_scale is None:
            return self.fixed_temperature or 1.0
        return self.log_scale.detach().clamp_max(math.log(MAX_LOGIT_SCALE)).neg().exp()

    def forward(
        self,
        video: Tensor,
        speech: Tensor,
        negative: Tensor | None = None,
        clip_id: Tensor | None = None,
        valid: Tensor | None = None,
        scan_index: Tensor | None = None,
        clip_index: Tensor | None = None,
        negative_clip_index: Tensor | None = None,
    ) -> Tensor:
        """The loss of ``video``, ``speech`` and, where there are hard negatives, ``negative``, each ``[N, D]``.

        Args:
            video: frame embeddings.
            speech: embeddings of the speech that belongs to each frame.
            negative: embeddings of each frame's hard negative; None: the rest of the batch is all there is to tell
                apart (``variant="infonce"``).
            clip_id: int ``[N]``, the same for items of one clip, in all processes.
            valid: bool ``[N]``; an item that is not valid is neither an anchor nor in the pool.
            scan_index: int ``[N]``; with ``clip_index``, needed by ``exclude_neighbours``.
            clip_index: int ``[N]``, the clip's place in its scan.
            negative_clip_index: int ``[N]``, place of the hard negative's clip in the same scan; without it a hard
                negative is taken to be where its frame is.

        Raises:
            ValueError: when shapes do not agree, ``exclude_neighbours`` lacks its indices, or the variant its hard
                negatives.
        """
        parts = [video, speech] if negative is None else [video, speech, negative]
        if video.ndim != 2 or any(part.shape != video.shape for part in parts):
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(f"video, speech and negative must be [N, D] and equal in shape, got {shapes}.")
        items = {
            "valid": torch.ones_like(video[:, 0], dtype=torch.bool) if valid is None else valid,
            "clip_id": clip_id if self.mask_same_clip else None,
            "scan_index": scan_index,
            "clip_index": clip_index,
            "negative_clip_index": negative_clip_index,
        }
        for name, values in items.items():
            if values is not None and values.shape != video.shape[:1]:
                raise ValueError(f"{name} {tuple(values.shape)} must have one value per row of {tuple(video.shape)}.")
        given = {name: values for name, values in items.items() if values is not None}
        numbers = torch.stack([values.long() for values in given.values()], dim=1)
        (embeddings, numbers), anchors = gather_rows(self.comparable(*parts), numbers)
        every: dict[str, Any] = {**dict(zip(given, numbers.unbind(1))), "valid": numbers[:, 0].bool()}
        options = {**every, **self.options, "scale": self._scale(), "anchors": anchors}
        values = cross_modal_contrastive(*embeddings.unbind(1), **options)
        if self.reduction == "mean":
            return global_mean(values, every["valid"][anchors], every["valid"].sum())
        return values.sum() * world_size() if self.reduction == "sum" else values

    def comparable(self, *embeddings: Tensor) -> Tensor:
        """Embeddings as they are compared: n times ``[N, D]`` to ``[N, n, D]``, of unit length for the cosine."""
        dtype = torch.promote_types(embeddings[0].dtype, torch.float32)
        with torch.autocast(device_type=embeddings[0].device.type, enabled=False):
            stacked = torch.stack([part.to(dtype) for part in embeddings], dim=1)
            return F.normalize(stacked, dim=2) if self.similarity == "cosine" else stacked

    def _scale(self) -> float | Tensor:
        if self.log_scale is None:
            return 1.0 / (self.fixed_temperature or 1.0)
        with torch.no_grad():  # at the bound, not beyond it: from beyond, a clamp in the graph would never come back
            self.log_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))
        return replicated(self.log_scale).exp()
