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
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch.utils.data import DataLoader

from monai_usspeech.data.annotations import PLANES
from monai_usspeech.data.plane_frames import PlaneDataset
from monai_usspeech.data.splits import subject_split
from monai_usspeech.engines.prepare_frames import PrepareFrameBatch
from monai_usspeech.handlers.classification_results import ClassificationResultsHandler
from tests.data.store_factory import make_store


class Guess(torch.nn.Module):
    """Logits that depend on the picture in no sensible way, but always in the same."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.randn(64, 14, generator=torch.Generator().manual_seed(0))

    def forward(self, image):
        return torch.nn.functional.avg_pool2d(image, 4).flatten(1) @ self.mix


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planes")
    store = make_store(folder / "store", n_scans=4, seconds=6.0, size=32, planes=True)
    split = subject_split(store, require="planes")
    dataset = PlaneDataset(store, subjects=split.test)
    handler = ClassificationResultsHandler(str(folder / "run"), dataset, split, {"mode": "probe"})
    evaluator = SupervisedEvaluator(
        "cpu", DataLoader(dataset, batch_size=7), Guess(), prepare_batch=PrepareFrameBatch(32, "label"),
        val_handlers=[handler], decollate=False)  # fmt: skip
    evaluator.run()
    return folder / "run", dataset, split, evaluator


def rows(folder):
    with open(folder / "predictions.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_frame_is_in_the_table_with_its_true_plane(evaluated):
    folder, dataset, split, _ = evaluated
    table = rows(folder)
    assert len(table) == len(dataset)
    for item, row in enumerate(table):
        subject, scan, time = dataset.describe(item)
        assert (row["subject"], row["scan"], float(row["time"])) == (subject, scan, pytest.approx(time, abs=1e-4))
        assert row["label"] == PLANES[int(dataset.labels[item])]
    assert {row["subject"] for row in table} <= set(split.test)


def test_the_scores_are_those_of_the_table(evaluated):
    folder, _, split, evaluator = evaluated
    table, results = rows(folder), json.loads((folder / "results.json").read_text())
    true, guessed = ([row[name] for row in table] for name in ("label", "predicted"))
    present = sorted({*true, *guessed})
    scores = precision_recall_fscore_support(true, guessed, labels=present, average="macro", zero_division=0)
    for name, value in zip(("precision", "recall", "f1"), scores):
        assert results["metrics"][name] == pytest.approx(value, abs=1e-12)
        assert evaluator.state.metrics[name] == results["metrics"][name]
    expected = confusion_matrix(true, guessed, labels=list(PLANES))
    assert np.array_equal(results["details"]["confusion"], expected)
    assert results["counts"]["frames"] == len(table)
    assert results["subjects"]["test"] == list(split.test) and results["settings"] == {"mode": "probe"}


def test_a_class_without_frames_and_guesses_is_null(evaluated):
    details = json.loads((evaluated[0] / "results.json").read_text())["details"]
    confusion = np.array(details["confusion"])
    absent = (confusion.sum(0) + confusion.sum(1)) == 0
    assert absent.any() and not absent.all()
    assert [value is None for value in details["per_class"]["f1"]] == absent.tolist()


def test_the_confusion_matrix_is_drawn(evaluated):
    with Image.open(evaluated[0] / "confusion.png") as picture:
        assert min(picture.size) > 300


def test_the_accuracy_of_a_class_is_that_against_the_rest(evaluated):
    table, details = rows(evaluated[0]), json.loads((evaluated[0] / "results.json").read_text())["details"]
    for name, accuracy in zip(PLANES, details["per_class"]["accuracy"]):
        agree = [(row["label"] == name) == (row["predicted"] == name) for row in table]
        occurs = any(name in (row["label"], row["predicted"]) for row in table)
        assert accuracy == (pytest.approx(np.mean(agree)) if occurs else None)


class Pictures:
    """Items of an image set: two groups, each with a file of the same name."""

    def __len__(self):
        return 6

    def __getitem__(self, item):
        image = torch.full((1, 32, 32), 10 * item, dtype=torch.uint8)
        return {"image": image, "label": torch.tensor(item % 3), "item": torch.tensor(item)}

    def describe(self, item):
        return f"patient {item % 2}", "1.png", 0.0


def evaluate(folder, classes, **arguments):
    handler = ClassificationResultsHandler(str(folder), Pictures(), classes=classes, task="image_set", **arguments)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 3))
    SupervisedEvaluator(
        "cpu", DataLoader(Pictures(), batch_size=4), network, prepare_batch=PrepareFrameBatch(32, "label"),
        val_handlers=[handler], decollate=False).run()  # fmt: skip
    return json.loads((folder / "results.json").read_text())


def test_an_image_set_is_recorded_under_its_own_classes_with_its_protocol(tmp_path, caplog):
    found = evaluate(tmp_path, ("x", "y", "z"), details={"protocol": "clean", "selection": "last"})
    assert found["task"] == "image_set" and found["details"]["classes"] == ["x", "y", "z"]
    assert found["details"]["protocol"] == "clean" and "warning" not in found["details"]
    assert found["counts"] == {"frames": 6, "scans": 2, "subjects": 2}  # one name in two groups is two files
    assert {row["label"] for row in rows(tmp_path)} == {"x", "y", "z"}
    details = {"protocol": "hico_code", "selection": "best_test_epoch"}
    assert "optimistic" in evaluate(tmp_path, ("x", "y", "z"), details=details)["details"]["warning"]
    assert "optimistic" in caplog.text


def test_names_of_another_number_of_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="answers for 3 classes, and 2 have names"):
        evaluate(tmp_path, ("x", "y"))
