# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Which offset an evaluation chose for each utterance, and what that makes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_usspeech.data.files import InputError, atomic_file, nearest_name
from monai_usspeech.data.splits import SubjectSplit
from monai_usspeech.data.synchronisation_pairs import SynchronisationDataset
from monai_usspeech.engines.configuration import write_configuration
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.figures import save_figure
from monai_usspeech.handlers.history import in_words
from monai_usspeech.handlers.results import write_results, write_table
from monai_usspeech.handlers.synchronisation_picture import synchronisation_figure
from monai_usspeech.metrics.retrieval import SIMILARITIES
from monai_usspeech.metrics.synchronisation import (
    chosen_candidate,
    compute_candidate_similarity,
    compute_synchronisation_scores,
    is_synchronised,
    synchronisation_chance,
)

__all__ = ["SynchronisationHandler"]


class SynchronisationHandler:
    """Score every candidate offset of every utterance; when the evaluation is complete write what was chosen.

    ``results.json``
        the scores of :func:`~monai_usspeech.metrics.compute_synchronisation_scores`, with chance by the same
        candidates and the scores of each speaker under ``details``.
    ``utterances.csv``
        subject, scan, number of frames, error of the chosen offset in ms, whether it goes unnoticed, and the share of
        candidates that would.
    ``similarities.npz``
        ``similarity`` and ``error`` float64 ``[N, n]``, ``subject`` and ``scan`` strings.
    ``synchronisation.png``
        similarity over offset.
    ``config.json``
        the configuration, when the run was started from one.

    The evaluator's batches hold one utterance of a :class:`~monai_usspeech.data.SynchronisationDataset`, its
    predictions ``"video" [1, F, D]`` and ``"speech" [1, W, D]``.

    Args:
        output_dir: the run's folder; made when missing.
        dataset: where the utterances come from.
        similarity: ``"cosine"``, or ``"dot"`` for a network trained with the plain product.
        centre: see :func:`~monai_usspeech.metrics.compute_candidate_similarity`.
        split: who was trained and tested on, for ``results.json``.
        settings: what the run was asked for, for ``results.json``.

    Raises:
        InputError: on an unknown similarity, or on embeddings that are not finite.
    """

    def __init__(
        self,
        output_dir: str,
        dataset: SynchronisationDataset,
        similarity: str = "cosine",
        centre: bool = False,
        split: SubjectSplit | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if similarity not in SIMILARITIES:
            hint = nearest_name(similarity, SIMILARITIES)
            raise InputError(f'similarity: "{similarity}" is neither "cosine" nor "dot".{hint}')
        self.folder, self.dataset, self.similarity = Path(output_dir), dataset, similarity
        self.centre, self.split, self.settings = centre, split, settings
        self.logger = logging.getLogger(__name__)
        self._rows: list[tuple[int, int, np.ndarray, np.ndarray]] = []

    def attach(self, engine: Engine) -> None:
        """Register with a MONAI evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self._rows = []
        self.folder.mkdir(parents=True, exist_ok=True)
        write_configuration(self.folder)
        self.logger.info("Test data: %s.", in_words(self.dataset.summary()))

    def _collect(self, engine: Engine) -> None:
        streams = cast(dict[str, Tensor], iteration_output(engine)["pred"])
        batch = cast(dict[str, Tensor], engine.state.batch)
        for name in ("video", "speech"):
            if not bool(torch.isfinite(streams[name]).all()):
                raise InputError(f"The {name} embeddings are not finite: the weights in initialisation are unusable.")
        for row, item in enumerate(batch["item"].tolist()):
            error = batch["errors"][row].cpu().numpy()
            similarity = compute_candidate_similarity(
                streams["video"][row], streams["speech"][row], len(error), self.dataset.stride,
                int(batch["first_window"][row]), self.similarity, self.centre,
            )  # fmt: skip
            self._rows.append((item, streams["video"].shape[1], similarity, error))

    def _write(self, engine: Engine) -> None:
        rows = sorted(self._rows, key=lambda row: row[0])
        self._rows = []
        names = [self.dataset.describe(item)[:2] for item, *_ in rows]
        errors = [error for *_, error in rows]
        chosen = np.array([error[chosen_candidate(similarity, error)] for *_, similarity, error in rows])
        scores, chance = compute_synchronisation_scores(chosen), synchronisation_chance(errors)
        details = {
            "similarity": self.similarity,
            "centre": self.centre,
            "candidates": {"number": self.dataset.n_candidates, "step_ms": 1000 * self.dataset.step},
            "chance": chance,
            "speakers": self._speakers([subject for subject, _ in names], chosen, errors),
        }
        counts = {
            "n": len(rows), "utterances": len(rows), "left_out": self.dataset.left_out,
            "scans": len(rows), "subjects": len(self.dataset.subjects), "frames": sum(frames for _, frames, *_ in rows),
        }  # fmt: skip
        self._write_rows(rows, names, chosen)
        save_figure(
            synchronisation_figure([(name[1], row[2], row[3]) for name, row in zip(names, rows)]),
            self.folder / "synchronisation.png",
        )
        write_results(self.folder, "synchronisation", scores, counts, self.split, self.settings, details)
        self.logger.info(
            "%d utterances: %.1f %% synchronised (chance %.1f %%), median error %.0f ms (chance %.0f ms).",
            *(len(rows), 100 * scores["accuracy"], 100 * chance["accuracy"]),
            *(scores["median_error_ms"], chance["median_error_ms"]),
        )
        self.logger.info("Results are in %s.", self.folder)

    def _speakers(self, subjects: list[str], chosen: np.ndarray, errors: list[np.ndarray]) -> dict[str, Any]:
        found = {}
        for subject in sorted(set(subjects)):
            own = [index for index, name in enumerate(subjects) if name == subject]
            chance = synchronisation_chance([errors[index] for index in own])["accuracy"]
            found[subject] = {"utterances": len(own), **compute_synchronisation_scores(chosen[own]), "chance": chance}
        return found

    def _write_rows(
        self, rows: list[tuple[int, int, np.ndarray, np.ndarray]], names: list[tuple[str, str]], chosen: np.ndarray
    ) -> None:
        table = [
            (*name, frames, 1000 * error, int(is_synchronised(error)), float(is_synchronised(candidates).mean()))
            for name, (_, frames, _, candidates), error in zip(names, rows, chosen)
        ]
        columns = ("subject", "scan", "frames", "error_ms", "synchronised", "chance")
        write_table(self.folder / "utterances.csv", columns, table)
        with atomic_file(self.folder / "similarities.npz") as file:
            np.savez(
                file,
                similarity=np.stack([similarity for *_, similarity, _ in rows]),
                error=np.stack([error for *_, error in rows]),
                subject=np.array([subject for subject, _ in names]),
                scan=np.array([scan for _, scan in names]),
            )
