# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from monai_usspeech.data.files import InputError
from monai_usspeech.data.retrieval_pairs import RetrievalDataset
from monai_usspeech.data.splits import SubjectSplit
from monai_usspeech.handlers.embedding_export import EmbeddingExportHandler
from tests.data.store_factory import make_store


class Streams(nn.Module):
    """An embedding that is a number of the item: what is written can be told apart."""

    def __init__(self, paired: bool = True, value: float = 1.0) -> None:
        super().__init__()
        self.paired, self.value = paired, nn.Parameter(torch.tensor(value))

    def forward(self, item: torch.Tensor):
        video = self.value * nn.functional.one_hot(item, 64).float()
        return {"video": video[:, None], "speech": 2 * video[:, None]} if self.paired else video


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> RetrievalDataset:
    folder = tmp_path_factory.mktemp("export") / "store"
    return RetrievalDataset(make_store(folder, n_scans=3, seconds=20.0, size=16, planes=True))


def export(folder: Path, dataset: RetrievalDataset, network: nn.Module, **options) -> dict:
    handler = EmbeddingExportHandler(str(folder), dataset, **options)
    evaluator = SupervisedEvaluator(
        "cpu",
        DataLoader(dataset, batch_size=4),
        network,
        prepare_batch=lambda batch, *rest, **more: (batch["item"], None),
        val_handlers=[handler],
        decollate=False,
    )
    evaluator.run()
    return json.loads((folder / "results.json").read_text())


def test_what_is_written_belongs_together(dataset, tmp_path):
    split = SubjectSplit(("p7",), ("p8",), dataset.subjects)
    results = export(tmp_path / "run", dataset, Streams(), split=split, settings={"method": "ours"})
    number = len(dataset)
    with np.load(tmp_path / "run" / "embeddings.npz") as arrays:
        assert arrays["video"].shape == arrays["speech"].shape == (number, 64)
        assert arrays["video"].argmax(1).tolist() == list(range(number))
        assert arrays["video"].dtype == np.float32 and arrays["plane"].dtype == np.int64
        for item in range(number):
            assert (arrays["subject"][item], arrays["scan"][item], arrays["time"][item]) == dataset.describe(item)
            assert arrays["plane"][item] == int(dataset[item]["plane"])
    assert results["task"] == "retrieval" and results["metrics"]["video_to_speech_r1"] == 1.0
    assert results["counts"] == {"n": number, "frames": number, "scans": 3, "subjects": 3}
    assert results["subjects"]["test"] == ["p000", "p001", "p002"] and results["settings"] == {"method": "ours"}
    assert results["details"]["chance"]["r1"] == pytest.approx(1 / number)
    with Image.open(tmp_path / "run" / "embedding.png") as picture:
        assert picture.format == "PNG" and picture.width > 700


def test_features_alone_have_no_scores(dataset, tmp_path):
    results = export(tmp_path, dataset, Streams(paired=False))
    assert len(results["metrics"]) == 10 and set(results["metrics"].values()) == {None}
    assert results["details"]["chance"] is None
    with np.load(tmp_path / "embeddings.npz") as arrays:
        assert "speech" not in arrays and arrays["video"].shape == (len(dataset), 64)


def test_embeddings_that_are_not_finite_are_named(dataset, tmp_path):
    with pytest.raises(InputError, match="video embeddings are not finite"):
        export(tmp_path, dataset, Streams(value=float("nan")))
    assert not (tmp_path / "embeddings.npz").exists()


def test_a_mistyped_similarity_is_told_the_nearest(dataset, tmp_path):
    with pytest.raises(InputError, match='Did you mean "cosine"'):
        EmbeddingExportHandler(str(tmp_path), dataset, similarity="cosin")
