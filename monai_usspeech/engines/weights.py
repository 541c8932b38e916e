# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Weights as the product of a run, and the subjects they have seen.

Beside ``model.pt`` lies ``model.json``: who was in the training data. A run that starts from such weights and is tested
on one of those subjects would report what it remembers, not what it learned; it is refused before any training.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from monai_usspeech.data.files import InputError, atomic_file, changed_values, nearest_name, read_json, write_json
from monai_usspeech.networks.initialisation import read_checkpoint

__all__ = [
    "MODES",
    "check_unseen",
    "differing_tensors",
    "freezes_backbone",
    "load_trained",
    "provenance_path",
    "seen_subjects",
    "trained_with",
    "write_weights",
]

_logger = logging.getLogger(__name__)

MODES = ("finetune", "last_layers", "probe")
"""What a downstream run may train: the whole network; the new layers and the backbone's last block; the new layers."""


def provenance_path(weights: str | Path) -> Path:
    """Where the facts about a weights file are: ``model.json`` for ``model.pt``."""
    return Path(weights).with_suffix(".json")


def write_weights(path: str | Path, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Write weights, and what is known about them, each file whole or not at all.

    Args:
        path: the file of the weights.
        state: named tensors. They are written in the usual layout, whatever theirs is, for programs that take no other.
        facts: plain values written beside them as JSON, such as ``{"subjects": ["p001"]}``; None writes none.
    """
    if facts is not None:  # the facts first: weights never lie there without them
        write_json(provenance_path(path), dict(facts))
    with atomic_file(path) as file:
        torch.save({name: tensor.contiguous() for name, tensor in state.items()}, file)


def check_unseen(weights: str | Path | None, subjects: Iterable[str], field: str = "initialisation") -> None:
    """Refuse weights that were trained on a subject which is about to be tested on.

    Args:
        weights: the checkpoint that training starts from. A file of which nothing is known (of another program, or
            without its ``model.json``) cannot be checked: it passes, with a warning. None and words pass.
        subjects: the subjects of the test set.
        field: what the weights are to the run, for the message: what training starts from, or what is evaluated.

    Raises:
        InputError: when a subject is in both, naming all of them and what to do.
    """
    known = _known_subjects(weights)
    if known is None and weights is not None and Path(weights).is_file():
        _logger.warning(
            "%s: %s says nothing of whom it was trained on (no %s beside it): see to it that it was none of the test"
            " subjects.",
            *(field, weights, provenance_path(weights).name),
        )
    both = sorted({*(known or ())} & {str(name) for name in subjects})
    if both:
        mend = f'pretrain with --exclude_subjects "{both}", or test on another fold'
        if field != "initialisation":
            mend = f"test on the fold that they were trained for, or leave out {both}"
        raise InputError(f"{field}: {weights} was trained on {len(both)} of the test subjects; {mend}.")


def seen_subjects(initialisation: str | Path | None, subjects: Iterable[str]) -> list[str]:
    """Everyone that weights have seen once they are trained on: the given subjects, then those of their start.

    Without the latter, weights that were pretrained on many and then trained on a few would claim to know only the few.

    Args:
        initialisation: the weights that training starts from, None, or a word that names none of ours.
        subjects: who is trained on now.
    """
    now = list(map(str, subjects))
    return list(dict.fromkeys([*now, *sorted(_known_subjects(initialisation) or ())]))


def trained_with(weights: str | Path | None, name: str, otherwise: Any) -> Any:
    """
    A setting of the training that weights come from, so that they are used as they were trained.

    For configurations: ``{"_target_": "trained_with", "weights": "@initialisation", "name": "window_seconds",
    "otherwise": 0.6}``.

    Args:
        weights: the checkpoint; None and words stand for weights of which nothing is known.
        name: the setting, as ``settings`` of ``bundle/configs/train.json`` calls it.
        otherwise: its value where the facts beside the weights do not tell it, or there are none.

    Raises:
        InputError: when the facts cannot be read.
    """
    place = _facts_path(weights)
    return (_settings_in(place) or {}).get(name, otherwise) if place is not None else otherwise


def _settings_in(place: Path) -> dict[str, Any] | None:
    """The settings of the training that a file of facts holds; None where it holds none."""
    facts = read_json(place)
    settings = facts.get("settings") if isinstance(facts, dict) else None
    return settings if isinstance(settings, dict) else None


def _facts_path(weights: str | Path | None) -> Path | None:
    """The file of facts beside a weights file; None where there is none."""
    if weights is None:
        return None
    # a link to weights stands for them: the facts lie beside the file itself
    places = (provenance_path(weights), provenance_path(Path(weights).resolve()))
    return next((place for place in places if place.is_file()), None)


def _known_subjects(weights: str | Path | None) -> set[str] | None:
    """The subjects that the facts beside a weights file name; None where there are no facts."""
    place = _facts_path(weights)
    if place is None:
        return None
    facts = read_json(place)
    seen = facts.get("subjects") if isinstance(facts, dict) else None
    if not isinstance(seen, list):
        raise InputError(f'{place}: has no list of "subjects"; write the weights again.')
    return set(map(str, seen))


def _check_settings(path: str | Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings that differ from those beside the weights; nothing is checked where there are none."""
    place = provenance_path(path)
    trained = _settings_in(place) if place.is_file() else None
    if trained is None:
        return
    changed = changed_values(trained, json.loads(json.dumps(dict(settings))))
    if changed:
        raise InputError(f"{path}: trained with other settings: {'; '.join(changed)}. Give those of its training.")


def differing_tensors(
    network: torch.nn.Module, weights: Mapping[str, torch.Tensor], ignored: tuple[str, ...] = ()
) -> list[str]:
    """The tensors by which weights are not those of a network: missing, of another shape, or without a place in it.

    Args:
        network: what the weights should be for.
        weights: named tensors.
        ignored: beginnings of names that the weights may have without a place in the network.

    Returns:
        Their names, first those of the network; empty when the weights fit.
    """
    wanted = network.state_dict()
    wrong = [name for name, value in wanted.items() if name not in weights or weights[name].shape != value.shape]
    return wrong + [name for name in weights if name not in wanted and not name.startswith(ignored)]


def load_trained(network: torch.nn.Module, path: str | Path, settings: Mapping[str, Any] | None = None) -> None:
    """Load the weights that a downstream run has kept, every tensor of them.

    Args:
        network: built as for the training.
        path: ``model.pt`` of the run.
        settings: those of the evaluation. Frames of another size or standardisation would give other numbers, and the
            results would be recorded as those of another method or seed: they must be those of the training, where
            ``model.json`` has them. None: no check.

    Raises:
        InputError: when the file is missing or damaged, is that of another network, or was made with other settings.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no trained weights; run the configuration's training first, with this output_dir.")
    if settings is not None:
        _check_settings(path, settings)
    try:
        weights = read_checkpoint(path)
    except ValueError as error:
        raise InputError(str(error)) from error
    wrong = differing_tensors(network, weights)
    if wrong:
        raise InputError(
            f"{path}: holds the weights of another network ({len(wrong)} tensors differ, the first is {wrong[0]});"
            " give the backbone and the classes of its training, and for a probe --network_def#freeze True."
        )
    network.load_state_dict(weights)


def freezes_backbone(mode: str, last_layers: bool = True) -> bool:
    """Whether a mode of downstream training leaves the backbone as it was, or all of it but its last block.

    Args:
        mode: ``"finetune"`` trains the whole network, ``"last_layers"`` the new layers and the last residual block
            (``train_last_block`` of :class:`~monai_usspeech.networks.FrameClassifier`; the "last three layers" of HiCo,
            Zhang et al., ACCV 2022), ``"probe"`` the new layers alone on a frozen backbone.
        last_layers: whether the task has ``"last_layers"``.

    Raises:
        InputError: for another word.
    """
    known = [word for word in MODES if last_layers or word != "last_layers"]
    if mode not in known:
        words = ", ".join(f'"{word}"' for word in known)
        raise InputError(f'mode: "{mode}" is none of {words}.{nearest_name(str(mode), known)}')
    return mode != "finetune"
