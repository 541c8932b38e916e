# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Log-spectrograms against loops over the Fourier sum, limit cases and known signals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_usspeech.transforms.spectrogram import (
    LogSpectrogram,
    LogSpectrogramD,
    LogSpectrogramd,
    LogSpectrogramDict,
    SpectrogramSettings,
    log_spectrogram,
    spectrogram_statistics,
)

RATE = 24000
SEGMENT = 14400
RAW: dict[str, Any] = {"normalise": "none", "size": (256, 121)}  # the transform's own grid, in dB


def _noise(*shape: int, seed: int = 0, gain: float = 0.1) -> torch.Tensor:
    return gain * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _scan(seconds: float = 6.0) -> torch.Tensor:
    """Loud bursts between quiet stretches."""
    n = round(seconds * RATE)
    envelope = torch.where(torch.arange(n) % RATE < RATE // 2, 1.0, 0.003)
    return envelope * _noise(n, seed=1)


def _column(wave: np.ndarray, t: int) -> np.ndarray:
    """Decibels of column ``t`` of a centred transform, as a plain sum over samples."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(240) / 240)
    column = np.zeros(256)
    positions = t * 120 - 256 + 136 + np.arange(240)  # the window lies in the middle of the 512 samples
    positions = np.abs(positions)
    positions = np.where(positions >= len(wave), 2 * (len(wave) - 1) - positions, positions)
    for k in range(256):
        total = np.sum(window * wave[positions] * np.exp(-2j * np.pi * k * (136 + np.arange(240)) / 512))
        column[k] = 10 * math.log10(max(abs(total) ** 2, 1e-10))
    return column


def _grid(wave: np.ndarray) -> np.ndarray:
    return np.stack([_column(wave, t) for t in range(len(wave) // 120 + 1)], axis=1)


def test_columns_equal_the_fourier_sum() -> None:
    wave = _noise(SEGMENT).numpy().astype(np.float64)
    got = log_spectrogram(torch.as_tensor(wave), settings=SpectrogramSettings(**RAW))
    assert got.shape == (1, 256, 121) and got.dtype == torch.float32
    for t in (0, 1, 60, 119, 120):
        np.testing.assert_allclose(got[0, :, t].numpy(), _column(wave, t), atol=0.02)


def test_a_tone_lies_in_its_row_counted_from_the_lowest_frequency() -> None:
    time = torch.arange(SEGMENT) / RATE
    for frequency in (375.0, 3000.0, 9000.0):
        picture = log_spectrogram(torch.sin(2 * math.pi * frequency * time))[0]
        assert int(picture.mean(1).argmax()) == round(frequency * 512 / RATE)


def test_time_runs_along_columns() -> None:
    wave = torch.zeros(SEGMENT)
    wave[SEGMENT // 4] = 0.5
    picture = LogSpectrogram()(wave)[0]
    assert abs(float(picture.mean(0).argmax()) / 256 - 0.25) < 0.01


def test_a_full_scale_sine_is_35_db() -> None:
    wave = torch.sin(2 * math.pi * 3000.0 * torch.arange(SEGMENT) / RATE)
    peak = log_spectrogram(wave, settings=SpectrogramSettings(**RAW)).max()
    assert float(peak) == pytest.approx(20 * math.log10(240 / 4), abs=0.05)  # half the sum of a 240-sample Hann window


def test_floor_lies_top_db_below_the_loudest_value() -> None:
    wave = torch.cat([torch.zeros(SEGMENT // 2), _noise(SEGMENT // 2)])
    own = log_spectrogram(wave, settings=SpectrogramSettings(**RAW, top_db=50.0))
    assert float(own.max() - own.min()) == pytest.approx(50.0, abs=1e-4)
    louder = log_spectrogram(wave, {"max_db": float(own.max()) + 10}, SpectrogramSettings(**RAW, top_db=50.0))
    assert float(own.max() - louder.min()) == pytest.approx(40.0, abs=1e-4)


def test_standardised_by_mean_and_standard_deviation_above_the_floor() -> None:
    wave = _noise(2, SEGMENT)
    raw = log_spectrogram(wave, settings=SpectrogramSettings(**RAW))
    settings = SpectrogramSettings(size=(256, 121))
    for own, values in zip(log_spectrogram(wave, settings=settings), raw):
        torch.testing.assert_close(own, (values - values.mean()) / values.std(correction=0), rtol=1e-4, atol=1e-4)
    given = log_spectrogram(wave, {"max_db": 60.0, "mean": -20.0, "std": 7.0}, settings)
    torch.testing.assert_close(given, (raw.clamp_min(-20.0) + 20.0) / 7.0, rtol=1e-5, atol=1e-5)


def test_resize_is_linear_interpolation_between_pixel_centres() -> None:
    wave = _noise(SEGMENT)
    grid = log_spectrogram(wave, settings=SpectrogramSettings(**RAW))[0].double().numpy()
    picture = log_spectrogram(wave, settings=SpectrogramSettings(normalise="none"))[0].numpy()
    places = np.clip((np.arange(256) + 0.5) * 121 / 256 - 0.5, 0, 120)
    expected = np.stack([np.interp(places, np.arange(121), row) for row in grid])
    np.testing.assert_allclose(picture, expected, atol=1e-3)


def test_shrinking_averages_instead_of_dropping() -> None:
    tiny = log_spectrogram(_noise(SEGMENT), settings=SpectrogramSettings(size=(32, 32)))
    full = log_spectrogram(_noise(SEGMENT))
    assert float(tiny.std()) < 0.6 * float(full.std())  # independent noise cells: an average has less spread


def test_int16_is_the_same_sound() -> None:
    samples = (_noise(2, SEGMENT) * 32768).clamp(-32768, 32767).to(torch.int16)
    expected = log_spectrogram(samples.double() / 32768)
    torch.testing.assert_close(log_spectrogram(samples), expected, rtol=0, atol=0)
    torch.testing.assert_close(log_spectrogram(samples.numpy()), expected, rtol=0, atol=0)


def test_a_batch_is_its_segments_one_by_one() -> None:
    wave = _noise(3, 2, SEGMENT) * torch.tensor([1.0, 0.1, 0.01]).reshape(3, 1, 1)
    batch = log_spectrogram(wave)
    assert batch.shape == (3, 2, 1, 256, 256)
    for i in range(3):
        for k in range(2):
            torch.testing.assert_close(batch[i, k], log_spectrogram(wave[i, k]), rtol=1e-4, atol=1e-4)


def test_statistics_of_a_batch_belong_to_the_first_axes() -> None:
    wave = _noise(2, 2, SEGMENT)  # B == K, so that aligning the last axes would pass unseen
    numbers = {"max_db": [20.0, 60.0], "mean": [0.0, 5.0], "std": [4.0, 9.0]}
    statistics = {name: torch.tensor(values) for name, values in numbers.items()}
    batch = log_spectrogram(wave, statistics)
    for i in range(2):
        alone = {name: float(value[i]) for name, value in statistics.items()}
        torch.testing.assert_close(batch[i], log_spectrogram(wave[i], alone), rtol=1e-4, atol=1e-4)
    with_axis = {name: value[:, None] for name, value in statistics.items()}
    torch.testing.assert_close(log_spectrogram(wave, with_axis), batch, rtol=0, atol=0)


def test_gain_of_the_microphone_vanishes_and_loudness_within_a_scan_stays() -> None:
    scan = _scan()
    quiet_part, loud_part = scan[13000 : 13000 + 9600], scan[24000 : 24000 + 9600]
    statistics, halved = spectrogram_statistics(scan), spectrogram_statistics(scan / 8)
    quiet, loud = log_spectrogram(quiet_part, statistics), log_spectrogram(loud_part, statistics)
    assert float(loud.mean() - quiet.mean()) > 1.5
    torch.testing.assert_close(log_spectrogram(quiet_part / 8, halved), quiet, rtol=1e-3, atol=1e-3)
    own = log_spectrogram(quiet_part).mean() - log_spectrogram(loud_part).mean()
    assert abs(float(own)) < 0.05  # a segment's own statistics erase the difference


def test_whole_scan_statistics_equal_the_plain_computation() -> None:
    wave = np.concatenate([_noise(6000).numpy(), 1e-5 * _noise(6001, seed=3).numpy()]).astype(np.float64)
    got = spectrogram_statistics(wave, top_db=60.0, block_seconds=0.07)
    grid = _grid(wave)
    clamped = np.maximum(grid, grid.max() - 60.0)
    assert (clamped > grid).any()
    assert got["max_db"] == pytest.approx(grid.max(), abs=1e-3)
    assert got["mean"] == pytest.approx(clamped.mean(), abs=2e-3)
    assert got["std"] == pytest.approx(clamped.std(), abs=2e-3)
    np.testing.assert_allclose(got["band_mean"], clamped.mean(1), atol=0.01)
    np.testing.assert_allclose(got["band_std"], clamped.std(1), atol=0.01)


@pytest.mark.parametrize("n", [257, 12345, 24000, 24119])
def test_blocks_do_not_change_the_statistics(n: int) -> None:
    wave = _scan(1.01)[:n]
    whole = spectrogram_statistics(wave, block_seconds=1e6)
    for block_seconds in (0.005, 0.1, 0.33):
        blocks = spectrogram_statistics(wave, block_seconds=block_seconds)
        assert blocks["max_db"] == whole["max_db"]
        for name in ("mean", "std", "band_mean", "band_std"):
            np.testing.assert_allclose(blocks[name], whole[name], rtol=1e-10)
    raw = SpectrogramSettings(normalise="none", size=(256, n // 120 + 1))
    assert float(log_spectrogram(wave, settings=raw).max()) == whole["max_db"]


def test_statistics_standardise_their_scan_and_survive_json() -> None:
    scan = (_scan() * 32767).to(torch.int16)
    statistics = json.loads(json.dumps(spectrogram_statistics(scan.numpy())))
    columns = scan.shape[0] // 120 + 1
    for normalise, axes in (("scan", (-2, -1)), ("band", (-1,))):
        picture = log_spectrogram(scan, statistics, SpectrogramSettings(size=(256, columns), normalise=normalise))
        assert float(picture.mean(axes).abs().max()) < 1e-3
        assert float((picture.std(axes, correction=0) - 1).abs().max()) < 1e-3


def test_band_statistics_under_either_name_and_per_scan() -> None:
    wave = _noise(2, 3, SEGMENT)
    settings = SpectrogramSettings(normalise="band")
    each = [spectrogram_statistics(wave[i].flatten()) for i in range(2)]
    stacked = {
        "max_db": torch.tensor([s["max_db"] for s in each]),
        "mean": torch.tensor([s["band_mean"] for s in each]),
        "std": torch.tensor([s["band_std"] for s in each]),
    }
    batch = log_spectrogram(wave, stacked, settings)
    for i in range(2):
        torch.testing.assert_close(batch[i], log_spectrogram(wave[i], each[i], settings), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalise", ["scan", "band"])
def test_silence_gives_zeros(normalise: str) -> None:
    silence = torch.zeros(SEGMENT, dtype=torch.int16)
    settings = SpectrogramSettings(normalise=normalise)
    assert not log_spectrogram(silence, settings=settings).any()
    statistics = spectrogram_statistics(silence)
    assert statistics["max_db"] == pytest.approx(-100.0) and statistics["std"] == 0.0
    assert not log_spectrogram(silence, statistics, settings).any()


def test_a_band_silent_in_the_scan_stays_bounded() -> None:
    """A segment's reflected edge spreads over all bands; a band that the scan never filled must not explode."""
    time = torch.arange(3 * RATE) / RATE
    scan = torch.sin(2 * math.pi * 500.0 * time)
    picture = log_spectrogram(
        scan[1000 : 1000 + SEGMENT], spectrogram_statistics(scan), SpectrogramSettings(normalise="band")
    )
    assert float(picture.abs().max()) <= 80.0


def test_log_frequency_rows() -> None:
    time = torch.arange(SEGMENT) / RATE
    settings = SpectrogramSettings(freq_scale="log")
    for frequency in (600.0, 2400.0, 9600.0):
        picture = log_spectrogram(torch.sin(2 * math.pi * frequency * time), settings=settings)
        assert picture.shape == (1, 256, 256)
        expected = 255 * math.log(frequency / (RATE / 512)) / math.log(255)
        assert abs(int(picture[0].mean(1).argmax()) - expected) <= 2
    raw = SpectrogramSettings(normalise="none", freq_scale="log")
    steady = log_spectrogram(_noise(SEGMENT), {"max_db": 200.0}, raw)
    torch.testing.assert_close(steady, torch.full_like(steady, 120.0))  # every row is an average: a constant stays


def test_float32_under_autocast_and_in_inference_mode() -> None:
    wave = _noise(2, SEGMENT)
    settings = SpectrogramSettings(freq_scale="log", win_length=239)  # a window and weights that no other test has made
    with torch.inference_mode():
        first = log_spectrogram(wave, settings=settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        second = log_spectrogram(wave, settings=settings)
    assert second.dtype == torch.float32
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    wave.requires_grad_()
    log_spectrogram(wave, settings=settings).square().mean().backward()
    assert wave.grad is not None and bool(wave.grad.isfinite().all())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu() -> None:
    scan = _scan()
    wave, statistics = scan.unfold(0, SEGMENT, 7000), spectrogram_statistics(scan)
    got = log_spectrogram(wave.cuda(), statistics)
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), log_spectrogram(wave, statistics), rtol=1e-2, atol=1e-2)


