# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Weights as the product of a run, and the subjects they have seen.

Beside ``model.pt`` lies ``model.json``: who was in the training data. A run that starts from such weights and is tested
on one of those subjects would report what it remembers, not what it learned; it is refused before any training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from monai_usspeech.data.files import InputError, atomic_file, nearest_name, read_json, write_json
from monai_usspeech.networks.initialisation import read_checkpoint

__all__ = ["MODES", "check_unseen", "freezes_backbone", "load_trained", "provenance_path", "write_weights"]

MODES = ("finetune", "probe")


def provenance_path(weights: str | Path) -> Path:
    """Where the facts about a weights file are: ``model.json`` for ``model.pt``."""
    return Path(weights).with_suffix(".json")


def write_weights(path: str | Path, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Write weights, and what is known about them, each file whole or not at all.

    Args:
        path: the file of the weights.
        state: named tensors.
        facts: plain values written beside them as JSON, such as ``{"subjects": ["p001"]}``; None writes none.
    """
    if facts is not None:  # the facts first: weights never lie there without them
        write_json(provenance_path(path), dict(facts))
    with atomic_file(path) as file:
        torch.save(dict(state), file)


def check_unseen(weights: str | Path | None, subjects: Iterable[str]) -> None:
    """Refuse weights that were trained on a subject which is about to be tested on.

    Args:
        weights: the checkpoint that training starts from; None, or a file without ``model.json`` beside it (weights of
            other programs), cannot be checked and passes.
        subjects: the subjects of the test set.

    Raises:
        InputError: when a subject is in both, naming the first of them and what to do.
    """
    if weights is None or not provenance_path(weights).is_file():
        return
    facts = read_json(provenance_path(weights))
    seen = facts.get("subjects") if isinstance(facts, dict) else None
    if not isinstance(seen, list):
        raise InputError(f'{provenance_path(weights)}: has no list of "subjects"; write the weights again.')
    both = sorted({str(name) for name in seen} & {str(name) for name in subjects})
    if both:
        raise InputError(
            f"initialisation: {weights} was trained on {len(both)} of the test subjects; pretrain with"
            f' --exclude_subjects "{both}", or test on another fold.'
        )


def load_trained(network: torch.nn.Module, path: str | Path) -> None:
    """Load the weights that a downstream run has kept, every tensor of them.

    Args:
        network: built as for the training.
        path: ``model.pt`` of the run.

    Raises:
        InputError: when the file is missing or damaged, or is that of another network.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no trained weights; run the configuration's training first, with this output_dir.")
    try:
        weights = read_checkpoint(path)
    except ValueError as error:
        raise InputError(str(error)) from error
    wanted = network.state_dict()
    wrong = [name for name in (*wanted, *weights) if name not in wanted or name not in weights]
    wrong += [name for name in wanted if name in weights and wanted[name].shape != weights[name].shape]
    if wrong:
        raise InputError(
            f"{path}: holds the weights of another network ({len(wrong)} tensors differ, the first is {wrong[0]});"
            " give the backbone and the classes of its training."
        )
    network.load_state_dict(weights)


def freezes_backbone(mode: str) -> bool:
    """Whether a mode of downstream training leaves the backbone as it was.

    Args:
        mode: ``"finetune"`` trains the whole network, ``"probe"`` the new layers alone on a frozen backbone.

    Raises:
        InputError: for another word.
    """
    if mode not in MODES:
        raise InputError(f'mode: "{mode}" is neither "finetune" nor "probe".{nearest_name(str(mode), MODES)}')
    return mode == "probe"
