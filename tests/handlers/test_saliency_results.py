# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from PIL import Image
from torch.utils.data import DataLoader

from monai_usspeech.data.gaze_frames import GazeDataset
from monai_usspeech.data.splits import subject_split
from monai_usspeech.engines.prepare_frames import PrepareFrameBatch
from monai_usspeech.handlers.saliency_results import SALIENCY_SCORES, SaliencyResultsHandler
from monai_usspeech.metrics import compute_shuffled_auc, other_fixations
from monai_usspeech.networks import spatial_softmax
from tests.data.store_factory import make_store


class Oracle(torch.nn.Module):
    """Predicts one fixed map, the same for every frame."""

    def __init__(self, logits) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image):
        return self.logits.expand(len(image), 1, *self.logits.shape[-2:])


def evaluate(folder, store, subjects, logits, split=None):
    dataset = GazeDataset(store, subjects=subjects, map_size=(16, 16), sigma=0.05)
    handler = SaliencyResultsHandler(str(folder), dataset, split)
    evaluator = SupervisedEvaluator(
        "cpu", DataLoader(dataset, batch_size=5), Oracle(logits), prepare_batch=PrepareFrameBatch(32, "saliency"),
        val_handlers=[handler], decollate=False)  # fmt: skip
    evaluator.run()
    with open(folder / "frames.csv", encoding="utf-8") as file:
        return dataset, evaluator, list(csv.DictReader(file)), json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("gaze") / "store", n_scans=6, seconds=4.0, size=32, gaze=True)


def test_results_are_means_of_the_frames_in_the_table(tmp_path, store):
    split = subject_split(store, require="gaze")
    logits = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
    dataset, evaluator, table, results = evaluate(tmp_path, store, split.test, logits, split)
    assert len(table) == len(dataset) == results["counts"]["frames"]
    for name in SALIENCY_SCORES:
        values = [float(row[name]) for row in table if row[name]]
        assert results["metrics"][name] == pytest.approx(np.mean(values), rel=1e-4)
        assert results["details"]["defined"][name] == len(values) > 0
        assert evaluator.state.metrics[name] == pytest.approx(results["metrics"][name])
    assert results["subjects"]["test"] == list(split.test)


def test_a_uniform_map_scores_as_chance(tmp_path, store):
    _, _, _, results = evaluate(tmp_path, store, None, torch.zeros(16, 16))
    metrics = results["metrics"]
    assert metrics["auc_exact"] == pytest.approx(0.5) and metrics["auc_judd"] == pytest.approx(0.5)
    assert metrics["nss"] == pytest.approx(0, abs=1e-12) and metrics["cc"] == pytest.approx(0, abs=1e-12)


def test_the_negatives_of_the_shuffled_auc_are_other_scans(tmp_path, store):
    # All scans of the factory have one gaze track: what is fixated here is fixated in the other scans at other times.
    single = tmp_path / "single"
    _, _, table, results = evaluate(single, store, ["p000"], torch.randn(16, 16))
    assert results["metrics"]["shuffled_auc"] is None and all(row["shuffled_auc"] == "" for row in table)
    logits = torch.randn(16, 16, generator=torch.Generator().manual_seed(2))
    dataset, _, table, _ = evaluate(tmp_path / "all", store, None, logits)
    samples = [dataset[item] for item in range(len(dataset))]
    fixations, scans = (torch.stack([sample[key] for sample in samples]) for key in ("fixations", "scan_index"))
    pred = spatial_softmax(logits[None, None]).expand(len(samples), -1, -1)
    expected = compute_shuffled_auc(pred, fixations, other_fixations(fixations, scans))
    assert [float(row["shuffled_auc"]) for row in table] == pytest.approx(expected.tolist(), rel=1e-5)
    counts = dataset.fixation_counts()
    by_hand = np.zeros_like(counts)
    for sample in samples:
        by_hand[int(sample["scan_index"])] += sample["fixations"].numpy()
    assert np.array_equal(counts, by_hand) and counts.sum() > 0


def test_examples_are_the_same_frames_for_every_prediction(tmp_path, store):
    evaluate(tmp_path / "a", store, None, torch.randn(16, 16))
    evaluate(tmp_path / "b", store, None, torch.zeros(16, 16))
    with np.load(tmp_path / "a/examples.npz") as a, np.load(tmp_path / "b/examples.npz") as b:
        assert a["names"].tolist() == b["names"].tolist() and len(a["names"]) == 6
        assert np.array_equal(a["images"], b["images"]) and np.array_equal(a["target"], b["target"])
        assert not np.array_equal(a["prediction"], b["prediction"])
        assert a["prediction"].sum((1, 2)) == pytest.approx(1, abs=1e-5)
    with Image.open(tmp_path / "a/overlays.png") as picture:
        assert min(picture.size) > 300
