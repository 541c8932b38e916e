# Copyright (c) monai_usspeech contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from ignite.engine import Events

from monai_usspeech.data.files import InputError
from monai_usspeech.engines.weights import check_unseen
from monai_usspeech.handlers.history import HistoryHandler
from monai_usspeech.handlers.run_state import RunStateHandler, random_state, set_random_state
from tests.engines.tiny import tiny_training


class StopError(Exception):
    """Stands for a killed process."""


def training(folder, stop_at=None, epochs=3, accumulation=1, settings=None, resume=True, seed=0, every_iterations=1):
    def handlers(parts, sampler):
        history = HistoryHandler(str(folder), parts["optimizer"], every=1, draw=False)
        state = RunStateHandler(
            str(folder / "run_state.pt"),
            {**parts, "history": history},
            sampler,
            settings={"rate": 1} if settings is None else settings,
            weights=str(folder / "model.pt"),
            facts={"subjects": ["p001"]},
            every_iterations=every_iterations,
            resume=resume,
        )
        return [state, history]

    trainer, parts, _ = tiny_training(handlers, epochs, accumulation, seed=seed)

    @trainer.on(Events.EPOCH_COMPLETED)
    def schedule(engine):
        parts["lr_scheduler"].step()

    @trainer.on(Events.ITERATION_COMPLETED)
    def stop(engine):
        if engine.state.iteration == stop_at:
            raise StopError

    return trainer, parts


def run(folder, **options):
    trainer, parts = training(folder, **options)
    try:
        trainer.run()
    except StopError:
        return None
    return parts


def test_random_sources_go_on_where_they_were():
    state = random_state()
    first = (random.random(), np.random.rand(), torch.rand(3))
    set_random_state(state)
    second = (random.random(), np.random.rand(), torch.rand(3))
    assert first[:2] == second[:2]
    assert torch.equal(first[2], second[2])


@pytest.mark.parametrize("stop_at", [1, 4, 6, 7, 12, 17])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, stop_at):
    whole = run(tmp_path / "whole")
    assert run(tmp_path / "killed", stop_at=stop_at) is None
    # Another seed before loading: nothing may depend on it. (A run killed before its first state starts anew.)
    resumed = run(tmp_path / "killed", seed=99 if (tmp_path / "killed/run_state.pt").exists() else 0)
    for name, value in whole["network"].state_dict().items():
        assert torch.equal(value, resumed["network"].state_dict()[name]), name
    for one, other in zip(whole["optimizer"].state.values(), resumed["optimizer"].state.values()):
        assert torch.equal(one["momentum_buffer"], other["momentum_buffer"])
    assert whole["optimizer"].param_groups[0]["lr"] == resumed["optimizer"].param_groups[0]["lr"]
    assert (tmp_path / "whole/history.jsonl").read_text() == (tmp_path / "killed/history.jsonl").read_text()


@pytest.mark.parametrize("stop_at", [2, 3, 5, 8])
def test_with_accumulation_a_state_is_written_only_between_steps(tmp_path, stop_at):
    whole = run(tmp_path / "whole", accumulation=4)
    run(tmp_path / "killed", accumulation=4, stop_at=stop_at)
    resumed = run(tmp_path / "killed", accumulation=4)
    for name, value in whole["network"].state_dict().items():
        assert torch.equal(value, resumed["network"].state_dict()[name]), name


def test_without_iteration_saves_the_epoch_is_done_again(tmp_path):
    whole = run(tmp_path / "whole", every_iterations=None)
    run(tmp_path / "killed", stop_at=9, every_iterations=None)
    resumed = run(tmp_path / "killed", every_iterations=None)
    assert torch.equal(whole["network"][0].weight, resumed["network"][0].weight)
    assert (tmp_path / "whole/history.jsonl").read_text() == (tmp_path / "killed/history.jsonl").read_text()


def test_a_finished_run_is_not_trained_further(tmp_path):
    first = run(tmp_path / "run")
    again = run(tmp_path / "run", seed=1)
    assert torch.equal(first["network"][0].weight, again["network"][0].weight)
    assert torch.equal(torch.load(tmp_path / "run/model.pt", weights_only=True)["0.weight"], first["network"][0].weight)


def test_the_state_is_plain_and_names_its_versions(tmp_path):
    run(tmp_path)
    state = torch.load(tmp_path / "run_state.pt", weights_only=True)
    assert state["progress"] == {"iteration": 18, "epoch_length": 6}
    assert state["settings"] == {"rate": 1}
    assert state["versions"]["torch"] == torch.__version__
    assert list(tmp_path.glob(".*.tmp")) == []


def test_a_state_is_no_way_around_the_subjects_it_has_seen(tmp_path):
    run(tmp_path, stop_at=3)
    assert not (tmp_path / "model.pt").exists()
    check_unseen(tmp_path / "run_state.pt", ["p002"])
    with pytest.raises(InputError, match="run_state.pt was trained on 1 of the test subjects"):
        check_unseen(tmp_path / "run_state.pt", ["p001"])


def test_other_settings_are_refused_by_name(tmp_path):
    run(tmp_path, stop_at=3)
    with pytest.raises(InputError, match=r"other settings: batch was absent and is 4; rate was 1 and is 2\. Choose"):
        run(tmp_path, settings={"rate": 2, "batch": 4})


def test_a_folder_in_use_is_not_overwritten(tmp_path):
    run(tmp_path, stop_at=3)
    with pytest.raises(InputError, match="already holds a run"):
        run(tmp_path, resume=False)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_state_that_cannot_be_read_names_the_file(tmp_path, content):
    run(tmp_path, stop_at=3)
    path = tmp_path / "run_state.pt"
    path.write_bytes(path.read_bytes()[:500] if content is None else content)
    with pytest.raises(InputError, match="run_state.pt: not a readable run state"):
        run(tmp_path)


def test_the_product_must_be_one_of_the_parts_and_is_the_network_by_default(tmp_path):
    network = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"product is \"average\", and save_dict has \['network'\]"):
        RunStateHandler(str(tmp_path / "s.pt"), {"network": network}, weights="model.pt", product="average")
    with pytest.raises(ValueError, match='product is "network"'):
        RunStateHandler(str(tmp_path / "s.pt"), {"average": network}, weights="model.pt")
    assert RunStateHandler(str(tmp_path / "s.pt"), {"average": network}).weights is None  # no product, nothing to check
