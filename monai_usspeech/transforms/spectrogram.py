# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Log-spectrograms of speech, normalised by the scan they come from.

Jiao et al. (MICCAI 2020) turn 0.6 s of speech at 24 kHz into a 256x256 log-spectrogram with 256 frequency bands, 10 ms
windows and 5 ms steps. Those numbers give 121 columns, so the one step the paper leaves unsaid is a resize in time.

The path of one segment ``[14400]``: short-time Fourier transform (periodic Hann window of 240 samples in a transform of
512, step 120, centred, reflected ends) ``[257, 121]``; power; the Nyquist bin is dropped ``[256, 121]``; decibels
``10 log10(max(P, 1e-10))``; a floor ``top_db`` below the loudest value of the *scan*; minus the mean and over the
standard deviation of the *scan*; bilinear resize ``[1, 256, 256]``. Row 0 is the lowest frequency, column 0 the
earliest time (draw with ``origin="lower"``).

Floor, mean and standard deviation belong to the scan and not to the segment: statistics of a segment would blow the
noise of a silent one up to the level of speech, and with it erase whether anyone was speaking.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms.transform import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from monai_usspeech.transforms._spectrum import SpectrogramSettings, as_samples, check_wave, decibels

__all__ = [
    "LogSpectrogram",
    "LogSpectrogramD",
    "LogSpectrogramDict",
    "LogSpectrogramd",
    "SpectrogramSettings",
    "log_spectrogram",
    "spectrogram_statistics",
]

SMALLEST_STD_DB = 1.0  # a band that is silent in the whole scan must not turn an edge effect into a huge value


def log_spectrogram(
    wave: NdarrayOrTensor,
    statistics: Mapping[str, Any] | None = None,
    settings: SpectrogramSettings | None = None,
) -> Tensor:
    """
    Log-spectrogram pictures of any number of segments, on the device of ``wave``, always in float32.

    Args:
        wave: ``[..., N]`` samples: floating point in [-1, 1], or int16 (divided by 32768); ``N > n_fft // 2``.
        statistics: of the scan of each segment, in dB: ``max_db`` and, unless ``normalise="none"``, ``mean`` and
            ``std``, as numbers, arrays or tensors. Their axes are the *first* leading axes of ``wave``: ``[B]``
            serves a wave ``[B, K, N]``. For ``normalise="band"``, ``mean`` and ``std`` have one more axis of
            ``n_fft // 2`` bands; ``band_mean`` and ``band_std`` are taken in their place when present, so that the
            result of :func:`spectrogram_statistics` fits as it is. A deviation below 1 dB counts as 1 dB. None: each
            segment's own, right for whole recordings only.
        settings: default: the paper's.

    Returns:
        float32 ``[..., 1, rows, columns]``, row 0 = lowest frequency.

    Raises:
        ValueError: When shape or type of ``wave`` or ``statistics`` does not fit.
        RuntimeError: When torchaudio cannot be loaded.
    """
    settings = settings or SpectrogramSettings()
    samples = as_samples(wave, settings)
    with torch.autocast(device_type=samples.device.type, enabled=False):
        picture = _normalise(decibels(samples, settings, center=True), statistics, settings)
        return _resize(picture, settings).unsqueeze(-3)


