# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""
Time of a log-spectrogram picture against its peers, all in one process, as a markdown table.

Peers: the same picture put together from ``torchaudio.transforms`` (Spectrogram, AmplitudeToDB, standardise, resize),
and ``torch.stft`` alone, the part that nobody can leave out. Also the time of a 30-minute scan's statistics.

    python benchmarks/spectrogram.py --threads 1
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from monai_usspeech.transforms.spectrogram import LogSpectrogram, spectrogram_statistics

RATE = 24000
SEGMENT = 14400  # 0.6 s


def torchaudio_picture(device: torch.device) -> Callable[[Tensor], Tensor]:
    """The picture by torchaudio's transforms, with the same numbers of a scan."""
    spectrogram = torchaudio.transforms.Spectrogram(n_fft=512, win_length=240, hop_length=120, power=2.0).to(device)
    to_decibels = torchaudio.transforms.AmplitudeToDB("power").to(device)

    def picture(wave: Tensor) -> Tensor:
        values = to_decibels(spectrogram(wave)[..., :256, :]).clamp_min(-60.0)
        return F.interpolate(((values + 20.0) / 12.0).unsqueeze(-3), size=(256, 256), mode="bilinear")

    return picture


def stft_only(device: torch.device) -> Callable[[Tensor], Tensor]:
    """The complex transform alone."""
    window = torch.hann_window(240, device=device)
    return lambda wave: torch.stft(wave, 512, 120, 240, window, return_complex=True)


def seconds(functions: list[Callable[[Tensor], Tensor]], wave: Tensor, repeats: int) -> list[float]:
    """Median time of one call of each; they take turns, so that a busy machine slows all alike. Two rounds warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats + 2):
        for function, taken in zip(functions, times):
            begin = time.perf_counter()
            function(wave)
            if wave.is_cuda:
                torch.cuda.synchronize(wave.device)
            taken.append(time.perf_counter() - begin)
    return [statistics.median(taken[2:]) for taken in times]


def row(device: torch.device, batch: int, repeats: int) -> str:
    """One line of the table: times for each segment of 0.6 s, and ours as a multiple of each peer's."""
    wave = 0.1 * torch.randn(batch, SEGMENT, device=device)
    transform, scan = LogSpectrogram(), {"max_db": 20.0, "mean": -20.0, "std": 12.0}
    peer = torchaudio_picture(device)
    torch.testing.assert_close(transform(wave, scan), peer(wave), rtol=1e-3, atol=1e-3)
    calls = [lambda x: transform(x, scan), peer, stft_only(device)]
    ours, theirs, least = (taken / batch * 1e3 for taken in seconds(calls, wave, repeats))
    cells = (device.type, batch, *(f"{x:.3g}" for x in (ours, theirs, ours / theirs, least, ours / least)))
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="time of a log-spectrogram picture against its peers")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 128], help="segments in one call")
    parser.add_argument("--repeats", type=int, default=20, help="calls of which the median is taken")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--scan-minutes", type=float, default=30.0, help="length of the scan for the statistics")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    devices = [torch.device("cpu")] + ([torch.device("cuda")] if torch.cuda.is_available() else [])

    print(
        f"torch {torch.__version__}, torchaudio {torchaudio.__version__}, {platform.machine()}, "
        f"{arguments.threads} CPU thread(s); ms for each 0.6 s segment, median of {arguments.repeats} calls\n"
    )
    print("| device | batch | LogSpectrogram | torchaudio.transforms | ratio | torch.stft alone | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for device in devices:
        for batch in arguments.batches:
            print(row(device, batch, arguments.repeats), flush=True)

    scan = (3000 * torch.randn(round(arguments.scan_minutes * 60 * RATE))).clamp(-32768, 32767).to(torch.int16)
    begin = time.perf_counter()
    spectrogram_statistics(scan)
    print(f"\nStatistics of a {arguments.scan_minutes:g}-minute scan: {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
