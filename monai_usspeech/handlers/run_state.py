# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Save everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from monai_usspeech.data.files import InputError, atomic_file, changed_values, write_json
from monai_usspeech.engines.configuration import software_versions, write_configuration
from monai_usspeech.engines.trainer import step_is_due
from monai_usspeech.engines.weights import provenance_path, write_weights
from monai_usspeech.handlers.processes import process_count, process_rank, unwrapped

__all__ = ["RunStateHandler", "random_state", "set_random_state"]

_FORMAT = 1


def random_state() -> dict[str, Any]:
    """The states of the random sources of Python, NumPy and torch (CPU and every CUDA device), as plain values."""
    version, words, gauss = random.getstate()
    numbers = np.random.get_state(legacy=False)
    return {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "name": str(numbers["bit_generator"]),
            "keys": torch.from_numpy(numbers["state"]["key"].astype(np.int64)),
            "rest": [int(numbers["state"]["pos"]), int(numbers["has_gauss"]), float(numbers["gauss"])],
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Take up what :func:`random_state` returned."""
    saved = state["python"]
    random.setstate((saved["version"], tuple(saved["words"].tolist()), saved["gauss"]))
    keys = state["numpy"]["keys"].numpy().astype(np.uint32)
    np.random.set_state((state["numpy"]["name"], keys, *state["numpy"]["rest"]))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


class RunStateHandler:
    """Write the run's whole state at intervals, and continue from it bit for bit.

    The file holds the state of every object in ``save_dict`` (network, optimiser, schedule, loss, history), the
    gradient scaler, the random sources of each process, the position in the data, ``settings`` and the versions that
    made it: tensors and plain values only, so it loads with ``weights_only=True``. It is replaced as a whole
    (temporary name, flush, rename): a run killed at any moment leaves the previous state or the new one.

    When training starts and the file is there, the run continues from it. The batches that the interrupted epoch had
    already seen are skipped by arithmetic, none is read twice. When the file is that of a finished run, training ends
    at once.

    Args:
        path: the file; its folder is made when missing.
        save_dict: objects with ``state_dict`` and ``load_state_dict`` by name. ``network`` should be among them: that
            is where :func:`~monai_usspeech.networks.load_initialisation` finds the weights. An entry that is None,
            such as a handler that is disabled in this process, is passed over.
        batch_sampler: an object with ``set_position(epoch, batch)``, such as
            :class:`~monai_usspeech.data.ClipBatchSampler`; it is told the position at the start of each epoch.
        settings: numbers and words that decide what the run computes. A resume with other values is refused, naming
            them.
        weights: when given, the file to which the weights of ``save_dict[product]`` alone are written once training
            is complete: the product of the run, for :func:`~monai_usspeech.networks.load_initialisation` and for other
            programs.
        facts: plain values written beside the state, and beside ``weights``, as JSON
            (:func:`~monai_usspeech.engines.write_weights`); ``{"subjects": [...]}`` lets a later evaluation refuse
            either of them when it has seen a test subject.
        every_epochs: save after every n-th epoch.
        every_iterations: save also after every n-th iteration (at the next optimiser step).
        resume: ``False`` starts anew, and refuses to when a state is there.
        product: the entry of ``save_dict`` that is the run's product: the network, or the average of its weights over
            the training.

    Raises:
        ValueError: when ``weights`` is given and ``save_dict`` has no ``product``.
        InputError: when attached, before any training time is spent: on a state that cannot be read, that other
            settings made, or that would be overwritten by a run with ``resume=False``.
    """

    def __init__(
        self,
        path: str,
        save_dict: dict[str, Any],
        batch_sampler: Any = None,
        settings: dict[str, Any] | None = None,
        weights: str | None = None,
        facts: Mapping[str, Any] | None = None,
        every_epochs: int = 1,
        every_iterations: int | None = None,
        resume: bool = True,
        product: str = "network",
    ) -> None:
        if weights is not None and save_dict.get(product) is None:
            raise ValueError(f'product is "{product}", and save_dict has {sorted(save_dict)}.')
        self.path = Path(path)
        self.save_dict, self.batch_sampler = save_dict, batch_sampler
        self.settings = {} if settings is None else settings
        self.weights = None if weights is None else Path(weights)
        self.facts = facts
        self.every_epochs, self.every_iterations, self.resume = every_epochs, every_iterations, resume
        self.product = product
        self.logger = logging.getLogger(__name__)
        self._due = False
        self._state: dict[str, Any] | None = None
        self._random: dict[str, Any] | None = None

    def attach(self, engine: SupervisedTrainer) -> None:
        """Register with a MONAI trainer, and read the state that the run will go on from."""
        if self.path.is_file():
            self._state = self._read(engine)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._set_position)
        engine.add_event_handler(Events.ITERATION_STARTED, self._restore_random)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def _start(self, engine: SupervisedTrainer) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if process_rank() == 0:
            write_configuration(self.path.parent)
            if self.facts is not None:  # a run's state is a start for other runs too
                write_json(provenance_path(self.path), dict(self.facts))
        if self._state is not None:
            self._load(engine, self._state)
            self._state = None
        # Registered only now, so that saving comes after every other handler of the same event, whatever the order of
        # the list: the learning rate has been stepped, the history has its row.
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)

    def _set_position(self, engine: SupervisedTrainer) -> None:
        if self.batch_sampler is not None:
            # ignite counts epochs from 1; the batches already done of a resumed epoch are not drawn again.
            self.batch_sampler.set_position(engine.state.epoch - 1, engine.state.iteration % _epoch_length(engine))

    def _restore_random(self, engine: SupervisedTrainer) -> None:
        if self._random is not None:
            set_random_state(self._random)
            self._random = None

    def _iteration_completed(self, engine: SupervisedTrainer) -> None:
        if self.every_iterations is None:
            return
        self._due = self._due or engine.state.iteration % self.every_iterations == 0
        if self._due and step_is_due(engine) and engine.state.iteration % _epoch_length(engine) != 0:
            self._save(engine)

    def _epoch_completed(self, engine: SupervisedTrainer) -> None:
        if self._due or engine.state.epoch % self.every_epochs == 0 or engine.state.epoch == engine.state.max_epochs:
            self._save(engine)

    def _completed(self, engine: SupervisedTrainer) -> None:
        if self.weights is None or process_rank() != 0:
            return
        write_weights(self.weights, unwrapped(self.save_dict[self.product]).state_dict(), self.facts)
        self.logger.info("Training is complete; the weights are in %s.", self.weights)

    def _save(self, engine: SupervisedTrainer) -> None:
        self._due = False
        mine = random_state()
        ranks: list[Any] = [mine]
        if process_count() > 1:
            ranks = [None] * process_count()
            dist.all_gather_object(ranks, mine)
        if process_rank() != 0:
            return
        state = {
            "format": _FORMAT,
            "progress": {"iteration": engine.state.iteration, "epoch_length": engine.state.epoch_length},
            "settings": self.settings,
            "versions": software_versions(),
            "random": ranks,
            **{name: unwrapped(item).state_dict() for name, item in self.save_dict.items() if item is not None},
        }
        if engine.amp and engine.scaler is not None:
            state["scaler"] = engine.scaler.state_dict()
        with atomic_file(self.path) as file:
            torch.save(state, file)

    def _read(self, engine: SupervisedTrainer) -> dict[str, Any]:
        if not self.resume:
            raise InputError(
                f"{self.path}: this folder already holds a run, and resume is false: "
                "choose another output_dir, or remove it."
            )
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            progress, settings = state["progress"], state["settings"]
        except Exception as error:  # whatever is wrong with the file, the user needs its name and what to do
            raise InputError(f"{self.path}: not a readable run state ({error}); remove it to start anew.") from error
        self._check(engine, progress, settings)
        return state

    def _load(self, engine: SupervisedTrainer, state: dict[str, Any]) -> None:
        for name, item in self.save_dict.items():
            if item is not None:
                unwrapped(item).load_state_dict(state[name])
        if "scaler" in state and engine.scaler is not None:
            engine.scaler.load_state_dict(state["scaler"])
        if process_rank() < len(state["random"]):
            # A data loader draws from torch's random source whenever it is started. In the middle of an epoch the run
            # that was not interrupted does not start it, so there the sources are set only once it has been.
            self._random = state["random"][process_rank()]
            progress = state["progress"]
            if progress["iteration"] % progress["epoch_length"] == 0:
                self._restore_random(engine)
        engine.state.iteration = state["progress"]["iteration"]
        engine.state.epoch = engine.state.iteration // _epoch_length(engine)
        self.logger.info("Resuming from %s at iteration %d.", self.path, engine.state.iteration)

    def _check(self, engine: SupervisedTrainer, progress: dict[str, int], settings: dict[str, Any]) -> None:
        changed = changed_values(settings, self.settings)
        if progress["epoch_length"] != engine.state.epoch_length:
            changed.append(f"an epoch had {progress['epoch_length']} batches and has {engine.state.epoch_length}")
        if changed:
            raise InputError(
                f"{self.path}: the run there was made with other settings: {'; '.join(changed)}. "
                "Choose another output_dir, or the same settings."
            )


def _epoch_length(engine: SupervisedTrainer) -> int:
    length = engine.state.epoch_length
    if length is None:
        raise ValueError("RunStateHandler needs a data loader with a length: else it cannot tell where an epoch ends.")
    return int(length)
