# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""From a tongue corpus to the synchronisation of held-out speakers, by the shipped configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_usspeech.data.splits import subject_split
from tests.data.store_factory import make_store
from tests.integration.pretraining import CPU, row, workflow
from tests.integration.shipped import input_error, shipped_workflow

pytestmark = pytest.mark.slow

SYNCHRONISATION = "configs/downstream/synchronisation.json"
SMALL: dict[str, Any] = {"network_def#backbone": "se_resnext_small", "size": 32, "num_workers": 0}
ENERGY = {"voice_activity": "energy"}  # the tests' store has no flags of silero


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("tongue") / "store", n_scans=6, seconds=4.0, fps=60.0, size=40)


@pytest.fixture(scope="module")
def weights(store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    held_out = list(subject_split(store).test)
    settings = {"exclude_subjects": held_out, "max_epochs": 1, **ENERGY}
    training = workflow(store, folder, row("ours"), row("tongue"), CPU, **settings)
    training.initialize()
    dataset = training.parser.get_parsed_content("train#dataset")
    assert dataset.settings.clip_seconds == 0.25 and dataset.settings.window_seconds == 0.2 and dataset.high.any()
    sample = dataset[int(np.flatnonzero(dataset.high)[0])]
    apart = sample["speech_pos_start"] + 0.1 - sample["frame_times"]
    assert bool((apart.abs() <= 0.15 + 1e-6)[sample["pair_valid"]].all())
    training.run()
    return folder / "model.pt"


def evaluate(store: Path, output: Path, **settings: Any) -> dict[str, Any]:
    given = {**SMALL, "dataset_dir": str(store), "output_dir": str(output), **settings}
    evaluation = shipped_workflow((SYNCHRONISATION,), "evaluating", given)
    evaluation.initialize()
    evaluation.run()
    return json.loads((output / "results.json").read_text())


def test_held_out_speakers_are_synchronised(store, weights, tmp_path):
    results = evaluate(store, tmp_path / "a", initialisation=str(weights))
    again = evaluate(store, tmp_path / "b", initialisation=str(weights), chunk_size=7)
    test = list(subject_split(store).test)
    assert results["subjects"]["test"] == test == sorted(results["details"]["speakers"])
    assert results["metrics"] == again["metrics"] and results["counts"]["utterances"] == 2
    assert results["settings"]["window_seconds"] == 0.2 and not results["details"]["centre"]
    with np.load(tmp_path / "a/similarities.npz") as one, np.load(tmp_path / "b/similarities.npz") as two:
        assert np.allclose(one["similarity"], two["similarity"], atol=1e-5)
    centred = evaluate(store, tmp_path / "c", initialisation=str(weights), centre=True)
    assert centred["details"]["centre"]


def test_random_weights_are_the_control(store, tmp_path):
    results = evaluate(store, tmp_path, subjects=["p000", "p003"])
    assert results["subjects"] == {"train": [], "validation": [], "test": ["p000", "p003"]}


def test_trained_speakers_and_weights_without_projection_are_refused(store, weights, tmp_path):
    seen = subject_split(store).train[0]
    with pytest.raises(RuntimeError) as error:
        evaluate(store, tmp_path / "a", initialisation=str(weights), subjects=[seen])
    assert "was trained on 1 of the test subjects" in input_error(error.value)
    video = workflow(store, tmp_path / "video", row("video"), CPU, max_epochs=1, exclude_subjects=["p000"])
    video.initialize()
    video.run()
    with pytest.raises(RuntimeError) as error:
        evaluate(store, tmp_path / "b", initialisation=str(tmp_path / "video/model.pt"), subjects=["p000"])
    assert "has no projection" in input_error(error.value)