def test_windows_follow_the_sample_rate() -> None:
    assert (SpectrogramSettings().window, SpectrogramSettings().hop, SpectrogramSettings().bands) == (240, 120, 256)
    assert (SpectrogramSettings(16000).window, SpectrogramSettings(16000).hop) == (160, 80)
    assert LogSpectrogram(sample_rate=16000)(_noise(9600)).shape == (1, 256, 256)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"freq_scale": "mel"}, "freq_scale"),
        ({"normalise": "snippet"}, "normalise"),
        ({"size": (0, 256)}, "size"),
        ({"sample_rate": 96000}, "960 samples must fit into n_fft 512"),
        ({"hop_length": 0}, "step"),
        ({"top_db": 0.0}, "top_db"),
    ],
)
def test_wrong_settings(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LogSpectrogram(**arguments)


def test_wrong_input_tells_both_shapes() -> None:
    transform = LogSpectrogram()
    with pytest.raises(ValueError, match="256 samples, got .3, 256."):
        transform(torch.zeros(3, 256))
    with pytest.raises(ValueError, match="int64"):
        transform(torch.zeros(SEGMENT, dtype=torch.int64))
    wave, good = torch.zeros(4, 2, SEGMENT), {"max_db": 0.0, "mean": 0.0, "std": 1.0}
    with pytest.raises(ValueError, match=r"'max_db'.*\(2,\).*\(4, 2\)"):
        transform(wave, {**good, "max_db": torch.zeros(2)})
    with pytest.raises(ValueError, match="lack 'std'"):
        transform(wave, {"max_db": 0.0, "mean": 0.0})
    with pytest.raises(ValueError, match="256 bands"):
        LogSpectrogram(normalise="band")(wave, good)
    with pytest.raises(ValueError, match=r"one scan \[N\]"):
        spectrogram_statistics(wave)
    broken = _noise(3 * RATE)
    broken[-1] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        spectrogram_statistics(broken, block_seconds=0.5)


def test_dictionary_twin() -> None:
    wave = _noise(2, SEGMENT)
    statistics = spectrogram_statistics(wave.flatten())
    expected = LogSpectrogram()(wave, statistics)
    data: dict[Any, Any] = {"pos": MetaTensor(wave), "neg": wave.numpy(), "statistics": statistics}
    data |= {f"speech_{name}": torch.tensor(statistics[name]) for name in ("max_db", "mean", "std")}
    by_dictionary = Compose([LogSpectrogramd(["pos", "neg"], statistics_keys="statistics")])(data)
    names = {name: f"speech_{name}" for name in ("max_db", "mean", "std")}
    by_keys = LogSpectrogramD(["pos", "absent"], statistics_keys=names, allow_missing_keys=True)(data)
    for got in (by_dictionary["pos"], by_dictionary["neg"], by_keys["pos"]):
        assert type(got) is torch.Tensor
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert data["neg"] is by_keys["neg"] and data["pos"].shape == (2, SEGMENT)  # the input is left alone
    own = LogSpectrogramDict("pos", normalise="none")(data)["pos"]
    torch.testing.assert_close(own, log_spectrogram(wave, settings=SpectrogramSettings(normalise="none")))


def test_from_a_configuration() -> None:
    config = {"_target_": "monai_usspeech.transforms.spectrogram.LogSpectrogram", "size": [64, 96], "top_db": 60.0}
    transform = ConfigParser({"spectrogram": config}).get_parsed_content("spectrogram")
    assert transform(_noise(SEGMENT)).shape == (1, 64, 96)


def test_real_speech_stands_out_from_its_pauses(real_data: Path) -> None:
    """Voiced frames of a real recording are above the scan's mean, its quietest 0.6 s below, on one scale."""
    av = pytest.importorskip("av")
    with av.open(str(real_data / "speech" / "jfk.flac")) as container:
        resampler = av.AudioResampler("s16", "mono", RATE)
        blocks = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    wave = np.concatenate(blocks)
    statistics = spectrogram_statistics(wave)
    segments = torch.as_tensor(wave).unfold(0, SEGMENT, SEGMENT)
    pictures = log_spectrogram(segments, statistics)
    assert bool(pictures.isfinite().all())
    order = segments.float().square().mean(1).argsort()
    level = pictures.mean((1, 2, 3))
    assert float(level[order[0]]) < -0.2 < 0.2 < float(level[order[-1]])
