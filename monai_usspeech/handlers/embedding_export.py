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
from monai_usspeech.data.retrieval_pairs import RetrievalDataset
from monai_usspeech.data.splits import SubjectSplit
from monai_usspeech.engines.configuration import write_configuration
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.embedding_picture import embedding_figure
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.history import in_words
from monai_usspeech.handlers.results import frame_counts, write_results
from monai_usspeech.metrics.retrieval import DIRECTIONS, SIMILARITIES, compute_retrieval_scores, retrieval_chance

__all__ = ["EmbeddingExportHandler"]

_STREAMS = ("video", "speech")
_KINDS = tuple(retrieval_chance(1))


class EmbeddingExportHandler:
    """Keep the embeddings of an evaluation; when it is complete write them, their retrieval scores and a picture.

    ``embeddings.npz``
        ``video [N, D]`` and, when there is one, ``speech [N, D]`` float32; ``plane`` int64 ``[N]`` (-1 not known),
        ``subject`` and ``scan`` strings, ``time`` seconds.
    ``results.json``
        the scores of :func:`~monai_usspeech.metrics.compute_retrieval_scores` (null without speech), with the chance
        levels under ``details``.
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
        if similarity not in SIMILARITIES:
            hint = nearest_name(similarity, SIMILARITIES)
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
        self.logger.info("Test data: %s.", in_words(self.dataset.summary()))

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
        frames = [self.dataset.describe(int(item)) for item in joined["item"]]
        subjects, scans, times = zip(*frames)
        plane = joined["plane"].numpy().astype(np.int64)
        with atomic_file(self.folder / "embeddings.npz") as file:
            arrays: dict[str, Any] = {name: vectors.numpy() for name, vectors in streams.items()}
            np.savez(
                file, **arrays, plane=plane, subject=np.array(subjects), scan=np.array(scans), time=np.array(times)
            )
        scores = self._results(streams, frame_counts(frames))
        panels = [(name, vectors.numpy()) for name, vectors in self._shown(streams).items()]
        save_figure(embedding_figure(panels, plane, PLANES, self.seed), self.folder / "embedding.png")
        for direction in DIRECTIONS if scores else ():
            line = ", ".join(f"{kind} {scores[f'{direction}_{kind}']:.3g}" for kind in _KINDS)
            self.logger.info("%s: %s", direction.replace("_", " "), line)
        self.logger.info("Embeddings and results are in %s.", self.folder)

    def _results(self, streams: dict[str, Tensor], counts: dict[str, int]) -> dict[str, float]:
        number = len(streams["video"])
        paired = "speech" in streams
        scores = {}
        if paired:
            scores = compute_retrieval_scores(streams["video"], streams["speech"], similarity=self.similarity)
        details = {"similarity": self.similarity, "chance": retrieval_chance(number) if paired else None}
        metrics = {name: scores.get(name) for name in (f"{d}_{kind}" for d in DIRECTIONS for kind in _KINDS)}
        write_results(self.folder, "retrieval", metrics, {"n": number, **counts}, self.split, self.settings, details)
        return scores

    def _shown(self, streams: dict[str, Tensor]) -> dict[str, Tensor]:
        """The embeddings in the geometry that ranks them."""
        if self.similarity == "dot":
            return streams
        return {name: normalize(vectors, dim=1) for name, vectors in streams.items()}
