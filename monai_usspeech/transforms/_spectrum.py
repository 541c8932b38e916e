# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
From samples to decibels: the settings of a spectrogram and its first half, shared by the pictures and the statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.utils import ensure_tuple_rep
from monai.utils.type_conversion import convert_to_tensor
from torch import Tensor

from monai_usspeech.transforms._torchaudio import power_spectrogram

__all__ = ["SpectrogramSettings", "as_samples", "check_wave", "decibels"]

SMALLEST_POWER = 1e-10  # -100 dB; a full-scale sine has about +35 dB in its strongest band


@dataclass(frozen=True)
class SpectrogramSettings:
    """
    What makes a spectrogram, checked once.

    Args:
        sample_rate: samples per second.
        size: rows (frequency) and columns (time) of the picture.
        n_fft: length of the Fourier transform, samples; gives ``n_fft // 2`` bands.
        win_length: length of the Hann window, samples; None: 10 ms.
        hop_length: step between columns, samples; None: 5 ms.
        top_db: range kept below the loudest value of the scan, dB.
        freq_scale: ``"linear"``: rows are the transform's bands; ``"log"``: rows are spaced evenly in log frequency,
            from the first band above 0 Hz to the last.
        normalise: ``"scan"``: one mean and standard deviation for all bands; ``"band"``: one for each band; ``"none"``:
            the picture stays in dB.

    Raises:
        ValueError: When a value is out of range or unknown.
    """

    sample_rate: int = 24000
    size: tuple[int, int] = (256, 256)
    n_fft: int = 512
    win_length: int | None = None
    hop_length: int | None = None
    top_db: float = 80.0
    freq_scale: str = "linear"
    normalise: str = "scan"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", ensure_tuple_rep(self.size, 2))  # a list from JSON, or one number
        if self.freq_scale not in ("linear", "log"):
            raise ValueError(f'freq_scale must be "linear" or "log", got {self.freq_scale!r}')
        if self.normalise not in ("scan", "band", "none"):
            raise ValueError(f'normalise must be "scan", "band" or "none", got {self.normalise!r}')
        if min(self.size) < 1:
            raise ValueError(f"size must be two positive integers (rows, columns), got {self.size}")
        if self.sample_rate <= 0 or self.top_db <= 0 or self.n_fft < 4:
            raise ValueError(f"sample_rate, top_db and n_fft must be positive (n_fft at least 4), got {self}")
        if not 1 <= self.window <= self.n_fft or self.hop < 1:
            raise ValueError(
                f"the window of {self.window} samples must fit into n_fft {self.n_fft} and the step of {self.hop} be "
                "positive; give n_fft, win_length and hop_length for this sample rate"
            )

    @property
    def window(self) -> int:
        """Window length, samples."""
        return round(0.010 * self.sample_rate) if self.win_length is None else self.win_length

    @property
    def hop(self) -> int:
        """Step between columns, samples."""
        return round(0.005 * self.sample_rate) if self.hop_length is None else self.hop_length

    @property
    def bands(self) -> int:
        """Number of frequency bands; band ``k`` lies at ``k * sample_rate / n_fft`` Hz."""
        return self.n_fft // 2


def check_wave(wave: NdarrayOrTensor, settings: SpectrogramSettings) -> None:
    """Raise ``ValueError`` unless ``wave`` is ``[..., N]``, float or int16, and long enough for one window."""
    if isinstance(wave, Tensor):
        known = wave.dtype == torch.int16 or wave.dtype.is_floating_point
    else:
        known = wave.dtype == np.int16 or np.issubdtype(wave.dtype, np.floating)
    if not known:
        raise ValueError(f"samples must be floating point in [-1, 1] or int16, got {wave.dtype}")
    if wave.ndim < 1 or wave.shape[-1] <= settings.n_fft // 2:
        raise ValueError(
            f"a wave [..., N] needs more than n_fft // 2 = {settings.n_fft // 2} samples, got {tuple(wave.shape)}"
        )


def as_samples(wave: NdarrayOrTensor, settings: SpectrogramSettings) -> Tensor:
    """Checked samples as a plain float32 tensor in [-1, 1], on the device of ``wave``."""
    check_wave(wave, settings)
    samples: Tensor = convert_to_tensor(wave, track_meta=False)
    return samples.float() / 32768 if samples.dtype == torch.int16 else samples.float()


@lru_cache(maxsize=16)
def _window(length: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # the kept tensor must also serve calls outside inference mode
        return torch.hann_window(length, periodic=True, device=device)


def decibels(samples: Tensor, settings: SpectrogramSettings, center: bool) -> Tensor:
    """
    Decibels of every band and column, before the floor.

    Args:
        samples: float32 ``[..., N]``.
        settings: of the spectrogram.
        center: True reflects the ends; False takes only windows that lie inside.

    Returns:
        ``[..., bands, T]``, at least ``10 log10(1e-10)``. The band at half the sample rate is dropped.
    """
    window = _window(settings.window, samples.device)
    power = power_spectrogram(samples, window, settings.n_fft, settings.hop, center)
    return 10.0 * power[..., : settings.bands, :].clamp_min(SMALLEST_POWER).log10()
