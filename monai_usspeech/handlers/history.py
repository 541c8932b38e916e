# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a run went through: every named number, per iteration and as epoch means, on disk and as curves."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from monai_usspeech.data.files import atomic_file
from monai_usspeech.engines.trainer import iteration_output
from monai_usspeech.handlers.curves import draw_curves

__all__ = ["HISTORY_FILE", "HistoryHandler", "in_words", "iteration_values", "read_history"]

HISTORY_FILE = "history.jsonl"
"""The name of a run's history in its folder."""

_PAUSE = 19
"""Pause between two drawings, in times the length of one."""


def iteration_values(output: dict[str, Any]) -> dict[str, float]:
    """The named numbers of one iteration of a :class:`~monai_usspeech.engines.MultiTermTrainer`.

    Args:
        output: ``engine.state.output``.

    Returns:
        ``loss``, the loss's terms and figures, the gradient's, and ``high_affinity``, the share of this process's clips
        that may give pairs, as floats.
    """
    values = {"loss": torch.as_tensor(output["loss"]).item()}
    for kind in ("terms", "figures", "gradient"):
        values.update(output.get(kind, {}))
    target = output.get("label")
    if isinstance(target, dict) and "affinity" in target:
        values["high_affinity"] = float(target["affinity"].float().mean())
    return values


def read_history(folder: str | Path) -> list[dict[str, Any]]:
    """
    The rows of a run's history, of either kind; none when there is no file.

    Args:
        folder: the run's folder.

    Raises:
        ValueError: when a whole line is no JSON.
    """
    path = Path(folder) / HISTORY_FILE
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]  # a killed run may leave half a last line


class HistoryHandler:
    """Keep each iteration's named numbers and their epoch means.

    ``history.jsonl`` gets one JSON object a line: ``{"kind": "iteration" | "epoch", "epoch": ..., "iteration": ...,
    ...}``. The epoch means also go to ``engine.state.metrics``, where MONAI's console and TensorBoard handlers find
    them. ``curves.png`` is drawn after an epoch, not so often that it would take more than a twentieth of the time, and
    at the end of the run. A number that an iteration lacks (no valid pair in the batch,
    say) is left out of the mean, not counted as zero.

    The handler has ``state_dict``/``load_state_dict``: after a resume in the middle of an epoch the means are those of
    the whole epoch, and lines written after the resumed state are dropped.

    Args:
        output_dir: the run's folder; made when missing.
        optimizer: when given, its first learning rate is logged as ``learning_rate``.
        every: write every n-th iteration.
        draw: whether to draw ``curves.png``.
        dataset: when given, what its ``summary()`` says is written to the log when training starts.
    """

    def __init__(
        self,
        output_dir: str,
        optimizer: torch.optim.Optimizer | None = None,
        every: int = 10,
        draw: bool = True,
        dataset: Any = None,
    ) -> None:
        self.dataset = dataset
        self.logger = logging.getLogger(__name__)
        self.folder = Path(output_dir)
        self.optimizer, self.every, self.draw = optimizer, every, draw
        self.path = self.folder / HISTORY_FILE
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._iteration = 0
        self._started = False
        self._reported: set[str] = set()
        self._epochs: list[dict[str, Any]] = []
        self._next_drawing = 0.0

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; attach it before the handlers that log ``engine.state.metrics``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def state_dict(self) -> dict[str, Any]:
        """The running sums of the current epoch and the iteration they reach."""
        return {"sums": dict(self._sums), "counts": dict(self._counts), "iteration": self._iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state; lines written after it are dropped when training starts."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._iteration = int(state["iteration"])

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The rows written so far.

        Args:
            kind: ``"iteration"`` or ``"epoch"``.
        """
        return [row for row in read_history(self.folder) if row["kind"] == kind]

    def _start(self, engine: Engine) -> None:
        if self._started:
            return
        self._started = True  # by the first epoch a state that is resumed has been loaded, whoever was attached first
        if self.dataset is not None:
            self.logger.info("Training data: %s.", in_words(self.dataset.summary()))
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_history(self.folder) if row["iteration"] <= self._iteration]
        with atomic_file(self.path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in kept)
        self._epochs = [row for row in kept if row["kind"] == "epoch"]

    def _append(self, engine: Engine, kind: str, values: dict[str, float]) -> dict[str, Any]:
        row = {"kind": kind, "epoch": engine.state.epoch, "iteration": engine.state.iteration, **values}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def _iteration_completed(self, engine: Engine) -> None:
        values = iteration_values(iteration_output(engine))
        if self.optimizer is not None:
            values["learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._iteration = engine.state.iteration
        if engine.state.iteration % self.every == 0:
            self._append(engine, "iteration", values)

    def _epoch_completed(self, engine: Engine) -> None:
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        for name in self._reported - means.keys():
            engine.state.metrics.pop(name, None)  # the trainer keeps its metrics: what stands there is last epoch's
        self._reported = set(means)
        engine.state.metrics.update(means)
        self._epochs.append(self._append(engine, "epoch", {**means, **_scalars(engine.state.metrics)}))
        self._sums, self._counts = {}, {}
        if self.draw and time.monotonic() >= self._next_drawing:
            begin = time.monotonic()
            self._draw_curves()
            end = time.monotonic()
            self._next_drawing = end + _PAUSE * (end - begin)  # epochs of small data are shorter than a drawing

    def _completed(self, engine: Engine) -> None:
        if self.draw and self._epochs:
            self._draw_curves()

    def _draw_curves(self) -> None:
        draw_curves(self._epochs, self.folder / "curves.png")


def in_words(figures: dict[str, Any]) -> str:
    """A dataset's ``summary()`` for the log: ``"frames 12, planes (4CH 5, femur 7)"``."""
    parts = [f"{key} ({in_words(it)})" if isinstance(it, dict) else f"{key} {it:.4g}" for key, it in figures.items()]
    return ", ".join(parts)


def _scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """Those entries of ``metrics`` that are one number."""
    return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}
