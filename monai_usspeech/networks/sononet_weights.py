# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The published weights of SonoNet, in the two formats in which they are public.

The original files (``baumgach/SonoNet-weights``) are lists of arrays saved by lasagne, without names. Facts about them,
read from that repository and from lasagne:

- each of the 15 convolutions gives five arrays: the kernel, then beta, gamma, mean and *inverse* standard deviation of
  its batch normalisation, ``1 / sqrt(variance + 1e-4)``;
- the 3 x 3 convolutions were built with ``flip_filters=False``: they are cross-correlations, as torch's are, and the
  kernels are taken as they lie. The 1 x 1 convolutions have nothing to flip.

The PyTorch conversion (``rdroste/SonoNet_PyTorch``) is a state dictionary with the names of
:class:`~monai_usspeech.networks.SonoNet`.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from monai_usspeech.networks.sononet import SONONET_BN_EPSILON, SONONET_WIDTHS, SonoNet

__all__ = ["read_sononet_npz", "sononet_width"]

_STEM = "features.0.0.0.weight"


def sononet_width(weights: Mapping[str, Tensor]) -> int | None:
    """Width of the SonoNet whose weights these are; None when they are of another network.

    Args:
        weights: named tensors, with or without the adaption layers.
    """
    stem = weights.get(_STEM)
    return int(stem.shape[0]) if stem is not None and stem.ndim == 4 else None


def read_sononet_npz(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the original SonoNet weights under the names of :class:`~monai_usspeech.networks.SonoNet`.

    Args:
        path: ``SonoNet16.npz``, ``SonoNet32.npz`` or ``SonoNet64.npz``.

    Returns:
        float32 tensors; the inverse standard deviations have become variances.

    Raises:
        ValueError: when the file is damaged, or its arrays are not those of a SonoNet.
    """
    arrays = _read_arrays(Path(path))
    width = arrays[0].shape[0] if arrays[0].ndim == 4 else 0
    if width not in SONONET_WIDTHS:
        raise ValueError(
            f"{path}: not a SonoNet; its first array is {arrays[0].shape}, expected (16, 32 or 64, 1, 3, 3)."
        )
    with torch.device("meta"):  # names and shapes only
        network = SonoNet(width, num_classes=arrays[-1].shape[0] if arrays[-1].ndim == 1 else 1)
    shapes = network.state_dict()
    wanted = {name: tuple(shapes[name].shape) for name in _names(network)}
    if len(wanted) != len(arrays):
        raise ValueError(f"{path}: holds {len(arrays)} arrays; a SonoNet has {len(wanted)}.")
    weights = {}
    for number, ((name, shape), array) in enumerate(zip(wanted.items(), arrays)):
        if array.shape != shape:
            raise ValueError(f"{path}: arr_{number} is {array.shape}; SonoNet-{width} has {name} {shape} there.")
        if name.endswith("running_var"):
            if not (array > 0).all():
                raise ValueError(f"{path}: arr_{number} holds inverse standard deviations, but not all are positive.")
            array = array.astype(np.float64) ** -2 - SONONET_BN_EPSILON
        weights[name] = torch.from_numpy(np.array(array, dtype=np.float32))
    return weights


def _read_arrays(file: Path) -> list[np.ndarray]:
    """``arr_0``, ``arr_1``, ... in the order of their numbers; nothing that would run code is unpickled."""
    try:
        content = np.load(file, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("it is one array")
        with content:
            names = [f"arr_{number}" for number in range(len(content.files))]
            if not names or set(names) != set(content.files):
                raise ValueError(f"its arrays are {', '.join(content.files[:4])}, not arr_0, arr_1, ...")
            return [content[name] for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{file}: not the original SonoNet weights, or a damaged file ({error}).") from error


def _names(network: SonoNet) -> list[str]:
    """Names of the parameters in the order of the arrays; gamma is torch's weight and beta its bias."""
    names = []
    for prefix, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            names.append(f"{prefix}.weight")
        elif isinstance(module, nn.BatchNorm2d):
            names += [f"{prefix}.{part}" for part in ("bias", "weight", "running_mean", "running_var")]
    return names