def spectrogram_statistics(
    wave: NdarrayOrTensor,
    sample_rate: int = 24000,
    n_fft: int = 512,
    win_length: int | None = None,
    hop_length: int | None = None,
    top_db: float = 80.0,
    block_seconds: float = 20.0,
) -> dict[str, Any]:
    """
    Statistics of the log-spectrogram of a whole scan, in two passes over blocks.

    The first pass finds the loudest value, the second sums the values above the floor that it sets (float64). The
    columns are those of one transform over the whole scan: 30 minutes need the memory of one block, and the length of
    the block does not change the result.

    Args:
        wave: ``[N]`` samples, float in [-1, 1] or int16; leave out stretches without a recording (exact zeros).
        sample_rate: samples per second.
        n_fft, win_length, hop_length, top_db: as in :class:`SpectrogramSettings`.
        block_seconds: length of a block.

    Returns:
        Plain numbers for JSON, in dB: ``max_db``; ``mean`` and ``std`` over all bands and columns; ``band_mean`` and
        ``band_std``, lists with one number for each band. Standard deviations are those of the population.

    Raises:
        ValueError: When ``wave`` is not ``[N]``, too short or has a value that is not finite.
        RuntimeError: When torchaudio cannot be loaded.
    """
    settings = SpectrogramSettings(
        sample_rate=sample_rate, n_fft=n_fft, win_length=win_length, hop_length=hop_length, top_db=top_db
    )
    if wave.ndim != 1:
        raise ValueError(f"the statistics are those of one scan [N], got the shape {tuple(wave.shape)}")
    check_wave(wave, settings)
    columns = max(1, int(block_seconds * sample_rate) // settings.hop)

    # torch's maximum keeps a NaN, Python's may drop it
    max_db = float(torch.stack([block.max() for block in _decibel_blocks(wave, settings, columns)]).max())
    if not math.isfinite(max_db):
        raise ValueError("the wave has samples that are not finite")
    sums = torch.zeros(2, settings.bands, dtype=torch.float64)
    for block in _decibel_blocks(wave, settings, columns):
        values = block.clamp_min(max_db - top_db).double() - max_db
        sums += torch.stack([values.sum(-1), values.square().sum(-1)]).cpu()
    band_mean, band_square = sums / (wave.shape[0] // settings.hop + 1)
    band_variance = (band_square - band_mean.square()).clamp_min(0)
    variance = band_variance.mean() + band_mean.var(correction=0)
    return {
        "max_db": max_db,
        "mean": float(band_mean.mean()) + max_db,
        "std": float(variance.sqrt()),
        "band_mean": (band_mean + max_db).tolist(),
        "band_std": band_variance.sqrt().tolist(),
    }


def _decibel_blocks(wave: NdarrayOrTensor, settings: SpectrogramSettings, columns: int) -> Iterator[Tensor]:
    """Yield ``[bands, <=columns]``: the columns of the centred transform of the whole wave, in order."""
    length, half = wave.shape[0], settings.n_fft // 2
    n_columns = length // settings.hop + 1
    for first in range(0, n_columns, columns):
        last = min(first + columns, n_columns) - 1
        index = np.arange(first * settings.hop - half, last * settings.hop - half + settings.n_fft)
        index = np.abs(index)  # reflection at the start, without repeating sample 0 ...
        index = np.where(index >= length, 2 * (length - 1) - index, index)  # ... and at the end
        samples = as_samples(wave[index], settings)
        with torch.autocast(device_type=samples.device.type, enabled=False):
            yield decibels(samples, settings, center=False)


def _normalise(values: Tensor, statistics: Mapping[str, Any] | None, settings: SpectrogramSettings) -> Tensor:
    by_band = settings.normalise == "band"
    if statistics is None:
        max_db = values.amax((-2, -1), keepdim=True)
    else:
        max_db = _statistic(statistics, "max_db", values, by_band=False)
    values = torch.maximum(values, max_db - settings.top_db)
    if settings.normalise == "none":
        return values
    if statistics is None:
        axes = (-1,) if by_band else (-2, -1)
        mean, std = values.mean(axes, keepdim=True), values.std(axes, correction=0, keepdim=True)
    else:
        mean, std = (_statistic(statistics, name, values, by_band) for name in ("mean", "std"))
    return (values - mean) / std.clamp_min(SMALLEST_STD_DB)


def _statistic(statistics: Mapping[str, Any], name: str, values: Tensor, by_band: bool) -> Tensor:
    """One statistic as a tensor that broadcasts against ``values [..., bands, T]``."""
    if by_band and f"band_{name}" in statistics:
        name = f"band_{name}"
    if name not in statistics:
        raise ValueError(f"statistics lack {name!r}; they have {sorted(statistics)}")
    value = torch.as_tensor(statistics[name], dtype=torch.float32, device=values.device)
    leading, bands = tuple(values.shape[:-2]), values.shape[-2]
    axes = tuple(value.shape[:-1]) if by_band else tuple(value.shape)
    fits = len(axes) <= len(leading) and all(n in (1, m) for n, m in zip(axes, leading))
    if not fits or (by_band and (value.ndim < 1 or value.shape[-1] != bands)):
        ending = f" followed by {bands} bands" if by_band else ""
        raise ValueError(
            f"statistics[{name!r}] has the shape {tuple(value.shape)}; expected the first axes of the wave's leading "
            f"axes {leading}{ending}"
        )
    axes += (1,) * (len(leading) - len(axes))
    return value.reshape(*axes, bands, 1) if by_band else value.reshape(*axes, 1, 1)


def _resize(picture: Tensor, settings: SpectrogramSettings) -> Tensor:
    """``[..., bands, T]`` to ``[..., rows, columns]``."""
    rows, columns = settings.size
    if settings.freq_scale == "log":
        picture = _log_frequency_weights(settings.bands, rows, picture.device) @ picture
    flat = picture.reshape(-1, 1, *picture.shape[-2:])
    shrinks = rows < flat.shape[-2] or columns < flat.shape[-1]
    flat = F.interpolate(flat, size=(rows, columns), mode="bilinear", align_corners=False, antialias=shrinks)
    return flat.reshape(*picture.shape[:-2], rows, columns)


@lru_cache(maxsize=16)
def _log_frequency_weights(bands: int, rows: int, device: torch.device) -> Tensor:
    """``[rows, bands]`` triangles around log-spaced centres, as wide as the spacing there; each row sums to 1."""
    centres = np.geomspace(1, bands - 1, rows)
    spacing = np.maximum(np.gradient(centres), 1.0) if rows > 1 else np.ones(1)
    weights = np.clip(1.0 - np.abs(np.arange(bands) - centres[:, None]) / spacing[:, None], 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    with torch.inference_mode(False):
        return torch.as_tensor(weights, dtype=torch.float32, device=device)


class LogSpectrogram(Transform):
    """
    Log-spectrogram pictures of speech, see :func:`log_spectrogram` and the module's description.

    Runs batched on the device of its input, in float32 also under autocast.

    The arguments are those of :class:`SpectrogramSettings`, which also tells their units and raises for wrong values.

    Example:
        >>> speech = 0.1 * torch.randn(8, 2, 14400)
        >>> LogSpectrogram()(speech, statistics=spectrogram_statistics(speech.flatten())).shape
        torch.Size([8, 2, 1, 256, 256])
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        sample_rate: int = 24000,
        size: tuple[int, int] = (256, 256),
        n_fft: int = 512,
        win_length: int | None = None,
        hop_length: int | None = None,
        top_db: float = 80.0,
        freq_scale: str = "linear",
        normalise: str = "scan",
    ) -> None:
        self.settings = SpectrogramSettings(
            sample_rate, size, n_fft, win_length, hop_length, top_db, freq_scale, normalise
        )

    def __call__(self, wave: NdarrayOrTensor, statistics: Mapping[str, Any] | None = None) -> Tensor:
        """Samples ``[..., N]`` to pictures ``[..., 1, rows, columns]``; see :func:`log_spectrogram`."""
        return log_spectrogram(wave, statistics, self.settings)


class LogSpectrogramd(MapTransform):
    """
    Dictionary version of :class:`LogSpectrogram`; replaces the samples by their pictures.

    Args:
        keys: keys of the samples ``[..., N]``.
        statistics_keys: where the statistics of the scan are: one key that holds the dictionary of
            :func:`spectrogram_statistics`; or a mapping from ``max_db``, ``mean`` and ``std`` to the keys that hold
            them; or None for each recording's own.
        allow_missing_keys: do not raise when a key of ``keys`` is missing.
        **settings: arguments of :class:`LogSpectrogram`.

    Raises:
        ValueError: When a setting is out of range or unknown.
    """

    backend = LogSpectrogram.backend

    def __init__(
        self,
        keys: KeysCollection,
        statistics_keys: str | Mapping[str, str] | None = None,
        allow_missing_keys: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.statistics_keys = statistics_keys
        self.spectrogram = LogSpectrogram(**settings)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the pictures in place of the samples."""
        d = dict(data)
        statistics: Mapping[str, Any] | None = None
        if isinstance(self.statistics_keys, str):
            statistics = d[self.statistics_keys]
        elif self.statistics_keys is not None:
            statistics = {name: d[key] for name, key in self.statistics_keys.items()}
        for key in self.key_iterator(d):
            d[key] = self.spectrogram(d[key], statistics)
        return d


LogSpectrogramD = LogSpectrogramDict = LogSpectrogramd
