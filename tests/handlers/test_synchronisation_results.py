# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from monai_usspeech.data.files import InputError
from monai_usspeech.data.store import ScanStoreWriter
from monai_usspeech.data.synchronisation_pairs import SynchronisationDataset, synchronisation_split
from monai_usspeech.engines.two_stream_inferer import TwoStreamInferer
from monai_usspeech.handlers.synchronisation_results import SynchronisationHandler
from monai_usspeech.transforms.spectrogram import spectrogram_statistics

SECONDS, FPS, RATE = 4.0, 50, 24_000


class Levels(nn.Module):
    """Brightness of a frame and loudness of a window, on one scale; ``value`` NaN for unusable weights."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, frames: Tensor | None = None, speech_pos: Tensor | None = None) -> dict[str, Tensor]:
        name, values = ("video", frames) if speech_pos is None else ("speech", speech_pos)
        return {name: self.value * (values.flatten(2).float().abs().mean(2, keepdim=True))}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers with two utterances; brightness and loudness follow one slow random curve."""
    root = tmp_path_factory.mktemp("levels") / "store"
    for number in range(6):
        rng = np.random.RandomState(number)
        knots = rng.uniform(0.1, 1.0, 42)
        at = np.arange(round(SECONDS * RATE)) / RATE
        level = np.interp(at, np.arange(42) * 0.1, knots)
        samples = (level * 8000 * rng.choice([-1, 1], len(at))).astype(np.int16)
        with ScanStoreWriter(root, f"u{number}", codec="raw") as writer:
            for index in range(round(SECONDS * FPS)):
                grey = 250 * np.interp(index / FPS, np.arange(42) * 0.1, knots)
                writer.add_frame(np.full((16, 16), grey, np.uint8), index / FPS, index)
            writer.set_speech(samples, (0.0, SECONDS), spectrogram_statistics(samples / 32768.0))
            writer.finish({
                "subject": f"p{number // 2}", "duration": SECONDS, "fan_box": [0, 0, 16, 16], "source_size": [16, 16],
                "planes": [],
            })  # fmt: skip
    return root


def evaluate(folder: Path, store: Path, network: nn.Module, **options) -> dict:
    split = synchronisation_split(store, ["p0", "p1", "p2"])
    dataset = SynchronisationDataset(store, split.test, window_seconds=0.1)
    handler = SynchronisationHandler(str(folder), dataset, split=split, settings={"method": "x"}, **options)
    SupervisedEvaluator(
        "cpu", DataLoader(dataset, batch_size=1), network, val_handlers=[handler], decollate=False,
        inferer=TwoStreamInferer(),
        prepare_batch=lambda batch, *rest, **more: (batch["frames"], None, (), {"speech_pos": batch["speech_pos"]}),
    ).run()  # fmt: skip
    return json.loads((folder / "results.json").read_text())


def test_one_that_hears_what_it_sees_finds_every_offset(store, tmp_path):
    results = evaluate(tmp_path, store, Levels(), similarity="dot", centre=True)
    assert results["task"] == "synchronisation" and results["metrics"]["accuracy"] == 1.0
    assert results["metrics"]["median_error_ms"] < 45
    assert results["counts"]["utterances"] == results["counts"]["scans"] == 6 and results["counts"]["subjects"] == 3
    assert results["subjects"]["test"] == ["p0", "p1", "p2"] and results["settings"] == {"method": "x"}
    details = results["details"]
    assert 0.1 < details["chance"]["accuracy"] < 0.2 and details["candidates"] == {"number": 24, "step_ms": 45.0}
    assert {name: row["utterances"] for name, row in details["speakers"].items()} == {"p0": 2, "p1": 2, "p2": 2}
    with (tmp_path / "utterances.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["scan"] for row in rows] == [f"u{n}" for n in range(6)]
    assert all(abs(float(row["error_ms"])) < 125 and row["synchronised"] == "1" for row in rows)
    with np.load(tmp_path / "similarities.npz") as arrays:
        assert arrays["similarity"].shape == arrays["error"].shape == (6, 24)
        chosen = arrays["error"][np.arange(6), arrays["similarity"].argmax(1)]
        assert 1000 * chosen == pytest.approx([float(row["error_ms"]) for row in rows], rel=1e-4)
    with Image.open(tmp_path / "synchronisation.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000


def test_one_that_says_the_same_of_all_gets_nothing(store, tmp_path):
    results = evaluate(tmp_path, store, Levels())  # the cosine of positive numbers is 1 throughout
    assert results["metrics"]["accuracy"] == 0.0 and results["metrics"]["median_error_ms"] > 400


def test_unusable_weights_and_settings_are_one_sentence(store, tmp_path):
    with pytest.raises(InputError, match="not finite"):
        evaluate(tmp_path, store, Levels(float("nan")))
    with pytest.raises(InputError, match='Did you mean "cosine"'):
        SynchronisationHandler("x", SynchronisationDataset(store), similarity="cosin")
