# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Whether the embeddings still tell items apart: a stop signal that needs no labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.metrics import compute_embedding_collapse
from torch.nn.functional import cosine_similarity

from monai_usspeech.engines.trainer import iteration_output

__all__ = ["EmbeddingMonitorHandler", "embedding_figures"]

_PAIRED = ("video", "speech")
_VIEWED = ("embedding", "local", "medium", "global")
_CLIP_VIEWS = "views"
_NAMES = (
    *(f"{name}_{key}" for name in (*_PAIRED, *_VIEWED, _CLIP_VIEWS) for key in ("rank_collapse", "similarity")),
    "pair_similarity",
    "views_pair_similarity",
)


def embedding_figures(embeddings: torch.Tensor) -> dict[str, float]:
    """How far a set of embeddings has collapsed.

    Args:
        embeddings: ``[N, D]`` with ``N >= 2``.

    Returns:
        ``rank_collapse``: MONAI's effective-rank score, 0 (all directions in use) to 1 (one direction); and
        ``similarity``: the mean cosine similarity of different items, 1 when all are the same.
    """
    embeddings = embeddings.detach().float()
    score = compute_embedding_collapse(embeddings, include_indicators=["effective_rank"], reduction="none")
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    n = len(unit)
    similarity = (unit.sum(0).square().sum() - unit.square().sum()) / (n * (n - 1))
    return {"rank_collapse": float(torch.as_tensor(score["effective_rank_score"])), "similarity": float(similarity)}


class EmbeddingMonitorHandler:
    """Put collapse figures of the epoch's last batch into ``engine.state.metrics``.

    For each embedding of the prediction, ``<name>_rank_collapse`` and ``<name>_similarity`` of
    :func:`embedding_figures`; and ``pair_similarity``, the mean cosine similarity of the two embeddings of a pair,
    which should rise above the similarity of different items.

    * ``video`` and ``speech``, of :class:`~monai_usspeech.networks.VideoSpeechNet`: over the valid pairs.
    * ``views`` ``[B, K, D]``, of the same network: over the first frames of all clips; ``views_pair_similarity`` is
      that of a clip's first and last frame.
    * ``embedding``, or ``local``, ``medium`` and ``global``, ``[V, B, D]``, of
      :class:`~monai_usspeech.engines.ViewInferer`: over the first views of all items; the pair is an item's first and
      last view, of ``embedding`` or ``global``.

    Figures over fewer than two items are left out. Attach it before the handlers that log
    ``engine.state.metrics``.
    """

    def attach(self, engine: Engine) -> None:
        """Register with a :class:`~monai_usspeech.engines.MultiTermTrainer`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compute the figures."""
        for name in _NAMES:
            engine.state.metrics.pop(name, None)  # the trainer keeps its metrics: what stands there is last epoch's
        output = iteration_output(engine)
        prediction = output["pred"]
        if not isinstance(prediction, Mapping):
            return
        streams, pair = _view_streams(prediction)
        if all(name in prediction for name in _PAIRED):
            streams, pair = _pair_streams(prediction, output["label"]["pair_valid"])
        pairs = {} if pair is None else {"pair_similarity": pair}
        if _CLIP_VIEWS in prediction:
            views = prediction[_CLIP_VIEWS].detach().float()
            streams[_CLIP_VIEWS] = views[:, 0]
            pairs["views_pair_similarity"] = (views[:, 0], views[:, -1])
        streams = {name: embeddings for name, embeddings in streams.items() if len(embeddings) >= 2}
        for name, embeddings in streams.items():
            figures = embedding_figures(embeddings)
            engine.state.metrics.update({f"{name}_{key}": value for key, value in figures.items()})
        for name, (one, other) in pairs.items():
            if len(one) >= 2:
                engine.state.metrics[name] = float(cosine_similarity(one, other).mean())


_Streams = tuple[dict[str, torch.Tensor], tuple[torch.Tensor, torch.Tensor] | None]


def _pair_streams(prediction: Mapping[str, Any], valid: torch.Tensor) -> _Streams:
    """Embeddings ``[N, D]`` of the valid pairs by stream, and the two that belong together."""
    streams = {name: prediction[name].detach().flatten(0, 1)[valid.flatten()].float() for name in _PAIRED}
    return streams, (streams["video"], streams["speech"])


def _view_streams(prediction: Mapping[str, Any]) -> _Streams:
    """Embeddings ``[B, D]`` of the first view by name, and, of two views or more, the two that belong together."""
    views = {name: prediction[name].detach().float() for name in _VIEWED if name in prediction}
    views = {name: value for name, value in views.items() if value.ndim == 3}
    compared = views.get("embedding", views.get("global"))
    pair = None if compared is None or len(compared) < 2 else (compared[0], compared[-1])
    return {name: value[0] for name, value in views.items()}, pair
