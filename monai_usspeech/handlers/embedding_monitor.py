# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Whether the embeddings still tell clips apart: a stop signal that needs no labels."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events
from monai.metrics import compute_embedding_collapse
from torch.nn.functional import cosine_similarity

from monai_usspeech.engines.trainer import iteration_output

__all__ = ["EmbeddingMonitorHandler", "embedding_figures"]

_NAMES = (
    *("video_rank_collapse", "video_similarity"),
    *("speech_rank_collapse", "speech_similarity"),
    "pair_similarity",
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

    For the video and the speech embeddings: ``video_rank_collapse``, ``video_similarity``, ``speech_...``; and
    ``pair_similarity``, the mean cosine similarity of the two embeddings of a pair. Only valid pairs count; an epoch
    whose last batch has fewer than two has no figures.

    Attach it before the handlers that log ``engine.state.metrics``.
    """

    def attach(self, engine: Engine) -> None:
        """Register with a :class:`~monai_usspeech.engines.MultiTermTrainer`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compute the figures."""
        for name in _NAMES:
            engine.state.metrics.pop(name, None)  # the trainer keeps its metrics: what stands there is last epoch's
        output = iteration_output(engine)
        prediction, target = output["pred"], output["label"]
        if "video" not in prediction or "speech" not in prediction:
            return
        valid = target["pair_valid"].flatten()
        if int(valid.sum()) < 2:
            return
        streams = {name: prediction[name].detach().flatten(0, 1)[valid].float() for name in ("video", "speech")}
        for name, embeddings in streams.items():
            figures = embedding_figures(embeddings)
            engine.state.metrics.update({f"{name}_{key}": value for key, value in figures.items()})
        engine.state.metrics["pair_similarity"] = float(cosine_similarity(streams["video"], streams["speech"]).mean())
