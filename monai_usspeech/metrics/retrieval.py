# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Retrieval between video and speech: how high does the true partner rank among all candidates?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "RetrievalMedianRank",
    "RetrievalRecall",
    "compute_retrieval_ranks",
    "compute_retrieval_recall",
    "compute_retrieval_scores",
    "retrieval_chance",
]

DIRECTIONS = ("video_to_speech", "speech_to_video")
RECALLS = (1, 5, 10)
"""The numbers of candidates that recall is reported at."""
SIMILARITIES = ("cosine", "dot")
TOLERANCE = 1e-12


def compute_retrieval_ranks(
    video: Tensor, speech: Tensor, chunk: int = 1024, similarity: str = "cosine"
) -> tuple[Tensor, Tensor]:
    """Rank of each item's true partner, the one in the same row, among all N candidates; 1 is best.

    Ties count against: the rank is the number of candidates at least as similar as the partner, itself included. A
    network that gives everything one embedding gets rank N everywhere, so a recall of 0 for k < N. "As similar" allows
    a rounding error of 1e-12 of the largest possible similarity; without it, the order in which a matrix product is
    summed would decide ties. Computed in float64, ``chunk`` queries against all candidates at a time.

    Args:
        video: embeddings ``[N, D]``.
        speech: embeddings ``[N, D]``; row i belongs to row i of ``video``.
        chunk: queries at a time; bounds the memory (``chunk * N`` numbers), changes no result.
        similarity: ``"cosine"``, or ``"dot"`` for a network trained with the plain product. The cosine with an
            embedding of zeros is 0.

    Returns:
        ``(video_to_speech, speech_to_video)``, int64 ``[N]`` each.

    Raises:
        ValueError: when the shapes differ or are empty, a value is not finite, or an option is unknown.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"similarity must be one of {SIMILARITIES}, got {similarity!r}.")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}.")
    if video.ndim != 2 or tuple(video.shape) != tuple(speech.shape) or video.numel() == 0:
        raise ValueError(
            f"video {tuple(video.shape)} and speech {tuple(speech.shape)} must be [N, D], equal in shape and not empty."
        )
    v, s = (convert_to_tensor(x, track_meta=False).detach().double() for x in (video, speech))
    s = s.to(v.device)
    if not bool(v.isfinite().all() and s.isfinite().all()):
        raise ValueError("video or speech holds NaN or infinite values.")
    if similarity == "cosine":
        v, s = (F.normalize(x, dim=1, eps=torch.finfo(torch.float64).tiny) for x in (v, s))
    slack = TOLERANCE * float(v.norm(dim=1).max() * s.norm(dim=1).max())
    own = (v * s).sum(1, keepdim=True) - slack
    return _ranks(v, s, own, chunk), _ranks(s, v, own, chunk)


def _ranks(query: Tensor, candidates: Tensor, own: Tensor, chunk: int) -> Tensor:
    rows = zip(query.split(chunk), own.split(chunk))
    return torch.cat([(part @ candidates.T >= limit).sum(1) for part, limit in rows])


def compute_retrieval_recall(
    video: Tensor, speech: Tensor, k: int, chunk: int = 1024, similarity: str = "cosine"
) -> tuple[float, float]:
    """Share of items whose true partner is among the k most similar candidates, ties against; chance is k / N.

    Args:
        video, speech, chunk, similarity: as for :func:`compute_retrieval_ranks`.
        k: at least 1. From N on the recall is 1 whatever the embeddings.

    Returns:
        ``(video_to_speech, speech_to_video)``, 0 to 1.

    Raises:
        ValueError: for what :func:`compute_retrieval_ranks` refuses, or k below 1.
    """
    _check_k(k)
    forth, back = compute_retrieval_ranks(video, speech, chunk, similarity)
    return float((forth <= k).double().mean()), float((back <= k).double().mean())


def compute_retrieval_scores(
    video: Tensor, speech: Tensor, ks: Sequence[int] = RECALLS, chunk: int = 1024, similarity: str = "cosine"
) -> dict[str, float]:
    """Recall at each k, the median rank and the mean percentile, both ways, from one computation of the ranks.

    The percentile of an item is ``(N - rank) / (N - 1)``: 1 when its partner comes first, 0.5 by chance, whatever N,
    where recall and rank depend on N.

    Args:
        video, speech, chunk, similarity: as for :func:`compute_retrieval_ranks`.
        ks: numbers of candidates, each at least 1.

    Returns:
        ``video_to_speech_r1``, ..., ``video_to_speech_median_rank``, ``video_to_speech_mean_percentile``, and the same
        for ``speech_to_video``. The median of an even number of ranks is the mean of the middle two; the percentile of
        a single pair is NaN.

    Raises:
        ValueError: for what :func:`compute_retrieval_ranks` refuses, or a k below 1.
    """
    for k in ks:
        _check_k(k)
    scores: dict[str, float] = {}
    for direction, ranks in zip(DIRECTIONS, compute_retrieval_ranks(video, speech, chunk, similarity)):
        scores.update({f"{direction}_r{k}": float((ranks <= k).double().mean()) for k in ks})
        scores[f"{direction}_median_rank"] = _median(ranks)
        number = len(ranks)
        percentile = float((number - ranks).double().mean() / (number - 1)) if number > 1 else float("nan")
        scores[f"{direction}_mean_percentile"] = percentile
    return scores


def retrieval_chance(number: int, ks: Sequence[int] = RECALLS) -> dict[str, float]:
    """What random embeddings of ``number`` pairs get on average, either way: the level that scores must beat.

    Args:
        number: how many pairs.
        ks: as for :func:`compute_retrieval_scores`, whose names, without the direction, are the keys.
    """
    chance = {f"r{k}": min(k / number, 1.0) for k in ks}
    return {**chance, "median_rank": (number + 1) / 2, "mean_percentile": 0.5}


def _median(ranks: Tensor) -> float:
    return float(np.median(ranks.cpu().numpy()))  # torch's median takes the lower of the middle two


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")


class RetrievalMedianRank(CumulativeIterationMetric):
    """Median rank of the true partner among all items of the evaluation, as in :func:`compute_retrieval_scores`.

    ``metric(video, speech)`` takes batches ``[B, D]``; embeddings are kept, and ranked against one another at the end.

    Args:
        direction: ``"video_to_speech"`` (video asks, speech answers) or ``"speech_to_video"``.
        similarity: ``"cosine"`` or ``"dot"``.
        chunk: queries at a time.

    Raises:
        ValueError: for an unknown direction.
    """

    def __init__(self, direction: str = "video_to_speech", similarity: str = "cosine", chunk: int = 1024) -> None:
        super().__init__()
        if direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {DIRECTIONS}, got {direction!r}.")
        self.direction = direction
        self.similarity = similarity
        self.chunk = chunk

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> list[Tensor]:  # type: ignore[override]
        if y_pred.ndim != 2 or tuple(y_pred.shape) != tuple(y.shape):
            raise ValueError(
                f"video {tuple(y_pred.shape)} and speech {tuple(y.shape)} must be [B, D] and equal in shape."
            )
        return [y_pred, y]

    def ranks(self) -> Tensor:
        """Ranks ``[N]`` of all items since the last reset, from 1.

        Raises:
            ValueError: when there were none.
        """
        buffers = self.get_buffer()
        if buffers is None:
            raise ValueError(f"{type(self).__name__} was given no embeddings.")
        video, speech = buffers
        both = compute_retrieval_ranks(video, speech, self.chunk, self.similarity)
        return both[DIRECTIONS.index(self.direction)]

    def aggregate(self) -> Tensor:
        """The figure over all items, a float64 scalar."""
        return torch.tensor(_median(self.ranks()), dtype=torch.float64)


class RetrievalRecall(RetrievalMedianRank):
    """Share of items whose true partner is among the k most similar of the evaluation; ties count against.

    Definition in :func:`compute_retrieval_ranks`. Chance is k / N, so state N beside it.

    Args:
        k: number of candidates, at least 1.
        direction: ``"video_to_speech"`` (video asks, speech answers) or ``"speech_to_video"``.
        similarity: ``"cosine"`` or ``"dot"``.
        chunk: queries at a time.

    Raises:
        ValueError: for an unknown direction or k below 1.
    """

    def __init__(
        self, k: int = 1, direction: str = "video_to_speech", similarity: str = "cosine", chunk: int = 1024
    ) -> None:
        super().__init__(direction, similarity, chunk)
        _check_k(k)
        self.k = k

    def aggregate(self) -> Tensor:
        """The recall over all items, a float64 scalar."""
        return (self.ranks() <= self.k).double().mean()
