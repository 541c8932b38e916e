# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Embeddings of an evaluation, what retrieval makes of them, and a picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.nn.functional import normalize

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.data.files import InputError, atomic_file, nearest_name
from monai_usspeech.data.pair_windows import RetrievalDataset
from monai_usspeech.data.splits import SubjectSplit
from monai_usspeech.engines.configuration import write_configuration
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.embedding_picture import embedding_figure
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.results import write_results
from monai_usspeech.metrics.retrieval import compute_retrieval_ranks

__all__ = ["EmbeddingExportHandler", "retrieval_chance", "retrieval_scores"]

_RECALLS = (1, 5, 10)
_STREAMS = ("video", "speech")
_SIMILARITIES = ("cosine", "dot")
_DIRECTIONS = ("video_to_speech", "speech_to_video")
_KINDS = (*(f"r{k}" for k in _RECALLS), "median_rank", "mean_percentile")


def retrieval_scores(video: Tensor, speech: Tensor, similarity: str = "cosine") -> dict[str, float]:
    """Recall, median rank and mean percentile of finding each item's partner among all, in both directions.

    An item's partner is ranked by similarity among the N candidates of the other stream, 1 = first; equal similarities
    count against it. ``mean_percentile`` is the mean of ``(N - rank) / (N - 1)``: 1 when every partner comes first, 0.5
    by chance, whatever N, where recall and rank depend on N.

    Args:
        video: embeddings ``[N, D]``.
        speech: embeddings ``[N, D]``; row i belongs to row i of ``video``.
        similarity: ``"cosine"`` or ``"dot"``.

    Returns:
        ``video_to_speech_r1``, ``_r5``, ``_r10``, ``_median_rank``, ``_mean_percentile``, and the same of
        ``speech_to_video``. The percentile of a single pair is NaN.
    """
    scores: dict[str, float] = {}
    for direction, ranks in zip(_DIRECTIONS, compute_retrieval_ranks(video, speech, similarity=similarity)):
        values = np.asarray(ranks.cpu(), dtype=np.float64)
        number = len(values)
        scores.update({f"{direction}_r{k}": float((values <= k).mean()) for k in _RECALLS})
        scores[f"{direction}_median_rank"] = float(np.median(values))
        percentile = float(((number - values) / (number - 1)).mean()) if number > 1 else float("nan")
        scores[f"{direction}_mean_percentile"] = percentile
    return scores


def retrieval_chance(number: int) -> dict[str, float]:
    """What random, different similarities of ``number`` pairs give on average: the level that scores must beat."""
    chance = {f"r{k}": min(k / number, 1.0) for k in _RECALLS}
    return {**chance, "median_rank": (number + 1) / 2, "mean_percentile": 0.5}


class EmbeddingExportHandler:
    """Keep the embeddings of an evaluation; when it is complete write them, their retrieval scores and a picture.

    ``embeddings.npz``
        ``video [N, D]`` and, when there is one, ``speech [N, D]`` float32; ``plane`` int64 ``[N]`` (-1 not known),
        ``subject`` and ``scan`` strings, ``time`` seconds.
    ``results.json``
        the scores of :func:`retrieval_scores` (null without speech), with the chance levels under ``details``.
    ``embedding.png``
        t-SNE coloured by plane.
    ``config.json``
        the configuration, when the run was started from one.

    The evaluator's batches must have ``"item"`` and ``"plane"``, and its predictions be a tensor (video features
    ``[B, D]``) or a dictionary with ``"video"`` and ``"speech"``, ``[B, D]`` or ``[B, 1, D]``.

    Args:
        output_dir: the run's folder; made when missing.
        dataset: where the items come from.
        similarity: by which partners are ranked, ``"cosine"`` or ``"dot"``.
        split: who was trained and tested on, for ``results.json``.
        settings: what the run was asked for, for ``results.json``.
        seed: of t-SNE.

    Raises:
        InputError: on an unknown similarity, or, at the end, on embeddings that are not finite.
    """

    def __init__(
        self,
        output_dir: str,
        dataset: RetrievalDataset,
        similarity: str = "cosine",
        split: SubjectSplit | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        if similarity not in _SIMILARITIES:
            hint = nearest_name(similarity, _SIMILARITIES)
            raise InputError(f'similarity: "{similarity}" is neither "cosine" nor "dot".{hint}')
        self.folder, self.dataset, self.similarity = Path(output_dir), dataset, similarity
        self.split, self.settings, self.seed = split, settings, seed
        self.logger = logging.getLogger(__name__)
        self._parts: list[dict[str, Tensor]] = []

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self._parts = []
        self.folder.mkdir(parents=True, exist_ok=True)
        write_configuration(self.folder)
        self.logger.info("%s", ", ".join(f"{name} {value:g}" for name, value in self.dataset.summary().items()))

    def _collect(self, engine: Engine) -> None:
        prediction = iteration_output(engine)["pred"]
        batch = cast(dict[str, Tensor], engine.state.batch)
        streams = prediction if isinstance(prediction, dict) else {"video": prediction}
        part = {name: streams[name].detach().float().flatten(1).cpu() for name in _STREAMS if name in streams}
        self._parts.append({**part, "item": batch["item"].cpu(), "plane": batch["plane"].cpu()})

    def _write(self, engine: Engine) -> None:
        joined = {name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]}
        self._parts = []
        streams: dict[str, Tensor] = {name: joined[name] for name in _STREAMS if name in joined}
        for name, vectors in streams.items():
            if not bool(torch.isfinite(vectors).all()):
                raise InputError(f"The {name} embeddings are not finite: the weights in initialisation are unusable.")
        subjects, scans, times = zip(*(self.dataset.describe(int(item)) for item in joined["item"]))
        plane = joined["plane"].numpy().astype(np.int64)
        with atomic_file(self.folder / "embeddings.npz") as file:
            arrays: dict[str, Any] = {name: vectors.numpy() for name, vectors in streams.items()}
            np.savez(
                file, **arrays, plane=plane, subject=np.array(subjects), scan=np.array(scans), time=np.array(times)
            )
        scores = self._results(streams, {"scans": len(set(scans)), "subjects": len(set(subjects))})
        panels = [(name, vectors.numpy()) for name, vectors in self._shown(streams).items()]
        save_figure(embedding_figure(panels, plane, PLANES, self.seed), self.folder / "embedding.png")
        for direction in _DIRECTIONS if scores else ():
            line = ", ".join(f"{kind} {scores[f'{direction}_{kind}']:.3g}" for kind in _KINDS)
            self.logger.info("%s: %s", direction.replace("_", " "), line)
        self.logger.info("Embeddings and results are in %s.", self.folder)

    def _results(self, streams: dict[str, Tensor], counts: dict[str, int]) -> dict[str, float]:
        number = len(streams["video"])
        paired = "speech" in streams
        scores = retrieval_scores(streams["video"], streams["speech"], self.similarity) if paired else {}
        details = {"similarity": self.similarity, "chance": retrieval_chance(number) if paired else None}
        metrics = {name: scores.get(name) for name in (f"{d}_{kind}" for d in _DIRECTIONS for kind in _KINDS)}
        counts = {"n": number, "frames": number, **counts}
        write_results(self.folder, "retrieval", metrics, counts, self.split, self.settings, details)
        return scores

    def _shown(self, streams: dict[str, Tensor]) -> dict[str, Tensor]:
        """The embeddings in the geometry that ranks them."""
        if self.similarity == "dot":
            return streams
        return {name: normalize(vectors, dim=1) for name, vectors in streams.items()}
