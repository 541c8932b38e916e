# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Named weights from files, without running code from them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_usspeech.networks.sononet_weights import read_sononet_npz

__all__ = ["read_checkpoint"]

_WEIGHT_KEYS = ("network", "model", "state_dict")
_WRAPPERS = ("module.", "_orig_mod.")


def read_checkpoint(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the named weights of a checkpoint file, without running code from it.

    Accepted are ``.safetensors`` files, plain state dictionaries, dictionaries that hold one under ``"network"``,
    ``"model"`` or ``"state_dict"``, and the original SonoNet weights (``.npz``; see
    :func:`~monai_usspeech.networks.sononet_weights.read_sononet_npz`). ``module.`` and ``_orig_mod.`` in front of the
    names are removed.

    Raises:
        ValueError: when the file is missing, truncated, or holds no named tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{file}: no such checkpoint file.")
    if file.suffix == ".npz":
        return read_sononet_npz(file)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle, zip and safetensors each raise their own kinds for a damaged file
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's text is about its own options, not about the file
            reason = "plain tensors are all that is read, and it holds something else"
        raise ValueError(f"{file}: not a checkpoint of plain tensors, or a damaged one ({reason}).") from error
    for key in _WEIGHT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise ValueError(f"{file}: holds a {type(content).__name__}, expected named tensors.")
    weights = {_unwrapped(str(name)): value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError(f"{file}: holds no named tensors; its keys are {', '.join(map(str, list(content)[:6]))}.")
    return weights


def _unwrapped(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.split(".", 1)[1]
    return name
