# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Stop at the first loss that is not a number, and keep the batch that made it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents

from monai_usspeech.data.files import atomic_file, write_json
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.processes import process_count, process_rank

__all__ = ["NonFiniteLossHandler"]


class NonFiniteLossHandler:
    """Stop training when the loss is not finite, before the optimiser sees it.

    Two files are written to the run's folder: ``non_finite.json``, with the iteration, the loss's terms and the name
    of every item in the batch, for a person; and ``non_finite.pt``, with the batch as the loader gave it and the
    network's weights, to run that one step again. Under distributed training the loss is that of all processes, so each
    stops, and each writes its own part of the batch, with its rank in the files' names.

    Args:
        output_dir: the run's folder.
        dataset: gives names to the items of a batch: ``clip_name(scan_index, clip_index)`` for clips,
            ``item_name(item)`` for frames; without it their numbers are used.

    Raises:
        RuntimeError: while training, naming the files and the first clips.
    """

    def __init__(self, output_dir: str, dataset: Any = None) -> None:
        self.folder = Path(output_dir)
        self.dataset = dataset

    def attach(self, engine: SupervisedTrainer) -> None:
        """Register with a MONAI trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Look at the loss that was just computed."""
        loss = iteration_output(engine)["loss"].item()
        if math.isfinite(loss):
            return
        batch = cast(dict[str, Any], engine.state.batch)
        names = self._names(batch)
        terms = {name: float(value) for name, value in getattr(engine.loss_function, "terms", {}).items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        place = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        stem = "non_finite" if process_count() == 1 else f"non_finite_rank{process_rank()}"
        report, tensors = self.folder / f"{stem}.json", self.folder / f"{stem}.pt"
        # JSON has no NaN: the numbers are written as words.
        words = {name: str(value) for name, value in terms.items()}
        write_json(report, {**place, "loss": str(loss), "terms": words, "items": names})
        with atomic_file(tensors) as file:
            torch.save({**place, "batch": batch, "network": engine.network.state_dict()}, file)
        raise RuntimeError(
            f"The loss is {loss} at iteration {engine.state.iteration} ({terms}). The batch held {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''}; all of it is in {report} and, to run the step "
            f"again, {tensors}."
        )

    def _names(self, batch: dict[str, Any]) -> list[str]:
        if "clip_index" not in batch:
            items = [int(item) for item in batch["item"]]
            return [f"item {item}" if self.dataset is None else str(self.dataset.item_name(item)) for item in items]
        clips = [(int(scan), int(clip)) for scan, clip in zip(batch["scan_index"], batch["clip_index"])]
        if self.dataset is None:
            return [f"scan {scan} clip {clip}" for scan, clip in clips]
        return [str(self.dataset.clip_name(scan, clip)) for scan, clip in clips]
