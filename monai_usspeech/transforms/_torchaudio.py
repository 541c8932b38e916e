# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
The one module that imports torchaudio.

A torchaudio wheel only loads beside the torch it was built for. Where the two do not fit, ``import torchaudio`` raises
``OSError`` (a shared library is missing) or ``RuntimeError`` (different CUDA versions), not ``ImportError``. The import
is therefore done at the first use and every failure is turned into one message that says what is installed and what to
install. Nothing else in the package touches torchaudio, so replacing it stays a change of this file.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import torch
from torch import Tensor

__all__ = ["power_spectrogram", "require_torchaudio"]

# The newest pair that loads. torchaudio 2.11.1 is built for a later torch than 2.11, and declares no torch requirement,
# so that pip cannot choose.
_LAST_TORCH, _LAST_TORCHAUDIO = (2, 11), "2.11.0"


def require_torchaudio() -> Any:
    """
    Import torchaudio and return the module.

    Raises:
        RuntimeError: When torchaudio is absent or cannot be loaded beside the installed torch; the message names the
            installed pair and the pair to install.
    """
    try:
        return importlib.import_module("torchaudio")
    except Exception as failure:  # OSError and RuntimeError are the usual ones, see the module's docstring
        raise RuntimeError(_explain(failure)) from failure


def power_spectrogram(wave: Tensor, window: Tensor, n_fft: int, hop_length: int, center: bool) -> Tensor:
    """
    Squared magnitude of the short-time Fourier transform.

    Args:
        wave: ``[..., N]`` floating-point samples.
        window: ``[L]`` analysis window, ``L <= n_fft``; it is zero-padded to ``n_fft`` on both sides.
        n_fft: length of the transform, samples.
        hop_length: step between columns, samples.
        center: True reflects ``n_fft // 2`` samples at both ends: column ``t`` is centred on sample ``t * hop_length``.

    Returns:
        ``[..., n_fft // 2 + 1, T]``, with ``T = N // hop_length + 1`` when centred.

    Raises:
        RuntimeError: When torchaudio cannot be loaded.
    """
    functional = require_torchaudio().functional
    transform = functional.spectrogram(
        wave,
        pad=0,
        window=window,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=window.shape[0],
        power=None,
        normalized=False,
        center=center,
        pad_mode="reflect",
    )
    # Its own power of two takes a root first and squares that, which is as slow as the transform.
    return cast(Tensor, torch.view_as_real(transform).square().sum(-1))


def _explain(failure: Exception) -> str:
    torch_version, torchaudio_version = _installed("torch"), _installed("torchaudio")
    minor = _minor(torch_version)
    if minor is not None and minor < _LAST_TORCH:
        advice = f"pip install 'torchaudio=={minor[0]}.{minor[1]}.*'"
    elif minor == _LAST_TORCH:
        advice = f"pip install 'torchaudio=={_LAST_TORCHAUDIO}'"
    else:
        advice = "pip install 'torch=={}.{}.*' 'torchaudio=={}'".format(*_LAST_TORCH, _LAST_TORCHAUDIO)
    return (
        f"Speech spectrograms need torchaudio, and torchaudio {torchaudio_version} does not load beside torch "
        f"{torch_version} ({type(failure).__name__}: {failure}). Install a pair of the same release and the same build "
        f"(both for CPU or both for one CUDA version, from one package index): {advice}"
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _minor(text: str) -> tuple[int, int] | None:
    parts = text.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])
