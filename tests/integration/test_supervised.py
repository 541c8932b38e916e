# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

"""The supervised bound: it learns from labels what the other rows learn without, and starts the same tasks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from monai_usspeech.data import subject_split
from monai_usspeech.data.files import InputError
from monai_usspeech.networks import FrameClassifier, load_initialisation
from monai_usspeech.studies import StudyCell, prove_training_sets
from monai_usspeech.studies.cells import check_cells
from tests.conftest import REPOSITORY
from tests.data.store_factory import make_store
from tests.integration import downstream
from tests.integration.pretraining import CPU, TINY, TRAIN, row, workflow
from tests.integration.shipped import input_error, run_through


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "store"
    make_store(folder, n_scans=6, seconds=16.0, size=40, planes=True, gaze=True)
    return folder


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A finished run that left out one subject."""
    output = tmp_path_factory.mktemp("supervised")
    return output, run_through(workflow(store, output, row("supervised"), CPU, exclude_subjects=["p000"]))


def test_it_learns_from_the_labels_of_all_but_the_excluded(store, trained):
    output, run = trained
    dataset = run.parser.get_parsed_content("train#dataset")
    assert "p000" not in dataset.subjects and len(dataset.subjects) == 5
    assert json.loads((output / "model.json").read_text())["subjects"] == list(dataset.subjects)
    rows = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in rows if line["kind"] == "epoch"]
    assert len(losses) == 2 and all(0 < loss < 10 for loss in losses)
    assert all(p.grad is not None for p in run.parser.get_parsed_content("network").parameters())


def test_steps_and_frames_are_those_of_a_row_with_pairs(store, trained, tmp_path):
    _, run = trained
    other = workflow(store, tmp_path, row("cm_contra"), CPU, exclude_subjects=["p000"])
    other.initialize()
    sampler, clips = (each.parser.get_parsed_content("train#batch_sampler") for each in (run, other))
    assert len(sampler) == len(clips) == 5 * 8 // TINY["batch_size"]
    frames = [item for batch in sampler for item in batch]
    n_pairs = other.parser.get_parsed_content("train#dataset").settings.n_pairs
    assert len(frames) == n_pairs * sum(len(batch) for batch in clips)
    assert (
        run.parser.get_parsed_content("train#dataset").augment
        == other.parser.get_parsed_content("train#dataset").augment
    )


def test_the_product_is_a_start_for_every_downstream_network(trained):
    output, run = trained
    path = output / "model.pt"
    network = FrameClassifier("se_resnext_small")
    head = network.head.weight.clone()
    report = load_initialisation(network, str(path))
    assert report.missing == () and set(report.untouched) == {"head.weight", "head.bias"}
    assert torch.equal(network.head.weight, head)
    learned = run.parser.get_parsed_content("network").video_stream.state_dict()
    assert all(torch.equal(value, learned[name]) for name, value in network.video_stream.state_dict().items())


@pytest.mark.parametrize("task", [downstream.PLANES, downstream.GAZE])
def test_a_task_starts_from_it(store, trained, tmp_path, task):
    output, run = trained
    fold = next(fold for fold in range(6) if subject_split(store, n_folds=6, fold=fold).test == ("p000",))
    start = {"initialisation": str(output / "model.pt"), "n_folds": 6, "fold": fold}
    started = downstream.workflow(task, store, tmp_path, **start)
    started.initialize()
    loaded = started.parser.get_parsed_content("network_def").video_stream.state_dict()
    learned = run.parser.get_parsed_content("network").video_stream.state_dict()
    assert all(torch.equal(value, learned[name]) for name, value in loaded.items())


def test_a_task_that_tests_on_whom_it_has_seen_is_refused(store, trained, tmp_path):
    output, _ = trained
    refused = 0
    for fold in range(2):
        started = downstream.workflow(
            downstream.PLANES, store, tmp_path, n_folds=2, fold=fold, initialisation=str(output / "model.pt")
        )
        with pytest.raises(Exception) as raised:  # MONAI wraps what a step raises
            started.initialize()
        refused += "p00" in input_error(raised.value)
    assert refused == 2  # each half of six subjects holds one that it has seen


def test_a_study_can_prove_what_it_learns_from(store, tmp_path):
    files = tuple(str(REPOSITORY / name) for name in (TRAIN, row("supervised"), CPU))
    values = {**TINY, "dataset_dir": str(store), "exclude_subjects": ["p000"]}
    cell = StudyCell("pretrain", "supervised", 0, 0, tmp_path, files, "training", values, "model.pt")
    check_cells([cell])
    prove_training_sets([cell])
    make_store(tmp_path / "unlabelled", n_scans=2, seconds=16.0, size=40)
    other = replace(cell, values={**values, "dataset_dir": str(tmp_path / "unlabelled")})
    with pytest.raises(InputError, match="pretrain/supervised/fold0-seed0: .* plane labels"):
        prove_training_sets([other])
