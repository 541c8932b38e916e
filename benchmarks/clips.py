# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Training samples per second of ClipDataset beside a plain read loop and MONAI's PersistentDataset, in one process.

    python benchmarks/clips.py [--scans 4] [--seconds 60] [--size 288] [--items 400]

All take 2 + 4 frames and 4 windows of 0.6 s of speech for each sample, in batches of 32, from files in the page cache.

- plain loop: ``os.pread`` of as many frames and windows at random places; nothing drawn, nothing checked. The floor.
- PersistentDataset: one cached file per clip (20 frames, its speech and that of its neighbours), and a random transform
  that picks from it, draws the same augmentation and order, and judges the order as ClipDataset does. It checks no
  checksum and applies no voice gate.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import PersistentDataset
from monai.transforms import Compose, RandomizableTransform, Transform
from torch.utils.data import default_collate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from monai_usspeech.data.batches import ClipBatchSampler
from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.data.store import ScanStore
from monai_usspeech.transforms.augmentation import draw_augmentation
from monai_usspeech.transforms.order import draw_order, order_decidable, order_label
from tests.data.store_factory import make_store

BATCH, WINDOW, PEER = 32, 14400, "MONAI PersistentDataset"


class LoadClip(Transform):
    """What a MONAI pipeline would cache for a clip: its frames, and the speech of the clip and its eight neighbours."""

    def __init__(self, store: ScanStore) -> None:
        self.store = store

    def __call__(self, item: dict[str, int]) -> dict[str, Any]:
        scan, clip = self.store.scans[item["scan"]], item["clip"]
        frames = scan.read_frames(range(20 * clip, 20 * clip + 20))
        speech = scan.read_speech(2.0 * clip - 8, 18 * 24000)
        return {"frames": torch.from_numpy(frames)[None], "speech": torch.from_numpy(speech)}


class PickPairs(RandomizableTransform):
    """Pick the frames and windows of a sample from a cached clip."""

    def randomize(self, data: Any = None) -> None:
        self.frames = self.R.randint(20, size=6)
        shifts = self.R.choice([-4, -3, -2, -1, 1, 2, 3, 4], size=2)
        self.starts = 24000 * 8 + np.concatenate([[0, 0], 48000 * shifts]) + self.R.randint(33600, size=4)
        self.order = draw_order(self.R)
        self.drawn = {"frames": draw_augmentation(self.R, 2), "order_frames": draw_augmentation(self.R, 4)}

    def __call__(self, item: dict[str, torch.Tensor]) -> dict[str, Any]:
        self.randomize()
        windows = torch.stack([item["speech"][s : s + WINDOW] for s in self.starts])
        frames = item["frames"][0, self.frames, None]
        return {
            "frames": frames[:2],
            "order_frames": frames[2:][self.order],
            "order_label": order_label(self.order),
            "order_valid": order_decidable(frames[2:, ..., ::3, ::3]),
            "speech_pos": windows[:2],
            "speech_neg": windows[2:],
            **{f"{name}_{key}": value for name, drawn in self.drawn.items() for key, value in drawn.items()},
        }


def plain_reader(store: ScanStore) -> Callable[[int], dict[str, np.ndarray]]:
    """Read samples of a raw store at random places, and do nothing else."""
    handles = [tuple(os.open(s.path / name, os.O_RDONLY) for name in ("frames.bin", "speech.pcm")) for s in store]
    height, width = store.scans[0].size
    count, samples, rng = store.scans[0].n_frames, int(store.scans[0].duration * 24000), np.random.RandomState(0)

    def read(number: int) -> dict[str, np.ndarray]:
        frames_file, speech_file = handles[number % len(handles)]
        size = height * width
        frames = [os.pread(frames_file, size, size * int(i)) for i in rng.randint(count, size=6)]
        speech = [os.pread(speech_file, 2 * WINDOW, 2 * int(i)) for i in rng.randint(samples - WINDOW, size=4)]
        pictures = np.frombuffer(bytearray().join(frames), np.uint8).reshape(6, 1, height, width)
        return {"frames": pictures, "speech": np.frombuffer(bytearray().join(speech), np.int16).reshape(4, WINDOW)}

    return read


def rate(batch: Callable[[list[tuple[int, int]]], Any], n_clips: int, items: int, repeats: int = 3) -> float:
    """Samples per CPU second, the best of some passes (other work on the machine only slows a pass down)."""
    sampler, best = ClipBatchSampler(n_clips, BATCH), 0.0
    for _ in range(repeats + 1):  # the first pass warms caches
        begin, done = time.process_time(), 0
        while done < items:
            for indices in sampler:
                batch(indices)
                done += len(indices)
        best = max(best, done / (time.process_time() - begin))
    return best


def measure(folder: Path, options: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Samples per CPU second, and MB on disk per clip."""
    rates: dict[str, float] = {}
    for codec in ("raw", "jpeg"):
        make_store(folder / codec, options.scans, options.seconds, size=options.size, codec=codec)
        dataset = ClipDataset(folder / codec, augment={})
        rates[f"ClipDataset, {codec}"] = rate(
            lambda batch, d=dataset: default_collate(d.__getitems__(batch)), len(dataset), options.items
        )
    store, n_clips = ScanStore(folder / "raw"), len(dataset)
    read = plain_reader(store)
    rates["plain loop, raw"] = rate(lambda b: default_collate([read(i) for _, i in b]), n_clips, options.items)
    items = [dict(zip(("scan", "clip"), dataset.locate(i))) for i in range(n_clips)]
    peer = PersistentDataset(items, Compose([LoadClip(store), PickPairs()]), cache_dir=folder / "cache")
    rates[PEER] = rate(lambda b: default_collate([peer[i] for _, i in b]), n_clips, options.items)
    size = {
        name: sum(file.stat().st_size for file in (folder / place).rglob("*") if file.is_file()) / n_clips / 1e6
        for name, place in zip(rates, ("raw", "jpeg", "raw", "cache"))
    }
    return rates, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("scans", 4), ("seconds", 60), ("size", 288), ("items", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rates, size = measure(Path(folder), options)
    print("| | samples / CPU s | ms / sample | relative to PersistentDataset | MB on disk / clip |")
    print("|---|---|---|---|---|")
    for name, value in rates.items():
        print(f"| {name} | {value:.0f} | {1000 / value:.2f} | {value / rates[PEER]:.2f} | {size[name]:.2f} |")


if __name__ == "__main__":
    main()
