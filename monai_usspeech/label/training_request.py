# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""What a client may ask of a training, checked: everything else of a request is left aside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from monai_usspeech.data.files import InputError, nearest_name

__all__ = ["TRAINING_MODES", "TRAINING_STARTS", "TrainingRequest", "training_devices"]

TRAINING_MODES = ("probe", "finetune")
TRAINING_STARTS = ("model", "pretrained")
_MAX_EPOCHS, _MAX_BATCH, _MAX_SEED = 1000, 1024, 2**32 - 1


def training_devices() -> list[str]:
    """The devices that this machine has, the fastest first."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [*(f"cuda:{number}" for number in range(cards)), "cpu"]


@dataclass(frozen=True)
class TrainingRequest:
    """How to train.

    Attributes:
        mode: ``"probe"``, the last layer alone on a frozen backbone; ``"finetune"``, everything.
        max_epochs: epochs, 1 to 1,000.
        batch_size: frames in a batch, 2 to 1,024.
        learning_rate: of the last layer, above 0 and up to 1; the backbone has a tenth of it.
        seed: of everything that is drawn.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:0"``, ...
        start: ``"model"``, the weights in use, or ``"pretrained"``; None: the first of them that there is.
    """

    mode: str = "probe"
    max_epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 0.005
    seed: int = 0
    device: str = "cpu"
    start: str | None = None

    @classmethod
    def read(cls, request: Mapping[str, Any], devices: Sequence[str] | None = None) -> TrainingRequest:
        """Take the values out of a client's request; what it does not say has its default.

        Args:
            request: as MONAI Label hands it on.
            devices: the machine's; None: as :func:`training_devices` finds them.

        Raises:
            InputError: on a value that cannot be used, with the mend.
        """
        devices = training_devices() if devices is None else devices
        return cls(
            mode=_word(request, "mode", TRAINING_MODES) or cls.mode,
            max_epochs=_whole(request, "max_epochs", cls.max_epochs, 1, _MAX_EPOCHS),
            batch_size=_whole(request, "batch_size", cls.batch_size, 2, _MAX_BATCH),
            learning_rate=_rate(request, cls.learning_rate),
            seed=_whole(request, "seed", cls.seed, 0, _MAX_SEED),
            device=_device(request, devices),
            start=_word(request, "start", TRAINING_STARTS),
        )

    def values(self) -> dict[str, Any]:
        """The same by the names of the configuration."""
        return {
            "mode": self.mode,
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "head_learning_rate": self.learning_rate,
            "seed": self.seed,
            "device": self.device,
        }


def _given(request: Mapping[str, Any], name: str) -> Any:
    value = request.get(name)
    if isinstance(value, list):  # a client that sends a list of choices back means the first
        value = value[0] if value else None
    return None if value == "" else value


def _word(request: Mapping[str, Any], name: str, known: Sequence[str]) -> str | None:
    value = _given(request, name)
    if value is None:
        return None
    if value not in known:
        raise InputError(f"{name}: {str(value)[:40]!r} is none of {', '.join(known)}.{nearest_name(str(value), known)}")
    return str(value)


def _whole(request: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = _given(request, name)
    if value is None:
        return default
    number = _as_number(value)
    if number is None or number != int(number) or not low <= number <= high:
        raise InputError(f"{name}: is {str(value)[:40]!r}; give a whole number from {low} to {high}.")
    return int(number)


def _rate(request: Mapping[str, Any], default: float) -> float:
    value = _given(request, "learning_rate")
    if value is None:
        return default
    number = _as_number(value)
    if number is None or not 0 < number <= 1:
        raise InputError(f"learning_rate: is {str(value)[:40]!r}; give a number above 0 and up to 1.")
    return number


def _as_number(value: Any) -> float | None:
    """A finite number, also one that a form sent as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _device(request: Mapping[str, Any], devices: Sequence[str]) -> str:
    value = _given(request, "device")
    if value is None:
        return devices[0]
    if value == "cuda" and len(devices) > 1:
        return devices[0]
    if value not in devices:
        raise InputError(f"device: {str(value)[:40]!r} is none of this machine's: {', '.join(devices)}.")
    return str(value)
