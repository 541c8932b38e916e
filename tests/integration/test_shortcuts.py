# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Guards against shortcuts: ways to solve the pretext tasks without looking at anatomy or listening to words."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_usspeech.data.clips import ClipDataset
from monai_usspeech.data.drawn_items import item_random_state
from monai_usspeech.data.store import ScanStore, ScanStoreWriter
from monai_usspeech.transforms.pair_sampling import draw_pairs
from tests.data.store_factory import speech_bursts

SECONDS = 120
EPOCHS = 12


@pytest.fixture(scope="module")
def sparse_speech(tmp_path_factory: pytest.TempPathFactory) -> ScanStore:
    """Six scans whose narration comes in spells: talk at varying loudness, and long silence with room noise."""
    root = tmp_path_factory.mktemp("sparse") / "store"
    for number in range(6):
        rng = np.random.RandomState(number)
        samples, active = speech_bursts(rng, SECONDS)
        spells = np.repeat(rng.rand(SECONDS // 3) < 0.5, 300)[: len(active)]  # half of all 3 s spells are silent
        loudness = np.repeat(rng.uniform(0.5, 1.0, SECONDS // 3), 72000)
        noise = 30 * rng.standard_normal(len(samples))
        with ScanStoreWriter(root, f"s{number}", codec="raw") as writer:
            for frame in range(SECONDS * 2):
                writer.add_frame(np.full((8, 8), frame % 200, np.uint8), frame / 2, frame)
            speech = samples * loudness * spells.repeat(240)
            writer.set_speech((speech + noise).astype(np.int16), (0.0, float(SECONDS)), None)
            writer.set_voice_activity("energy", active & spells)
            writer.finish({"subject": f"p{number}", "duration": float(SECONDS), "fan_box": [0, 0, 8, 8],
                           "source_size": [8, 8], "planes": []})  # fmt: skip
    return ScanStore(root)


def envelope(windows: np.ndarray) -> np.ndarray:
    """Energy in dB of the whole windows [n, 14400] and of their twelfths: [n, 13]."""
    parts = windows.reshape(len(windows), 12, -1).astype(float)
    energy = 10 * np.log10(np.square(parts).mean(-1) + 1)
    return np.column_stack([10 * np.log10(np.square(parts).mean((1, 2)) + 1), energy])


def audio_only_auc(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """How well the sound alone tells pairs: AUC of the energy, and of a classifier of the energy's course."""
    features = np.concatenate([envelope(positive), envelope(negative)])
    label = np.repeat([1, 0], [len(positive), len(negative)])
    energy = roc_auc_score(label, features[:, 0])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(model, features, label, cv=5, method="decision_function")
    return max(energy, 1 - energy), roc_auc_score(label, scores)


def test_the_energy_of_the_sound_does_not_tell_the_pair(sparse_speech):
    dataset = ClipDataset(sparse_speech, order=False)
    positive, negative = [], []
    for epoch in range(EPOCHS):
        for number in np.flatnonzero(dataset.high):
            sample = dataset[(epoch, int(number))]
            positive.append(sample["speech_pos"][sample["pair_valid"]].numpy())
            negative.append(sample["speech_neg"][sample["pair_valid"]].numpy())
    positive, negative = np.concatenate(positive), np.concatenate(negative)
    assert len(positive) > 500 and dataset.high.mean() < 0.5
    energy, course = audio_only_auc(positive, negative)
    assert energy < 0.55 and course < 0.55


def test_control_gating_the_positive_alone_tells_the_pair(sparse_speech):
    """The literal reading of the paper: only the positive is filtered. The test above must be able to see it."""
    dataset = ClipDataset(sparse_speech, order=False)
    positive, negative = [], []
    for epoch in range(3):
        for number in np.flatnonzero(dataset.high):
            scan_index, clip = dataset.locate(int(number))
            scan, covered = dataset.scans[scan_index], dataset.index.usable(None, scan_index)
            rng = item_random_state(0, epoch, int(number))
            gated, _ = dataset.draw(rng, scan_index, clip, epoch)
            free = draw_pairs(rng, clip, len(covered), usable=covered)
            positive += [scan.read_speech(start, 14400) for start in gated.positive_starts]
            negative += [scan.read_speech(start, 14400) for start in free.negative_starts]
    energy, course = audio_only_auc(np.stack(positive), np.stack(negative))
    assert energy > 0.6 and course > 0.6
