# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""Pretrain, then retrieve: the shipped configurations end to end on a store that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_usspeech.data.splits import subject_split
from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store
from tests.integration.pretraining import CPU, row, workflow
from tests.integration.shipped import input_error

RETRIEVAL = "configs/downstream/retrieval.json"
SMALL: dict[str, Any] = {"network_def#backbone": "se_resnext_small", "size": 32, "num_workers": 0, "batch_size": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("retrieval") / "store", n_scans=6, seconds=16.0, size=40, planes=True)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights by method, none of which has seen a test subject of fold 0."""
    held_out = list(subject_split(store).test)
    folder = tmp_path_factory.mktemp("weights")
    for method in ("plus", "video"):
        other = {"voice_activity": "energy", "speech_share": 0.25} if method == "plus" else {}
        training = workflow(store, folder / method, row(method), CPU, exclude_subjects=held_out, max_epochs=1, **other)
        training.initialize()
        training.run()
    return {method: folder / method / "model.pt" for method in ("plus", "video")}


def evaluate(store: Path, output: Path, **settings: Any) -> dict[str, Any]:
    evaluation = ConfigWorkflow(
        config_file=str(REPOSITORY / RETRIEVAL),
        workflow_type="infer",
        run_id="evaluating",
        logging_file=False,
        dataset_dir=str(store),
        output_dir=str(output),
        **{**SMALL, **settings},
    )
    evaluation.initialize()
    evaluation.run()
    return json.loads((output / "results.json").read_text())


def test_retrieval_on_held_out_scans(store, trained, tmp_path):
    results = evaluate(store, tmp_path / "a", initialisation=str(trained["plus"]))
    again = evaluate(store, tmp_path / "b", initialisation=str(trained["plus"]), batch_size=5)
    test = list(subject_split(store).test)
    assert results["subjects"]["test"] == test
    with np.load(tmp_path / "a" / "embeddings.npz") as one, np.load(tmp_path / "b" / "embeddings.npz") as two:
        number, dim = one["video"].shape
        assert number == results["counts"]["n"] > 5 and dim == 128
        assert sorted(set(one["subject"])) == test
        # No dropout, no statistics of the batch: an embedding is that of its item alone.
        assert np.allclose(one["video"], two["video"], atol=1e-5) and np.array_equal(one["time"], two["time"])
    assert results["details"]["chance"]["median_rank"] == (number + 1) / 2
    for name, value in results["metrics"].items():
        assert 0 <= value <= (number if name.endswith("rank") else 1)
        assert value == pytest.approx(again["metrics"][name], abs=1.0 if name.endswith("rank") else 0.2)
    assert (tmp_path / "a" / "embedding.png").is_file()


def test_speech_is_heard_as_in_training(store, trained, tmp_path):
    """Windows and levels are those of the weights, unless others are given."""
    wanted = {"window_seconds": 1.2, "statistics": "band"}
    results = evaluate(store, tmp_path / "a", initialisation=str(trained["plus"]))
    assert {name: results["settings"][name] for name in wanted} == wanted
    given = evaluate(store, tmp_path / "b", initialisation=str(trained["plus"]), window_seconds=0.6, statistics="scan")
    assert (given["settings"]["window_seconds"], given["settings"]["statistics"]) == (0.6, "scan")
    with np.load(tmp_path / "a" / "embeddings.npz") as one, np.load(tmp_path / "b" / "embeddings.npz") as two:
        assert np.allclose(one["video"], two["video"], atol=1e-5) and not np.allclose(one["speech"], two["speech"])


def test_features_of_any_weights_become_a_picture(store, trained, tmp_path):
    results = evaluate(store, tmp_path / "video", initialisation=str(trained["video"]), embedding="features")
    assert set(results["metrics"].values()) == {None}
    random = evaluate(store, tmp_path / "random", embedding="features")
    assert random["counts"] == results["counts"]
    with np.load(tmp_path / "video" / "embeddings.npz") as one, np.load(tmp_path / "random" / "embeddings.npz") as two:
        assert one["video"].shape == two["video"].shape and not np.allclose(one["video"], two["video"])
        assert "speech" not in one


def test_the_weights_decide_the_embeddings(store, trained, tmp_path):
    weights = torch.load(trained["plus"], weights_only=True)
    weights["speech_projection.out.weight"].zero_()
    weights["speech_projection.out.bias"].fill_(1.0)
    torch.save(weights, tmp_path / "deaf.pt")  # all speech sounds the same to this network
    results = evaluate(store, tmp_path / "run", initialisation=str(tmp_path / "deaf.pt"))
    assert results["metrics"]["video_to_speech_r1"] == 0.0
    assert results["metrics"]["video_to_speech_median_rank"] == results["counts"]["n"]


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("video", {}, "has no projection"),
        ("plus", {"network_def#embedding_dim": 64}, "weights of another network"),
        ("plus", {"fold": 1}, "was trained on"),
        ("plus", {"similarity": "cosine similarity"}, 'Did you mean "cosine"'),
        ("plus", {"threshold": 2.0}, "threshold must lie in"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_a_sentence(store, trained, tmp_path, method, settings, message):
    with pytest.raises(Exception) as caught:
        evaluate(store, tmp_path, initialisation=str(trained[method]), **settings)
    assert message in input_error(caught.value)


@pytest.mark.slow
def test_the_command_writes_its_configuration_and_refuses_unknown_names(store, trained, tmp_path):
    command = [sys.executable, "-m", "monai.bundle", "run", "evaluating", "--config_file", RETRIEVAL]
    given = {**SMALL, "dataset_dir": store, "output_dir": tmp_path / "run", "initialisation": trained["plus"]}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([*command, *options], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["size"] == 32 and config["initialisation"] == str(trained["plus"])
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json",
        "embedding.png",
        "embeddings.npz",
        "results.json",
    }
    wrong = subprocess.run([*command, "--simlarity", "dot"], cwd=REPOSITORY, capture_output=True, text=True)
    assert wrong.returncode != 0 and 'Did you mean "similarity"' in wrong.stderr
