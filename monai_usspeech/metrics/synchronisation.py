# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Audio-ultrasound synchronisation: which of several offsets between sound and picture is the right one?

The error of an offset is in seconds and positive when the sound, moved by this offset, comes too early (it leads). An
utterance is synchronised when nobody would notice the error: the sound leads by less than 45 ms or lags by less than
125 ms, the detectability thresholds of ITU-R BT.1359 that Eshky et al. use (Interspeech 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "DETECTABLE", "chosen_candidate", "compute_candidate_similarity", "compute_synchronisation_scores",
    "is_synchronised", "synchronisation_chance",
]  # fmt: skip

DETECTABLE = (-0.125, 0.045)
"""Errors strictly between these go unnoticed, in seconds; positive: the sound leads."""
_SIMILARITIES = ("cosine", "dot")
_TOLERANCE = 1e-9


def compute_candidate_similarity(
    video: Tensor,
    speech: Tensor,
    n_candidates: int,
    stride: int = 1,
    first: int = 0,
    similarity: str = "cosine",
    centre: bool = False,
) -> np.ndarray:
    """Mean similarity of frames and speech windows under each candidate offset.

    Candidate ``j`` pairs frame ``i`` with window ``stride * i + j`` of an endless row of windows, of which
    ``speech`` holds those from number ``first`` on; a frame whose window is not among them does not count.

    Args:
        video: embeddings of the frames ``[F, D]``.
        speech: embeddings of the windows ``[W, D]``.
        n_candidates: how many offsets.
        stride: windows from one frame to the next.
        first: number of the first window given.
        similarity: ``"cosine"`` or ``"dot"``; the cosine with an embedding of zeros is 0.
        centre: take from each similarity what its window has with all frames on average, and what its frame has with
            all windows (double centring). Another offset brings other windows in at one end of the utterance, mostly
            silence: where a window alone decides the similarity, the plain mean follows that.

    Returns:
        float64 ``[n_candidates]``; NaN for a candidate without a pair.

    Raises:
        ValueError: when shapes do not fit, a value is not finite or an option is unknown.
    """
    if similarity not in _SIMILARITIES:
        raise ValueError(f"similarity must be one of {_SIMILARITIES}, got {similarity!r}.")
    if video.ndim != 2 or speech.ndim != 2 or video.shape[1] != speech.shape[1] or not (len(video) and len(speech)):
        raise ValueError(
            f"video {tuple(video.shape)} and speech {tuple(speech.shape)} must be [F, D] and [W, D], not empty."
        )
    if n_candidates < 1 or stride < 1:
        raise ValueError(f"n_candidates and stride must be at least 1, got {n_candidates} and {stride}.")
    v, s = video.detach().double().cpu(), speech.detach().double().cpu()
    if not bool(v.isfinite().all() and s.isfinite().all()):
        raise ValueError("video or speech holds NaN or infinite values.")
    if similarity == "cosine":
        v, s = (F.normalize(x, dim=1, eps=torch.finfo(torch.float64).tiny) for x in (v, s))
    product = (v @ s.T).numpy()
    if centre:
        product = product - product.mean(0) - product.mean(1, keepdims=True) + product.mean()
    frames = np.arange(len(v))
    means = np.full(n_candidates, np.nan)
    for candidate in range(n_candidates):
        windows = stride * frames + candidate - first
        inside = (windows >= 0) & (windows < len(s))
        if inside.any():
            means[candidate] = product[frames[inside], windows[inside]].mean()
    return means


def is_synchronised(error: np.ndarray | float) -> np.ndarray:
    """Whether nobody would notice an error in seconds: strictly between the thresholds. bool of the same shape."""
    error = np.asarray(error, np.float64)
    return np.asarray((error > DETECTABLE[0]) & (error < DETECTABLE[1]))


def chosen_candidate(similarity: np.ndarray, error: np.ndarray) -> int:
    """The candidate with the greatest similarity; of equals the one that is furthest from the truth.

    So a network that gives everything one embedding does not profit from the place of the first candidate.

    Args:
        similarity: ``[n]``; NaN is never chosen.
        error: seconds ``[n]``.

    Raises:
        ValueError: when there is no candidate, the shapes differ, or all are NaN.
    """
    similarity, error = np.asarray(similarity, np.float64), np.asarray(error, np.float64)
    if similarity.ndim != 1 or similarity.shape != error.shape or not np.isfinite(similarity).any():
        raise ValueError(
            f"similarity {similarity.shape} and error {error.shape} must be [n], with a finite similarity."
        )
    best = similarity >= np.nanmax(similarity) - _TOLERANCE
    return int(np.argmax(np.where(best, np.abs(error), -1.0)))


def compute_synchronisation_scores(errors: Sequence[float] | np.ndarray) -> dict[str, float]:
    """What is reported of the chosen offsets.

    Args:
        errors: of the chosen offset of each utterance, in seconds.

    Returns:
        ``accuracy``: share of utterances whose error goes unnoticed; ``median_error_ms``: of the absolute errors;
        ``mean_discrepancy_ms``: of the signed errors. NaN each when there is no utterance.
    """
    values = np.asarray(errors, np.float64)
    if values.size == 0:
        return dict.fromkeys(("accuracy", "median_error_ms", "mean_discrepancy_ms"), float("nan"))
    return {
        "accuracy": float(is_synchronised(values).mean()),
        "median_error_ms": float(1000 * np.median(np.abs(values))),
        "mean_discrepancy_ms": float(1000 * values.mean()),
    }


def synchronisation_chance(errors: Sequence[np.ndarray]) -> dict[str, float]:
    """What choosing one of the same candidates blindly would give.

    Args:
        errors: of all candidates of each utterance, in seconds, ``[n]`` each.

    Returns:
        ``accuracy``: expected share of utterances whose error goes unnoticed; ``median_error_ms``: median absolute
        error when each utterance counts the same. NaN each when there is no utterance.
    """
    if len(errors) == 0:
        return {"accuracy": float("nan"), "median_error_ms": float("nan")}
    values = np.concatenate([np.abs(np.asarray(each, np.float64)) for each in errors])
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in errors])
    order = np.argsort(values)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return {
        "accuracy": float(np.mean([is_synchronised(each).mean() for each in errors])),
        "median_error_ms": float(1000 * values[order][min(half, len(values) - 1)]),
    }
